import { Pool } from 'pg';

function open(): Pool {
	const pool = new Pool({ connectionTimeoutMillis: 5000 });
	pool.on('error', () => {});
	return pool;
}

let pool: Pool;

if (process.env.NODE_ENV === 'production') {
	pool = open();
} else {
	if (!global.pool) global.pool = open();
	pool = global.pool;
}

export { pool };
