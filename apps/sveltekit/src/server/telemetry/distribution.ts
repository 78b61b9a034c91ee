/**
 * Histograms that are counted here and exported by the SDK.
 *
 * Each request is measured three times. The SDK's own instruments sort and write down the attributes of every measurement to find
 * where it counts; here whoever measures keeps the place.
 */
import { ValueType, type Attributes, type HrTime } from '@opentelemetry/api';
import { hrTime } from '@opentelemetry/core';
import type { Resource } from '@opentelemetry/resources';
import {
	AggregationTemporality,
	DataPointType,
	type CollectionResult,
	type DataPoint,
	type Histogram,
	type HistogramMetricData,
	type MetricProducer
} from '@opentelemetry/sdk-metrics';

/** Measurements with the same attributes, since the start. */
export class Distribution {
	readonly #counts: number[];
	#count = 0;
	#sum = 0;
	#min = Infinity;
	#max = -Infinity;

	constructor(private readonly bounds: readonly number[]) {
		this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
	}

	/** A bound is the largest value that counts below it, as the conventions have it. */
	record(value: number): void {
		let at = 0;
		while (at < this.bounds.length && value > (this.bounds[at] ?? Infinity)) at += 1;
		this.#counts[at] = (this.#counts[at] ?? 0) + 1;
		this.#count += 1;
		this.#sum += value;
		if (value < this.#min) this.#min = value;
		if (value > this.#max) this.#max = value;
	}

	/** All of them; undefined where there are none. */
	read(): Histogram | undefined {
		if (this.#count === 0) return undefined;
		return {
			buckets: { boundaries: [...this.bounds], counts: [...this.#counts] },
			count: this.#count,
			sum: this.#sum,
			min: this.#min,
			max: this.#max
		};
	}
}

/** What a histogram is called, what it counts and between which bounds. */
export interface Description {
	readonly name: string;
	readonly unit: string;
	readonly description: string;
	readonly bounds: readonly number[];
}

interface Series {
	readonly attributes: Attributes;
	readonly distribution: Distribution;
}

/** All of a process, for the reader that exports them. */
export class Distributions implements MetricProducer {
	readonly #since: HrTime = hrTime();
	readonly #metrics: { readonly of: Description; readonly series: Series[] }[] = [];

	constructor(
		private readonly scope: string,
		private readonly resource: Resource
	) {}

	/** A new histogram; what it returns opens a place for measurements with these attributes, which no other has. */
	histogram(of: Description): (attributes: Attributes) => Distribution {
		const series: Series[] = [];
		this.#metrics.push({ of, series });
		return (attributes) => {
			const distribution = new Distribution(of.bounds);
			series.push({ attributes, distribution });
			return distribution;
		};
	}

	collect(): Promise<CollectionResult> {
		const until = hrTime();
		const metrics = this.#metrics.map(({ of, series }) => this.#read(of, series, until));
		const scopeMetrics = [{ scope: { name: this.scope }, metrics: metrics.filter(({ dataPoints }) => dataPoints.length > 0) }];
		return Promise.resolve({ resourceMetrics: { resource: this.resource, scopeMetrics }, errors: [] });
	}

	#read({ name, unit, description }: Description, series: readonly Series[], until: HrTime): HistogramMetricData {
		const dataPoints = series.flatMap(({ attributes, distribution }): DataPoint<Histogram>[] => {
			const value = distribution.read();
			return value ? [{ startTime: this.#since, endTime: until, attributes, value }] : [];
		});
		return {
			descriptor: { name, unit, description, valueType: ValueType.DOUBLE },
			aggregationTemporality: AggregationTemporality.CUMULATIVE,
			dataPointType: DataPointType.HISTOGRAM,
			dataPoints
		};
	}
}
