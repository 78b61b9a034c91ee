/**
 * Transactions of tenants, in as few round trips as Prisma's adapter and Postgres allow.
 *
 * The adapter by itself sends `BEGIN` and waits, then whoever has a tenant sends it and waits. Here both are one message, and pg's
 * pipeline sends the first query right behind it: a read is two round trips (with its beginning, and its end), and its caller
 * waits for the first alone.
 *
 * Who is beginning travels beside the call, because Prisma's own interface hands nothing on to its adapter. It is kept on
 * `globalThis`: hot reload evaluates this module again, and the client that was made before has to see the same.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';

/** Whose rows a transaction sees; nobody's when there is no tenant. */
export interface Beginning {
	readonly tenantId: string | null;
	/** Whether it only reads: Postgres refuses everything else, and nobody waits for the end. */
	readonly reads: boolean;
}

/** A beginning takes no time by itself: without an answer by now the connection is lost. */
const BEGIN_TIMEOUT_MS = 2_000;

const BEGINNING = Symbol.for('order-desk.beginning');
const globals = globalThis as { [BEGINNING]?: AsyncLocalStorage<Beginning> };
const beginnings = (globals[BEGINNING] ??= new AsyncLocalStorage());

/** The transactions that `work` begins are `beginning`'s. */
export function beginningAs<T>(beginning: Beginning, work: () => Promise<T>): Promise<T> {
	return beginnings.run(beginning, work);
}

/** The same adapter, that begins as {@link beginningAs} says and as ever where it says nothing. */
export function forTenants(adapters: PrismaPg): PrismaPg {
	const connect = adapters.connect.bind(adapters);
	adapters.connect = async () => {
		const adapter = await connect();
		const start = adapter.startTransaction;
		adapter.startTransaction = (isolation) => {
			const beginning = beginnings.getStore();
			if (!beginning) return start.call(adapter, isolation);
			const lend = async () => new TenantConnection(await adapter.underlyingDriver().connect(), beginning);
			return start.call(Object.create(adapter, { client: { value: { connect: lend } } }) as typeof adapter, isolation);
		};
		return adapter;
	};
	return adapters;
}

/** What Prisma's adapter is answered by a statement that it need not wait for. */
const NOTHING = Promise.resolve({ fields: [], rows: [], rowCount: 0 });

/** A connection as Prisma's adapter uses one for a transaction, which begins and ends it in its own way. */
class TenantConnection {
	#begun: Promise<unknown> = NOTHING;
	#ended: Promise<unknown> | undefined;
	#lost: Error | undefined;

	constructor(
		private readonly client: pg.PoolClient,
		private readonly beginning: Beginning
	) {}

	query(query: pg.QueryConfig): Promise<unknown> {
		switch (query.text) {
			case 'BEGIN':
				this.#begun = this.client.query({ text: begin(this.beginning), query_timeout: BEGIN_TIMEOUT_MS } as pg.QueryConfig);
				// Told to whoever asks next; there may be nobody. What has not begun has nothing to end.
				this.#begun.catch((lost: Error) => (this.#lost = lost));
				return NOTHING;
			case 'COMMIT':
			case 'ROLLBACK':
				if (this.#lost) return NOTHING;
				if (!this.beginning.reads) return this.#within(this.client.query(query));
				this.#ended = this.client.query('ROLLBACK');
				this.#ended.catch(() => {});
				return NOTHING;
			default:
				return this.#within(this.client.query(query));
		}
	}

	on(event: 'error', listener: (error: Error) => void): this {
		this.client.on(event, listener);
		return this;
	}

	removeListener(event: 'error', listener: (error: Error) => void): this {
		this.client.removeListener(event, listener);
		return this;
	}

	/** Gives the connection back, when what was not waited for has ended; at once, to be closed, where nothing will. */
	release(error?: Error | boolean): void {
		if (this.#lost) return this.client.release(this.#lost);
		if (!this.#ended) return this.client.release(error);
		this.#ended.then(
			() => this.client.release(error),
			(lost: Error) => this.client.release(error ?? lost)
		);
	}

	/** An answer counts only within the transaction: without it there would be no tenant, and nothing to see. */
	async #within<T>(answer: Promise<T>): Promise<T> {
		const [, answered] = await Promise.all([this.#begun, answer]);
		return answered;
	}
}

/** The one message that begins. Nobody is written too: whatever a connection carried, nobody has no tenant. */
function begin({ tenantId, reads }: Beginning): string {
	return `BEGIN${reads ? ' READ ONLY' : ''}; SELECT set_config('app.tenant_id', ${pg.escapeLiteral(tenantId ?? '')}, true)`;
}
