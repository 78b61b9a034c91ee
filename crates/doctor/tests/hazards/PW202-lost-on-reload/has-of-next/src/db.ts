import { Pool } from 'pg';

function open(): Pool {
	const pool = new Pool({ connectionTimeoutMillis: 5000 });
	pool.on('error', () => {});
	return pool;
}

export const pool = open(); // ← here
