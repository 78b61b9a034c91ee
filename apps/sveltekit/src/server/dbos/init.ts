/**
 * The one place that launches DBOS.
 *
 * A process launches at most one executor, however often and from however many copies of this
 * module it is asked to. `DBOS.launch()` guards against neither concurrent calls nor a second copy
 * of the module, so the *promise* is kept on `globalThis`: a boolean would let the second of two
 * concurrent calls through, or let it go on before the first has finished.
 */
import { DBOS, type DLogger } from '@dbos-inc/dbos-sdk';
import { FixedPool } from '../db/fixed-pool.ts';
import { environment } from '../env.ts';
import { applicationName, identity } from '../identity.ts';
import { log, reason } from '../log.ts';
import { tracing } from '../telemetry/tracing.ts';
import { APPLICATION_VERSION } from './version.ts';
import { registerWorkflows } from './workflows.ts';

/** A launched executor: its id, and the pool that it holds and that is ours to close. */
export interface Executor {
	readonly executorId: string;
	readonly pool: FixedPool;
}

/**
 * Longer than the ORM's: a request can be told to come back, a workflow that cannot write its
 * checkpoint fails for good. Not for ever (pg's default), which would hide a starved pool.
 */
const CONNECTION_TIMEOUT_MS = 30_000;

const EXECUTOR = Symbol.for('order-desk.dbos');
const globals = globalThis as { [EXECUTOR]?: Promise<Executor> };

/**
 * Launches this process's executor, or gives back the one that is launched or launching. A launch
 * that fails rejects for every caller, for good: the process has to end and be started again.
 */
export function ensureDbosLaunched(): Promise<Executor> {
	return (globals[EXECUTOR] ??= launch());
}

async function launch(): Promise<Executor> {
	const { dbosSystemDatabaseUrl, dbosPoolMax } = environment();
	const pool = new FixedPool({
		url: dbosSystemDatabaseUrl,
		max: dbosPoolMax,
		applicationName: applicationName(identity(), 'dbos'),
		connectionTimeoutMs: CONNECTION_TIMEOUT_MS
	});
	try {
		await pool.fill();
		await launchOn(pool);
	} catch (error) {
		// The process is about to end; until then it holds nothing that nobody uses.
		await pool.close();
		throw error;
	}
	return { executorId: identity().executorId, pool };
}

async function launchOn(pool: FixedPool): Promise<void> {
	registerWorkflows();
	DBOS.setConfig({
		name: 'order-desk',
		systemDatabaseUrl: environment().dbosSystemDatabaseUrl,
		systemDatabasePool: pool,
		executorID: identity().executorId,
		applicationVersion: APPLICATION_VERSION,
		// Three workers migrating at once deadlock each other; migrate.js has done it before.
		runMigrations: false,
		// Its spans go to whoever is registered: `telemetry/export.ts`. The SDK's own export stays off.
		tracingEnabled: tracing() !== undefined,
		otelAttributeFormat: 'semconv',
		logger: structuredLogger
	});
	await DBOS.launch();
	if (DBOS.tracer) tracing()?.launched(DBOS.tracer);
}

/**
 * Shuts the executor down, giving its workflows in flight at most `timeoutMs`, and closes its pool, with `before` in between.
 * What is not finished by then stays PENDING and is taken up by the slot's next executor.
 */
export async function shutDownDbos(timeoutMs: number, before: () => Promise<void> = async () => {}): Promise<void> {
	const launching = globals[EXECUTOR];
	if (!launching) return;
	const { pool } = await launching;
	await DBOS.shutdown({ workflowCompletionTimeoutMS: Math.max(0, Math.round(timeoutMs)) });
	await before();
	await pool.close();
}

/** DBOS's own log, in the shape of ours. Its debug lines are one per poll and are dropped. */
const structuredLogger: DLogger = {
	debug: () => {},
	info: (message) => log.info(text(message), { source: 'dbos' }),
	warn: (message) => log.warn(text(message), { source: 'dbos' }),
	error: (message) => log.error(text(message), { source: 'dbos' })
};

function text(message: unknown): string {
	return typeof message === 'string' ? message : reason(message);
}
