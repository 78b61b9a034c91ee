import { Pool } from 'pg';
import { PrismaPg } from '@prisma/adapter-pg';

class Fixed extends Pool {
	constructor(options: object) {
		super({ ...options, connectionTimeoutMillis: 5000 });
		this.on('error', () => {});
	}
}

export const orm = new Pool({ connectionTimeoutMillis: 5000 });
orm.on('connect', () => {}).on('error', () => {});

export const adapter = new PrismaPg(new Fixed({ max: 3 }));

export function open(): Pool {
	return new Pool({ connectionTimeoutMillis: 5000 });
}

export const jobs = open();
jobs.on('error', () => {});
