import pg, { Pool } from 'pg';

const CONNECTION_TIMEOUT_MS = 5_000;

export const orm = new Pool({ max: 3, connectionTimeoutMillis: CONNECTION_TIMEOUT_MS });
orm.on('error', () => {});

const shared = { max: 2, connectionTimeoutMillis: 3000 };
export const jobs = new pg.Pool({ ...shared });
jobs.on('error', () => {});

export function unknown(options: pg.PoolConfig): pg.Pool {
	return new pg.Pool({ max: 3, ...options }).on('error', () => {});
}

export class Fixed extends Pool {
	constructor(max: number) {
		super({ max, min: max, connectionTimeoutMillis: 1000 });
	}
}
