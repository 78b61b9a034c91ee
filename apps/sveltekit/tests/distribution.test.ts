import { resourceFromAttributes } from '@opentelemetry/resources';
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { expect, test } from 'vitest';
import { Distributions } from '#server/telemetry/distribution.ts';

const BOUNDS = [0.01, 0.1, 1];
const DESCRIPTION = { unit: 's', description: 'How long it took' };

test('a histogram of ours is exported as the SDK exports its own', async () => {
	const resource = resourceFromAttributes({});
	const distributions = new Distributions('ours', resource);
	const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
	const reader = new PeriodicExportingMetricReader({ exporter, metricProducers: [distributions], exportIntervalMillis: 60_000 });
	const provider = new MeterProvider({ resource, readers: [reader] });
	const theirs = provider.getMeter('theirs').createHistogram('time', { ...DESCRIPTION, advice: { explicitBucketBoundaries: BOUNDS } });
	const ours = distributions.histogram({ ...DESCRIPTION, name: 'time', bounds: BOUNDS });
	for (const [pool, seconds] of Object.entries({ prisma: [0, 0.01, 0.011, 0.5, 1, 7], dbos: [0.1] })) {
		const distribution = ours({ pool });
		for (const value of seconds) {
			theirs.record(value, { pool });
			distribution.record(value);
		}
	}
	// Nothing was measured of these: they are not exported.
	ours({ pool: 'other' });
	await reader.forceFlush();
	await provider.shutdown();

	const exported = exporter.getMetrics()[0]?.scopeMetrics ?? [];
	const of = (scope: string) => {
		const [metric] = exported.find((metrics) => metrics.scope.name === scope)?.metrics ?? [];
		const points = metric?.dataPoints.map(({ attributes, value }) => ({ attributes, value }));
		const { name, unit, description, valueType } = metric?.descriptor ?? {};
		const { aggregationTemporality, dataPointType } = metric ?? {};
		return { name, unit, description, valueType, aggregationTemporality, dataPointType, points };
	};
	expect(of('ours').points).toHaveLength(2);
	expect(of('ours')).toEqual(of('theirs'));
});
