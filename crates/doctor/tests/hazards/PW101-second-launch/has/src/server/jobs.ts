import { DBOS as Engine } from '@dbos-inc/dbos-sdk';

const JOBS = Symbol.for('shop.jobs');

/** DBOS.launch() in a comment is none. */
export function startJobs(): Promise<void> {
	return ((globalThis as Record<symbol, Promise<void>>)[JOBS] ??= Engine['launch']()); // ← here
}
