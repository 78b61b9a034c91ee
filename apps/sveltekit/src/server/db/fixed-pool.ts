import pg from 'pg';
import { log, reason } from '../log.ts';
import { withHolders } from './limit.ts';

/** A pool as the supervisor and `/readyz` see it, in connections (`waiting`: in requests). */
export interface Gauge {
	readonly max: number;
	readonly open: number;
	readonly busy: number;
	readonly idle: number;
	readonly waiting: number;
}

export interface FixedPoolOptions {
	readonly url: string;
	/** Connections, exactly: the pool opens all of them in `fill` and keeps them. */
	readonly max: number;
	readonly applicationName: string;
	/** How long a request may wait for a connection. pg's own default is for ever (0). */
	readonly connectionTimeoutMs: number;
	/** How long a statement may take before Postgres ends it. */
	readonly statementTimeoutMs?: number;
}

/** What becomes of callers, as it happens. Times are in milliseconds. */
export interface Measure {
	/** One was lent a connection after so long. */
	waited(ms: number): void;
	/** One gave its connection back after so long. */
	used(ms: number): void;
	/** One was lent none in time. */
	timedOut(): void;
}

type Lend = (error: Error | undefined, client: pg.PoolClient | undefined, done: (release?: unknown) => void) => void;

/** What pg says to a caller that waited too long, for a connection of the pool or for a new one. */
const TIMED_OUT = /^(timeout exceeded when trying to connect|Connection terminated due to connection timeout)$/;

/** How often every connection is asked for a sign of life. */
const TEST_EVERY_MS = 5_000;
/** How long an idle connection may take to answer before it counts as lost. */
const TEST_TIMEOUT_MS = 1_000;
/** Whoever asked has given up long before; and what is not answered by then and {@link TEST_TIMEOUT_MS} more never will be. */
const STATEMENT_TIMEOUT_MS = 30_000;

/**
 * How Postgres finds out that a client has gone without a word: after 90 seconds, and not after the two hours of its system's own
 * settings. Until then the client's session is one more than the fleet has.
 */
const KEEPALIVES = '-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3';

/** Between attempts to replace lost connections: soon at first, but no storm on a server that starts. */
const REFILL_BACKOFF_MS = { first: 50, max: 2000 } as const;

/**
 * A `pg.Pool` whose size is a number and not a range.
 *
 * `max` is the bound that the topology declares; the pool opens all of it at the start, so that what
 * Postgres shows is the declared number from then on, and returns to it when connections are lost. A
 * pool that shrinks and grows would save nothing: the budget has to hold its maximum anyway.
 */
export class FixedPool extends pg.Pool {
	readonly #max: number;
	readonly #name: string;
	readonly #statementTimeoutMs: number;
	readonly #live = new Set<pg.PoolClient>();
	/** What is lent, and since when (0 where nothing is measured). */
	readonly #lent = new Map<pg.PoolClient, number>();
	readonly #tested = new WeakSet<pg.PoolClient>();
	readonly #tests: NodeJS.Timeout;
	#opened = 0;
	#closed = 0;
	#refill: Promise<void> | undefined;
	#stopping = false;
	#measure: Measure | undefined;

	constructor({
		url,
		max,
		applicationName,
		connectionTimeoutMs,
		statementTimeoutMs = STATEMENT_TIMEOUT_MS
	}: FixedPoolOptions) {
		super({
			connectionString: withoutApplicationName(url),
			application_name: applicationName,
			max,
			min: max,
			connectionTimeoutMillis: connectionTimeoutMs,
			// 0 keeps an idle connection for ever. Closing it would make the census fluctuate and
			// give its place in the budget to nobody.
			idleTimeoutMillis: 0,
			keepAlive: true,
			// A statement is sent behind the one before it without waiting for the answer, where nobody else does.
			pipeline: true,
			statement_timeout: statementTimeoutMs,
			// Of a client that has gone without a word, a transaction keeps its locks: whoever asks for the same again over another
			// connection waits for them.
			idle_in_transaction_session_timeout: statementTimeoutMs,
			options: KEEPALIVES
		});
		this.#max = max;
		this.#name = applicationName;
		this.#statementTimeoutMs = statementTimeoutMs;
		// Without a listener of its own the pool ends the process when an idle connection breaks.
		this.on('error', (error) => {
			log.warn('idle connection lost', { pool: applicationName, reason: reason(error) });
		});
		this.on('connect', (client) => {
			// The pool listens only to idle ones, and a lent one that breaks unheard ends the process too. Its statements say so to
			// whoever has it, and it is not taken back.
			client.on('error', () => {});
			this.#live.add(client);
			this.#opened += 1;
		});
		this.on('acquire', (client) => void this.#lent.set(client, this.#measure ? performance.now() : 0));
		this.on('release', (_error, client) => this.#returned(client));
		this.#tests = setInterval(() => this.test(), TEST_EVERY_MS).unref();
		// 'remove' comes when the socket is closed, so a successor never stands beside it in Postgres.
		this.on('remove', (client) => {
			this.#lent.delete(client);
			if (this.#live.delete(client)) this.#closed += 1;
			this.#refillInTheBackground();
		});
	}

	/** Opens connections until there are `max`. Throws why the server refused one, and who holds them if it was for a limit. */
	async fill(): Promise<void> {
		const held: pg.PoolClient[] = [];
		try {
			// At the start all at once; later one by one, past the idle ones the pool hands out first.
			while (this.#live.size < this.#max && !this.#stopping) {
				const missing = this.#live.size === 0 ? this.#max : 1;
				const attempts = await Promise.allSettled(
					Array.from({ length: missing }, () => super.connect())
				);
				for (const attempt of attempts) {
					if (attempt.status === 'fulfilled') held.push(attempt.value);
				}
				const failed = attempts.find((attempt) => attempt.status === 'rejected');
				if (failed) throw await withHolders(failed.reason, held[0]);
			}
		} finally {
			for (const client of held) client.release();
		}
	}

	/**
	 * Asks every connection for a sign of life, and closes those that give none: a network that has forgotten a connection says
	 * nothing, and pg would wait for ever. What is asked is nothing, behind whatever the connection is at work on, so that it needs
	 * not be lent out for it and disturbs no transaction.
	 */
	test(): void {
		for (const client of this.#live) {
			if (this.#tested.has(client)) continue;
			this.#tested.add(client);
			const limit = this.#lent.has(client) ? this.#statementTimeoutMs + TEST_TIMEOUT_MS : TEST_TIMEOUT_MS;
			let living = false;
			const lost = setTimeout(() => {
				// A process that was held, or at work on one thing for too long, comes to its timers before it reads what has arrived
				// meanwhile. It has read all of it by the time of an immediate.
				setImmediate(() => {
					if (living) return;
					log.warn('connection without a sign of life, closing it', { pool: this.#name, within_ms: limit });
					// Not `end`, which would wait for the other side. Whoever waits for an answer is told that the connection has ended.
					client.connection.stream.destroy();
				});
			}, limit).unref();
			const answered = () => {
				living = true;
				clearTimeout(lost);
				this.#tested.delete(client);
			};
			client.query('').then(answered, answered);
		}
	}

	/** Connections by use, counted here and not asked of the server. */
	gauge(): Gauge {
		const open = this.#live.size;
		const idle = Math.min(this.idleCount, open);
		return { max: this.#max, open, busy: open - idle, idle, waiting: this.waitingCount };
	}

	/** Connections opened and closed since the process started. */
	totals(): { readonly opened: number; readonly closed: number } {
		return { opened: this.#opened, closed: this.#closed };
	}

	/** Measures callers from now on. Until then nothing is measured. */
	measure(measure: Measure): void {
		this.#measure = measure;
	}

	override connect(): Promise<pg.PoolClient>;
	override connect(lend: Lend): void;
	override connect(lend?: Lend): Promise<pg.PoolClient> | void {
		const measure = this.#measure;
		if (!measure) return lend ? super.connect(lend) : super.connect();
		const asked = performance.now();
		const answered = (error?: unknown) => {
			if (error === undefined || error === null) measure.waited(performance.now() - asked);
			else if (error instanceof Error && TIMED_OUT.test(error.message)) measure.timedOut();
		};
		if (lend) {
			return super.connect((error, client, done) => {
				answered(error);
				lend(error, client, done);
			});
		}
		return new Promise((resolve, reject) => {
			super.connect((error, client) => {
				answered(error);
				if (client) resolve(client);
				else reject(error);
			});
		});
	}

	/** Closes every connection, and resolves when the last socket is closed (pg's `end` does not wait). */
	async close(): Promise<void> {
		this.#stopping = true;
		clearInterval(this.#tests);
		await this.end();
		while (this.#live.size > 0) {
			// Not events.once: it would reject when a connection breaks instead of closing.
			await new Promise<void>((resolve) => this.once('remove', () => resolve()));
		}
	}

	#returned(client: pg.PoolClient): void {
		const since = this.#lent.get(client);
		this.#lent.delete(client);
		// 0 was lent before anybody measured.
		if (since) this.#measure?.used(performance.now() - since);
	}

	#refillInTheBackground(): void {
		if (this.#stopping || this.ending) return;
		this.#refill ??= this.#refillUntilFull().finally(() => (this.#refill = undefined));
	}

	async #refillUntilFull(): Promise<void> {
		let pause: number = REFILL_BACKOFF_MS.first;
		while (!this.#stopping && !this.ending && this.#live.size < this.#max) {
			await new Promise((resolve) => setTimeout(resolve, pause));
			pause = Math.min(pause * 2, REFILL_BACKOFF_MS.max);
			try {
				await this.fill();
			} catch (error) {
				log.warn('lost connections not replaced yet', { pool: this.#name, reason: reason(error) });
			}
		}
	}
}

/** pg lets a URL's `application_name` win over the option; here the option names slot and pool. */
function withoutApplicationName(connectionString: string): string {
	const url = new URL(connectionString);
	if (!url.searchParams.has('application_name')) return connectionString;
	url.searchParams.delete('application_name');
	return url.href;
}
