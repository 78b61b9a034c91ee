import { Pool } from 'pg';
import { PrismaPg } from '@prisma/adapter-pg';

class Fixed extends Pool {}

export const orm = new Pool({ connectionTimeoutMillis: 5000 }); // ← here
orm.on('connect', () => {});

export const adapter = new PrismaPg(new Fixed({ max: 3 })); // ← here

export function open(): Pool {
	return new Pool({ connectionTimeoutMillis: 5000 }); // ← here
}

export const jobs = open();
