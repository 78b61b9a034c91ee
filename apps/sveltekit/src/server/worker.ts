/**
 * The life of a worker process: booted → launch → executor id held → started → ready → draining → closed.
 *
 * `hooks.server.ts` starts it, `server.js` tells it when the socket answers and when to drain. The two
 * are different module graphs (bundle and plain file), so the worker stands on `globalThis`, where hot
 * reload finds it as well.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Channel } from './channel.ts';
import { closePrisma, openPrisma, prisma, prismaPool } from './db/prisma.ts';
import { poolConnections } from './db/metrics.ts';
import type { Gauge } from './db/fixed-pool.ts';
import { ensureDbosLaunched, shutDownDbos, type Executor } from './dbos/init.ts';
import { environment, type Environment } from './env.ts';
import { holdExecutorId, type Hold } from './executor-id.ts';
import { identity, type PoolName } from './identity.ts';
import { log, reason } from './log.ts';
import type { Export } from './telemetry/export.ts';

export type Phase = 'starting' | 'ready' | 'draining';

const GAUGES_EVERY_MS = 1_000;
const PRINT_METRICS_EVERY_MS = 10_000;
const ANSWER_WITHIN_MS = 3_000;
/** How long the last traces and metrics may take to reach the collector, within the drain; and at least, when a drain took all its time. */
const FLUSH_MS = 2_000;
const FLUSH_AT_LEAST_MS = 200;

/** A worker whose pools are open and whose executor is launched: there is no other kind. */
export class Worker {
	#phase: Phase = 'starting';
	readonly #timers: NodeJS.Timeout[] = [];

	private constructor(
		readonly environment: Environment,
		private readonly channel: Channel,
		private readonly hold: Hold,
		private readonly executor: Executor,
		private readonly telemetry: Export | undefined
	) {}

	/** Boots, waits for leave to launch, opens the pools and launches. Throws what made it impossible. */
	static async start(): Promise<Worker> {
		const env = environment();
		const channel = Channel.of(process.env, process);
		// First: what is traced is what is made after it. Code only, nothing is opened.
		const telemetry = await exporting(env);
		channel.send({ type: 'booted' });
		await channel.launched();
		const hold = await holdExecutorId(env, channel);
		await openPrisma(env);
		const executor = await ensureDbosLaunched();
		telemetry?.pools({ prisma: prismaPool(), dbos: executor.pool });
		const { instanceId, pid, executorId } = identity();
		log.info('worker started', {
			instance_id: instanceId,
			pid,
			executor_id: executorId,
			prisma_pool_max: env.prismaPoolMax,
			dbos_pool_max: env.dbosPoolMax
		});
		return new Worker(env, channel, hold, executor, telemetry);
	}

	get phase(): Phase {
		return this.#phase;
	}

	get slot(): string {
		return identity().slot;
	}

	gauges(): Readonly<Record<PoolName, Gauge>> {
		return { prisma: prismaPool().gauge(), dbos: this.executor.pool.gauge() };
	}

	/** The socket answers (on `port`, where it is ours): the worker is ready and says so, then reports its gauges. */
	listening(port?: number): void {
		if (this.#phase !== 'starting') return;
		this.#phase = 'ready';
		log.info('worker listening', { executor_id: this.executor.executorId, port });
		const { prismaPoolMax, dbosPoolMax, printPrismaPoolMetrics } = this.environment;
		this.channel.send({
			type: 'started',
			pid: process.pid,
			executor_id: this.executor.executorId,
			pools: { prisma: prismaPoolMax, dbos: dbosPoolMax }
		});
		this.channel.sendReady();
		this.hold.served();
		this.#every(GAUGES_EVERY_MS, () => this.channel.send({ type: 'gauges', pools: this.gauges() }));
		if (printPrismaPoolMetrics) {
			void printPoolMetrics();
			this.#every(PRINT_METRICS_EVERY_MS, () => void printPoolMetrics());
		}
	}

	/** From now on the worker finishes what it has. */
	draining(why: string): void {
		if (this.#phase === 'draining') return;
		this.#phase = 'draining';
		for (const timer of this.#timers) clearInterval(timer);
		this.channel.send({ type: 'draining' });
		log.info('worker draining', { executor_id: this.executor.executorId, why });
	}

	/** Both pools can answer a query now; one that needs longer than a probe waits is as good as none. */
	async answers(): Promise<boolean> {
		const patience = new AbortController();
		try {
			await Promise.race([
				Promise.all([prisma().$queryRaw`SELECT 1`, this.executor.pool.query('SELECT 1')]),
				pause(ANSWER_WITHIN_MS, undefined, { signal: patience.signal, ref: false }).then(() => {
					throw new Error(`no answer within ${ANSWER_WITHIN_MS} ms`);
				})
			]);
			return true;
		} catch (error) {
			log.warn('a pool does not answer', { reason: reason(error) });
			return false;
		} finally {
			patience.abort();
		}
	}

	/** Ends the executor, with at most `timeoutMs` for its workflows, sends what telemetry is left, then closes both pools. */
	async close(timeoutMs: number): Promise<void> {
		const deadline = performance.now() + timeoutMs;
		const flush = async () => {
			const left = Math.max(FLUSH_AT_LEAST_MS, Math.min(FLUSH_MS, deadline - performance.now()));
			await this.telemetry?.finish(left);
		};
		await shutDownDbos(timeoutMs, flush);
		await closePrisma();
		log.info('worker stopped', { executor_id: this.executor.executorId });
	}

	#every(ms: number, work: () => void): void {
		const timer = setInterval(work, ms);
		timer.unref();
		this.#timers.push(timer);
	}
}

/** Telemetry, where the environment names a collector. Nothing of it is loaded otherwise; not having it is no reason not to serve. */
async function exporting(env: Environment): Promise<Export | undefined> {
	const { traces, metrics } = env.signals;
	if (!traces && !metrics) return undefined;
	try {
		const { startExport } = await import('./telemetry/export.ts');
		return startExport(env);
	} catch (error) {
		log.warn('no telemetry is exported', { reason: reason(error) });
		return undefined;
	}
}

/** Behind `PRINT_PRISMA_POOL_METRICS`: the three numbers, and all the others beside them. */
async function printPoolMetrics(): Promise<void> {
	const metrics = await prisma().$metrics.json();
	log.info('prisma pool metrics', { executor_id: identity().executorId, ...poolConnections(metrics), metrics });
}

interface WorkerSlot {
	starting?: Promise<Worker>;
	worker?: Worker;
}

const WORKER = Symbol.for('order-desk.worker');
const workerSlot: WorkerSlot = ((globalThis as { [WORKER]?: WorkerSlot })[WORKER] ??= {});

/** Starts this process's worker, once, however often hot reload asks. */
export function startWorker(): Promise<Worker> {
	return (workerSlot.starting ??= Worker.start().then((worker) => (workerSlot.worker = worker)));
}

/** The worker of this process, undefined until it has started. */
export function currentWorker(): Worker | undefined {
	return workerSlot.worker;
}
