import { environment, type Environment } from './env.ts';

/** Who this process is, to Postgres, to DBOS and to whoever reads its answers. */
export interface Identity {
	/** The slot, `web-0`: it outlives the processes that fill it one after the other. */
	readonly slot: string;
	/** The executor id of the slot. Two live processes never hold the same one. */
	readonly executorId: string;
	readonly instanceId: string;
	readonly pid: number;
}

/** The pools of a worker, by the names that Postgres and the supervisor know them by. */
export type PoolName = 'prisma' | 'dbos';

/**
 * The identity from `PM2_INSTANCE_ID` alone. `NODE_APP_INSTANCE` is not asked: PM2 sets it only when
 * no other variable is named, so it would be a second answer that may disagree with the first.
 */
export function identityOf({ instanceId }: Pick<Environment, 'instanceId'>): Identity {
	const slot = `web-${instanceId}`;
	return { slot, executorId: slot, instanceId: String(instanceId), pid: process.pid };
}

/** The identity of this process. */
export function identity(): Identity {
	return identityOf(environment());
}

/** `web-0:prisma`: what `pg_stat_activity` shows for every connection of the pool. */
export function applicationName({ slot }: Identity, pool: PoolName): string {
	return `${slot}:${pool}`;
}
