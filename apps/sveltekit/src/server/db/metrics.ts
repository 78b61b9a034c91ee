/**
 * Prisma 6's `$metrics`, given back to Prisma 7 over the counters of the pool it runs on.
 *
 * Prisma 7 dropped the API together with the engine that counted. The shape here is Prisma 6's,
 * the numbers are the pool's own; what nobody counts any more (waiting time inside the engine) is
 * left out and not invented.
 */
import { Prisma } from '#generated/prisma/client.ts';
import type { Gauge } from './fixed-pool.ts';

export interface Metric<T> {
	readonly key: string;
	readonly value: T;
	readonly labels: Readonly<Record<string, string>>;
	readonly description: string;
}

/** Counts per bucket, not cumulative: `[lower bound in ms, count]`, as Prisma 6 wrote them. */
export interface HistogramValue {
	readonly buckets: readonly (readonly [number, number])[];
	readonly sum: number;
	readonly count: number;
}

export interface Metrics {
	readonly counters: readonly Metric<number>[];
	readonly gauges: readonly Metric<number>[];
	readonly histograms: readonly Metric<HistogramValue>[];
}

/** What the metrics are read from: a pool that counts. */
export interface CountingPool {
	gauge(): Gauge;
	totals(): { readonly opened: number; readonly closed: number };
}

export interface MetricsOptions {
	readonly globalLabels?: Readonly<Record<string, string>>;
}

/** Prisma 6's bucket bounds, in milliseconds. */
const BUCKET_BOUNDS_MS = [0, 1, 5, 10, 50, 100, 500, 1000, 5000, 50_000] as const;

/** Queries as the client sees them, from the call to the answer. */
export class QueryCounters {
	#total = 0;
	#active = 0;
	#sumMs = 0;
	readonly #buckets: number[] = BUCKET_BOUNDS_MS.map(() => 0);

	async measure<T>(query: () => Promise<T>): Promise<T> {
		this.#active += 1;
		const startedAt = performance.now();
		try {
			return await query();
		} finally {
			this.#active -= 1;
			this.#record(performance.now() - startedAt);
		}
	}

	get total(): number {
		return this.#total;
	}

	get active(): number {
		return this.#active;
	}

	durations(): HistogramValue {
		const buckets = BUCKET_BOUNDS_MS.map((bound, i) => [bound, this.#buckets[i] ?? 0] as const);
		return { buckets, sum: this.#sumMs, count: this.#total };
	}

	#record(ms: number): void {
		this.#total += 1;
		this.#sumMs += ms;
		const bucket = BUCKET_BOUNDS_MS.findLastIndex((bound) => ms >= bound);
		this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
	}
}

/** The metrics at this instant. */
export function collect(
	pool: CountingPool,
	queries: QueryCounters,
	{ globalLabels = {} }: MetricsOptions = {}
): Metrics {
	const { open, busy, idle, waiting } = pool.gauge();
	const { opened, closed } = pool.totals();
	const metric = <T>(key: string, value: T, description: string): Metric<T> => ({
		key,
		value,
		labels: globalLabels,
		description
	});
	return {
		counters: [
			metric('prisma_client_queries_total', queries.total, 'The total number of Prisma Client queries executed'),
			metric('prisma_pool_connections_closed_total', closed, 'The total number of pool connections closed'),
			metric('prisma_pool_connections_opened_total', opened, 'The total number of pool connections opened')
		],
		gauges: [
			metric('prisma_client_queries_active', queries.active, 'The number of currently active Prisma Client queries'),
			metric('prisma_client_queries_wait', waiting, 'The number of queries waiting for a pool connection'),
			metric('prisma_pool_connections_busy', busy, 'The number of pool connections currently executing datasource queries'),
			metric('prisma_pool_connections_idle', idle, 'The number of pool connections that are not busy running a query'),
			metric('prisma_pool_connections_open', open, 'The number of pool connections currently open')
		],
		histograms: [
			metric(
				'prisma_client_queries_duration_histogram_ms',
				queries.durations(),
				'The distribution of the time Prisma Client queries took to run end to end'
			)
		]
	};
}

/** The client extension: `client.$metrics.json()` and `client.$metrics.prometheus()`. */
export function metricsExtension(pool: CountingPool) {
	const queries = new QueryCounters();
	return Prisma.defineExtension({
		name: 'pool-metrics',
		query: {
			$allOperations: ({ args, query }) => queries.measure(() => query(args))
		},
		client: {
			$metrics: {
				json: async (options?: MetricsOptions) => collect(pool, queries, options),
				prometheus: async (options?: MetricsOptions) => prometheusText(collect(pool, queries, options))
			}
		}
	});
}

/** The metrics in Prometheus' text format; histogram buckets become cumulative there. */
export function prometheusText({ counters, gauges, histograms }: Metrics): string {
	const lines: string[] = [];
	for (const [type, metrics] of [['counter', counters], ['gauge', gauges]] as const) {
		for (const { key, value, labels, description } of metrics) {
			lines.push(`# HELP ${key} ${description}`, `# TYPE ${key} ${type}`);
			lines.push(`${key}${labelText(labels)} ${value}`);
		}
	}
	for (const { key, value, labels, description } of histograms) {
		lines.push(`# HELP ${key} ${description}`, `# TYPE ${key} histogram`);
		let cumulative = 0;
		for (const [i, [, count]] of value.buckets.entries()) {
			cumulative += count;
			const upper = value.buckets[i + 1]?.[0];
			const le = upper === undefined ? '+Inf' : String(upper);
			lines.push(`${key}_bucket${labelText({ ...labels, le })} ${cumulative}`);
		}
		lines.push(`${key}_sum${labelText(labels)} ${value.sum}`);
		lines.push(`${key}_count${labelText(labels)} ${value.count}`);
	}
	return `${lines.join('\n')}\n`;
}

/** The gauges of a pool that no ORM speaks for, named like Prisma's. */
export function poolMetrics(pool: 'dbos', gauge: Gauge, labels: Metric<number>['labels']): Metrics {
	const metric = (state: 'open' | 'busy' | 'idle', description: string): Metric<number> => ({
		key: `${pool}_pool_connections_${state}`,
		value: gauge[state],
		labels,
		description
	});
	return {
		counters: [],
		gauges: [
			metric('busy', 'The number of pool connections currently in use'),
			metric('idle', 'The number of pool connections that are not in use'),
			metric('open', 'The number of pool connections currently open')
		],
		histograms: []
	};
}

function labelText(labels: Metric<unknown>['labels']): string {
	const pairs = Object.entries(labels).map(
		([name, value]) => `${name}="${value.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))}"`
	);
	return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

/** The three numbers that the print helper shows beside the whole. */
export function poolConnections(metrics: Metrics): Record<
	`prisma_pool_connections_${'open' | 'busy' | 'idle'}`,
	number
> {
	const gauge = (key: string): number => {
		const found = metrics.gauges.find((metric) => metric.key === key);
		if (!found) throw new Error(`no gauge ${key} in the metrics, expected the pool's open, busy and idle`);
		return found.value;
	};
	return {
		prisma_pool_connections_open: gauge('prisma_pool_connections_open'),
		prisma_pool_connections_busy: gauge('prisma_pool_connections_busy'),
		prisma_pool_connections_idle: gauge('prisma_pool_connections_idle')
	};
}
