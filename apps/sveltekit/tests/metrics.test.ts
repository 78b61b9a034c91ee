import { expect, test } from 'vitest';
import { collect, poolConnections, prometheusText, QueryCounters } from '#server/db/metrics.ts';

const pool = {
	gauge: () => ({ max: 3, open: 3, busy: 1, idle: 2, waiting: 4 }),
	totals: () => ({ opened: 5, closed: 2 })
};

test('the metrics have Prisma 6’s shape, with key, value, labels and description', async () => {
	const queries = new QueryCounters();
	await queries.measure(async () => 1);
	const metrics = collect(pool, queries);
	expect(Object.keys(metrics)).toEqual(['counters', 'gauges', 'histograms']);
	for (const metric of [...metrics.counters, ...metrics.gauges, ...metrics.histograms]) {
		expect(Object.keys(metric)).toEqual(['key', 'value', 'labels', 'description']);
	}
	expect(metrics.counters.find(({ key }) => key === 'prisma_client_queries_total')?.value).toBe(1);
	expect(metrics.histograms[0]?.value.buckets.map(([bound]) => bound)).toEqual([
		0, 1, 5, 10, 50, 100, 500, 1000, 5000, 50_000
	]);
});

test('the print helper extracts the pool’s three numbers', () => {
	expect(poolConnections(collect(pool, new QueryCounters()))).toEqual({
		prisma_pool_connections_open: 3,
		prisma_pool_connections_busy: 1,
		prisma_pool_connections_idle: 2
	});
});

test('a query that fails is counted and no longer active', async () => {
	const queries = new QueryCounters();
	await expect(queries.measure(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
	expect([queries.total, queries.active]).toEqual([1, 0]);
});

test('Prometheus text escapes labels and makes buckets cumulative', async () => {
	const queries = new QueryCounters();
	await queries.measure(async () => 1);
	const text = prometheusText(collect(pool, queries, { globalLabels: { slot: 'a"b' } }));
	expect(text).toContain('prisma_pool_connections_open{slot="a\\"b"} 3\n');
	expect(text).toContain('prisma_client_queries_duration_histogram_ms_bucket{slot="a\\"b",le="+Inf"} 1\n');
});
