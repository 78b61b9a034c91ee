import { makePool } from './pool';
import type { Pool } from 'pg';

declare global {
	var pool: Pool | undefined;
}

export function db(): Pool {
	if (!globalThis.pool) {
		globalThis.pool = makePool();
	}
	return globalThis.pool;
}
