/**
 * The ORM's pool and the one client on it.
 *
 * Both live on `globalThis`: hot reload evaluates this module again, and a second pool would be a
 * second set of connections that nobody declared.
 */
import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient } from '#generated/prisma/client.ts';
import type { Environment } from '../env.ts';
import { applicationName, identityOf } from '../identity.ts';
import { FixedPool } from './fixed-pool.ts';
import { metricsExtension } from './metrics.ts';
import { forTenants } from './tenant-transactions.ts';

/** A request that has waited this long for a connection is better told so. */
const CONNECTION_TIMEOUT_MS = 5_000;
/** A transaction here is three short statements; beyond this, something is stuck. */
const TRANSACTION_TIMEOUT_MS = 15_000;

function createClient(pool: FixedPool) {
	return new PrismaClient({
		adapter: forTenants(new PrismaPg(pool)),
		transactionOptions: { maxWait: CONNECTION_TIMEOUT_MS, timeout: TRANSACTION_TIMEOUT_MS }
	}).$extends(metricsExtension(pool));
}

export type Client = ReturnType<typeof createClient>;

interface Orm {
	readonly client: Client;
	readonly pool: FixedPool;
}

/** `opening` is memoised, not `orm`: two callers at once must wait for the same pool. */
interface OrmSlot {
	opening?: Promise<Orm>;
	orm?: Orm;
}

const ORM = Symbol.for('order-desk.prisma');
const ormSlot: OrmSlot = ((globalThis as { [ORM]?: OrmSlot })[ORM] ??= {});

async function open(environment: Environment): Promise<Orm> {
	const pool = new FixedPool({
		url: environment.databaseUrl,
		max: environment.prismaPoolMax,
		applicationName: applicationName(identityOf(environment), 'prisma'),
		connectionTimeoutMs: CONNECTION_TIMEOUT_MS
	});
	await pool.fill();
	return (ormSlot.orm = { client: createClient(pool), pool });
}

/** Opens the pool in full and the client on it, once per process. */
export async function openPrisma(environment: Environment): Promise<void> {
	await (ormSlot.opening ??= open(environment));
}

function opened(): Orm {
	if (!ormSlot.orm) throw new Error('the ORM pool is not open, expected openPrisma() to have finished');
	return ormSlot.orm;
}

/** The client of this process. */
export function prisma(): Client {
	return opened().client;
}

/** The pool under the client, for gauges and for closing. */
export function prismaPool(): FixedPool {
	return opened().pool;
}

/** Closes the pool. `$disconnect` alone would not: the pool is ours, not the client's. */
export async function closePrisma(): Promise<void> {
	const { orm } = ormSlot;
	if (!orm) return;
	await orm.client.$disconnect();
	await orm.pool.close();
}
