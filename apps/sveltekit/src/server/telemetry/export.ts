/**
 * OpenTelemetry: traces and metrics to a collector, by OTLP over HTTP. Imported only where the environment names one, before the
 * first pool is opened.
 *
 * Requests, queries and workflows are traced by the standard instrumentations (Node's `http`, Prisma, the DBOS SDK). The pools'
 * metrics are our own, from the pools' own counters: the instrumentation of `pg` names a pool by its server and would mix the two up.
 *
 * Everything is sent in the background from queues that are bounded. A collector that is down costs what is sent to it, and one line.
 */
import {
	context,
	propagation,
	SpanStatusCode,
	trace,
	TraceFlags,
	type Meter
} from '@opentelemetry/api';
import { getRPCMetadata, W3CTraceContextPropagator, type ExportResult } from '@opentelemetry/core';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { detectResources, envDetector, resourceFromAttributes, type Resource } from '@opentelemetry/resources';
import { MeterProvider, PeriodicExportingMetricReader, type ResourceMetrics } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, BatchSpanProcessor, type SpanProcessor } from '@opentelemetry/sdk-trace-base';
import { setTimeout as pause } from 'node:timers/promises';
import type { FixedPool } from '../db/fixed-pool.ts';
import { APPLICATION_VERSION } from '../dbos/version.ts';
import type { Environment } from '../env.ts';
import { identityOf, type PoolName } from '../identity.ts';
import { log, reason } from '../log.ts';
import { Contexts, counted, nothingIsRecorded } from './contexts.ts';
import { Distributions, type Distribution } from './distribution.ts';
import { besides, dbosBesides, dbosParameters, instrument, PROBES, TRIAL } from './instrument.ts';
import { CONNECTION, CONNECTION_STATE, POOL_NAME, REQUEST, RESOURCE, SECONDS, SHORT_SECONDS, WORKFLOW } from './names.ts';
import { Limit, limited } from './sampler.ts';
import { answerWith, measureAnswers, type Tracing } from './tracing.ts';

/** Who made the spans and metrics. */
const SCOPE = 'order-desk';

/** Where telemetry goes, until `finish`. */
export interface Export {
	/** Exports the pools' metrics from now on. */
	pools(pools: Readonly<Record<PoolName, FixedPool>>): void;
	/** Sends what is still held, for at most so long; what is left then is lost. The pools have to be open. */
	finish(timeoutMs: number): Promise<void>;
}

/** Starts to export what the environment asks for. Opens no connection before there is something to send. */
export function startExport(environment: Environment): Export {
	const { traces, metrics: measured, metricIntervalMs } = environment.signals;
	// The SDK takes the sampler that the environment names, if it names one.
	const limit = environment.signals.limited ? new Limit() : undefined;
	const resource = resourceOf(environment);
	const ends: (() => Promise<void>)[] = [];

	let pools: Export['pools'] = () => {};
	if (measured) {
		const distributions = new Distributions(SCOPE, resource);
		const reader = new PeriodicExportingMetricReader({
			exporter: new Numbers(),
			metricProducers: [distributions],
			exportIntervalMillis: metricIntervalMs,
			// Collecting and sending both; it may not be longer than the interval.
			exportTimeoutMillis: metricIntervalMs
		});
		const provider = new MeterProvider({ resource, readers: [reader] });
		const meter = provider.getMeter(SCOPE);
		exportAnswers(distributions);
		pools = (opened) => exportPools(meter, distributions, opened);
		ends.push(() => provider.shutdown());
	}
	if (traces) {
		// Asked for here and not at the launch: what is missing of telemetry is no reason not to serve.
		const dbos = limit && dbosParameters();
		const sdk = new BasicTracerProvider({
			resource,
			spanProcessors: [counted(withoutTrials(new BatchSpanProcessor(new Spans())))],
			...(limit ? { sampler: limited() } : {})
		});
		trace.setGlobalTracerProvider(limit ? besides(sdk) : sdk);
		context.setGlobalContextManager(new Contexts().enable());
		propagation.setGlobalPropagator(new W3CTraceContextPropagator());
		answerWith({ ...openTelemetry, launched: dbos ? (tracer) => dbosBesides(tracer, dbos) : () => {} });
		ends.push(() => sdk.shutdown());
		instrument(sdk, limit);
	}

	return {
		pools,
		finish: async (timeoutMs) => {
			const patience = new AbortController();
			const sent = Promise.allSettled(ends.map((end) => end()));
			const late = pause(timeoutMs, undefined, { signal: patience.signal }).catch(() => {});
			await Promise.race([sent, late]);
			patience.abort();
		}
	};
}

/** A trial tells nothing. */
function withoutTrials(next: SpanProcessor): SpanProcessor {
	return {
		onStart: (span, parent) => next.onStart(span, parent),
		onEnd: (span) => {
			if (span.instrumentationScope.name !== TRIAL) next.onEnd(span);
		},
		forceFlush: () => next.forceFlush(),
		shutdown: () => next.shutdown()
	};
}

function resourceOf(environment: Environment): Resource {
	const { slot, executorId, pid } = identityOf(environment);
	const { serviceName } = environment.signals;
	const app = slot.slice(0, slot.lastIndexOf('-'));
	return resourceFromAttributes({ [RESOURCE.service]: app, [RESOURCE.version]: APPLICATION_VERSION })
		.merge(detectResources({ detectors: [envDetector] }))
		.merge(
			resourceFromAttributes({
				...(serviceName === undefined ? {} : { [RESOURCE.service]: serviceName }),
				[RESOURCE.instance]: slot,
				[RESOURCE.executor]: executorId,
				[RESOURCE.pid]: pid
			})
		);
}

/** Whether it was said that the collector does not take what it is sent. The SDK itself tries again and is silent. */
let complained = false;

function complain({ error }: ExportResult): void {
	if (error === undefined || complained) return;
	complained = true;
	log.warn('the telemetry collector does not take what it is sent; it is lost, the worker goes on, and this is not said again', {
		reason: reason(error)
	});
}

class Spans extends OTLPTraceExporter {
	override export(spans: Parameters<OTLPTraceExporter['export']>[0], done: (result: ExportResult) => void): void {
		super.export(spans, (result) => {
			complain(result);
			done(result);
		});
	}
}

class Numbers extends OTLPMetricExporter {
	override export(numbers: ResourceMetrics, done: (result: ExportResult) => void): void {
		super.export(numbers, (result) => {
			complain(result);
			done(result);
		});
	}
}

/** Tracing, answered by OpenTelemetry. */
const openTelemetry: Omit<Tracing, 'launched'> = {
	current: () => {
		const ids = trace.getActiveSpan()?.spanContext();
		return ids && { traceId: ids.traceId, spanId: ids.spanId };
	},

	parent: () => {
		const carrier: { traceparent?: string } = {};
		propagation.inject(context.active(), carrier);
		return carrier.traceparent;
	},

	route: (template) => {
		if (nothingIsRecorded()) return;
		const request = getRPCMetadata(context.active());
		if (request) request.route = template;
	},

	within: (parent, name, workflowId, work) => {
		const origin = propagation.extract(context.active(), { traceparent: parent });
		const run = trace.getActiveSpan();
		// The SDK's own span of this run is in the trace already, or tells nothing because the trace is not sampled.
		if (run?.spanContext().traceId === trace.getSpanContext(origin)?.traceId) return work();
		const options = {
			attributes: { [WORKFLOW.type]: 'workflow', [WORKFLOW.name]: name, [WORKFLOW.id]: workflowId },
			links: run && run.spanContext().traceFlags & TraceFlags.SAMPLED ? [{ context: run.spanContext() }] : []
		};
		return trace.getTracer(SCOPE).startActiveSpan(name, options, origin, async (span) => {
			try {
				return await work();
			} catch (error) {
				span.setStatus({ code: SpanStatusCode.ERROR });
				throw error;
			} finally {
				span.end();
			}
		});
	}
};

function exportAnswers(distributions: Distributions): void {
	const histogram = distributions.histogram({
		name: REQUEST.duration,
		unit: 's',
		description: 'How long requests took',
		bounds: SECONDS
	});
	// A route has a few kinds of answers: looking through them is less work than writing down what kind this one is.
	const routes = new Map<string, { readonly method: string; readonly status: number; readonly duration: Distribution }[]>();
	measureAnswers(({ method, route, status, ms }) => {
		if (PROBES.has(route)) return;
		let kinds = routes.get(route);
		if (kinds === undefined) routes.set(route, (kinds = []));
		let kind = kinds.find((kind) => kind.status === status && kind.method === method);
		if (kind === undefined) {
			const duration = histogram({
				[REQUEST.method]: method,
				[REQUEST.scheme]: 'http',
				[REQUEST.route]: route,
				[REQUEST.status]: status
			});
			kinds.push((kind = { method, status, duration }));
		}
		kind.duration.record(ms / 1000);
	});
}

function exportPools(meter: Meter, distributions: Distributions, pools: Readonly<Record<PoolName, FixedPool>>): void {
	const connections = { unit: '{connection}' };
	const count = meter.createObservableUpDownCounter(CONNECTION.count, {
		...connections,
		description: 'Connections that are open, by what they do'
	});
	const max = meter.createObservableUpDownCounter(CONNECTION.max, {
		...connections,
		description: 'Connections that the pool may hold: the declared maximum'
	});
	const idleMax = meter.createObservableUpDownCounter(CONNECTION.idleMax, {
		...connections,
		description: 'Connections that the pool keeps when they are idle: all of them'
	});
	const pending = meter.createObservableUpDownCounter(CONNECTION.pending, {
		unit: '{request}',
		description: 'Callers that wait for a connection'
	});
	const timeouts = meter.createCounter(CONNECTION.timeouts, {
		unit: '{timeout}',
		description: 'Callers that were lent no connection in time'
	});
	const seconds = { unit: 's', bounds: SHORT_SECONDS };
	const waits = distributions.histogram({
		...seconds,
		name: CONNECTION.waitTime,
		description: 'How long callers waited for a connection'
	});
	const uses = distributions.histogram({
		...seconds,
		name: CONNECTION.useTime,
		description: 'How long callers kept a connection'
	});

	for (const [name, pool] of Object.entries(pools)) {
		const of = { [POOL_NAME]: name };
		// One look for all of them: what is exported together shows one moment.
		meter.addBatchObservableCallback(
			(result) => {
				const gauge = pool.gauge();
				result.observe(count, gauge.idle, { ...of, [CONNECTION_STATE]: 'idle' });
				result.observe(count, gauge.busy, { ...of, [CONNECTION_STATE]: 'used' });
				result.observe(max, gauge.max, of);
				result.observe(idleMax, gauge.max, of);
				result.observe(pending, gauge.waiting, of);
			},
			[count, max, idleMax, pending]
		);
		// Seen from the start, and not only once it is too late.
		timeouts.add(0, of);
		const [waited, used] = [waits(of), uses(of)];
		pool.measure({
			waited: (ms) => waited.record(ms / 1000),
			used: (ms) => used.record(ms / 1000),
			timedOut: () => timeouts.add(1, of)
		});
	}
}
