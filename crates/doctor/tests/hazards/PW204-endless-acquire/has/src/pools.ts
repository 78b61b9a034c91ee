import pg, { Pool } from 'pg';

export const orm = new Pool({ max: 3 }); // ← here
orm.on('error', () => {});

const shared = { max: 2, keepAlive: true };
export const jobs = new pg.Pool({
	...shared,
	connectionTimeoutMillis: 0 // ← here
});
jobs.on('error', () => {});

export class Fixed extends Pool {
	constructor(max: number) {
		super({ max, min: max }); // ← here
	}
}
