import pg from 'pg';

export function open(): pg.Pool {
	const pool = new pg.Pool({ max: 3, connectionTimeoutMillis: 5000 }); // ← here
	pool.on('error', console.error);
	return pool;
}
