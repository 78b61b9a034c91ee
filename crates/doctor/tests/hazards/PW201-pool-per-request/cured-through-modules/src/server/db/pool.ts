import pg from 'pg';

const POOL = Symbol.for('shop.pool');
const globals = globalThis as { [POOL]?: pg.Pool };

function open(): pg.Pool {
	const pool = new pg.Pool({ max: 3, connectionTimeoutMillis: 5000 });
	pool.on('error', console.error);
	return pool;
}

export function pool(): pg.Pool {
	return (globals[POOL] ??= open());
}
