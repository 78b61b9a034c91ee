import { makePool } from './pool';
import type { Pool } from 'pg';

let pool: Pool | undefined;

export function db(): Pool {
	if (!pool) {
		pool = makePool(); // ← here
	}
	return pool;
}
