import { context, createContextKey, propagation, ROOT_CONTEXT, trace, TraceFlags } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { getGlobalTracingHelper } from '@prisma/instrumentation-contract';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Contexts, counted, isLeftOut, NO_SPAN, nothingIsRecorded } from '../src/server/telemetry/contexts.ts';
import { besides, dbosBesides, dbosParameters, instrument } from '../src/server/telemetry/instrument.ts';
import { Limit } from '../src/server/telemetry/sampler.ts';
import type { DbosTracer } from '../src/server/telemetry/tracing.ts';

/** Whether V8 sees two objects as of one shape, so that what it has compiled for one serves the other. */
function shapes(): (one: object, other: object) => boolean {
	setFlagsFromString('--allow-natives-syntax');
	return new Function('one', 'other', 'return %HaveSameMap(one, other)') as (one: object, other: object) => boolean;
}

interface Met {
	readonly request: IncomingMessage;
	readonly response: ServerResponse;
}

const spans = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [counted(new SimpleSpanProcessor(spans))] });
const met: Met[] = [];
const server = createServer((request, response) => {
	met.push({ request, response });
	response.end();
});

beforeAll(async () => {
	context.setGlobalContextManager(new Contexts().enable());
	propagation.setGlobalPropagator(new W3CTraceContextPropagator());
	instrument(provider, new Limit());
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
});

afterAll(() => void server.close());

/** Asks once, over a connection of its own, as a caller who has decided about the trace. */
async function ask(sampled: boolean): Promise<Met> {
	const { port } = server.address() as AddressInfo;
	const traceparent = `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0${sampled ? 1 : 0}`;
	const asked = get({ host: '127.0.0.1', port, agent: false, headers: { traceparent } });
	const [answer] = (await once(asked, 'response')) as [IncomingMessage];
	answer.resume();
	await once(answer, 'close');
	const last = met.at(-1);
	if (last === undefined) throw new Error('the server has met no request');
	return last;
}

test('a request that is recorded leaves its objects in the shape of all others', async () => {
	const alike = shapes();
	const recorded = await ask(true);
	expect(spans.getFinishedSpans().map(({ name }) => name)).toEqual(['GET']);
	const leftOut = await ask(false);
	expect(spans.getFinishedSpans()).toHaveLength(1);

	expect(alike(recorded.request, leftOut.request)).toBe(true);
	expect(alike(recorded.response, leftOut.response)).toBe(true);
	expect(alike(recorded.request.socket, leftOut.request.socket)).toBe(true);
	// And it can tell.
	expect(alike(recorded.request, recorded.response)).toBe(false);
});

test('nothing is made below a request that is left out, and no context is entered for what stands for a span', () => {
	const tracer = besides(new BasicTracerProvider()).getTracer('test');
	const key = createContextKey('anything');
	expect(tracer.startSpan('alone')).toBe(NO_SPAN);
	tracer.startActiveSpan('alone', (span) => expect(span).toBe(NO_SPAN));

	const within = trace.setSpan(context.active(), NO_SPAN);
	function work(this: string, one: number, other: number) {
		return [String(this), one + other, context.active() === ROOT_CONTEXT];
	}
	expect(context.with(within, work, 'me', 1, 2)).toEqual(['me', 3, true]);
	expect(tracer.startSpan('below', {}, within)).toBe(NO_SPAN);
	context.with(within.setValue(key, 'else'), () => expect(isLeftOut()).toBe(true));
});

test('below a recorded request spans are made', () => {
	const tracer = besides(new BasicTracerProvider()).getTracer('test');
	const caller = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', traceFlags: TraceFlags.SAMPLED };
	const request = trace.setSpanContext(context.active(), caller);
	context.with(request, () => {
		expect(isLeftOut()).toBe(false);
		tracer.startActiveSpan('one', (span) => {
			expect(span.spanContext().traceId).toBe(caller.traceId);
			expect(trace.getActiveSpan()).toBe(span);
		});
	});
	expect(isLeftOut()).toBe(true);
});

test('below a span that is made here spans are made, and beside it none', () => {
	const tracer = besides(provider).getTracer('test');
	const request = provider.getTracer('test').startSpan('request');
	expect(isLeftOut()).toBe(true);
	context.with(trace.setSpan(context.active(), request), () => {
		expect(isLeftOut()).toBe(false);
		tracer.startActiveSpan('one', (span) => {
			expect(span.spanContext().traceId).toBe(request.spanContext().traceId);
			expect(trace.getActiveSpan()).toBe(span);
			span.end();
		});
	});
	expect(isLeftOut()).toBe(true);
	expect(nothingIsRecorded()).toBe(false);
	request.end();
	request.end();
	expect(nothingIsRecorded()).toBe(true);
});

test('Prisma tells of its steps only while something is recorded, and of none beside it', () => {
	expect(getGlobalTracingHelper()).toBeUndefined();
	const [one, other] = ['one', 'other'].map((name) => provider.getTracer('test').startSpan(name));
	one?.end();
	const helper = getGlobalTracingHelper();
	expect(helper?.isEnabled()).toBe(false);
	context.with(trace.setSpan(context.active(), other ?? NO_SPAN), () => {
		expect(helper?.isEnabled()).toBe(true);
		const name = 'operation';
		helper?.runInChildSpan(name, () => expect(trace.getActiveSpan()).not.toBe(other));
	});
	expect(spans.getFinishedSpans().map(({ name }) => name)).toContain('prisma:client:operation');
	other?.end();
	expect(getGlobalTracingHelper()).toBeUndefined();
});

/** The SDK's own, as an executor has it that traces. */
function dbosTracer(): DbosTracer {
	const require = createRequire(import.meta.url);
	const sdk = dirname(require.resolve('@dbos-inc/dbos-sdk'));
	dbosParameters().tracingEnabled = true;
	const { Tracer } = require(join(sdk, 'telemetry', 'traces.js')) as { Tracer: new (collector: undefined, format: 'semconv') => DbosTracer };
	return new Tracer(undefined, 'semconv');
}

test('the SDK of DBOS makes spans of what is recorded, and is not even asked about what is beside it', () => {
	const tracers = besides(provider);
	const asked: string[] = [];
	trace.setGlobalTracerProvider({
		getTracer: (name, ...more) => {
			asked.push(name);
			return tracers.getTracer(name, ...more);
		}
	});
	const tracer = dbosTracer();
	dbosBesides(tracer, dbosParameters());
	// Nor does it enter contexts then.
	expect(dbosParameters().tracingEnabled).toBe(false);
	expect(tracer.startSpan('alone')).toBe(NO_SPAN);

	const request = provider.getTracer('test').startSpan('request');
	expect(dbosParameters().tracingEnabled).toBe(true);
	const beside = tracer.startSpan('beside');
	expect(beside).toBe(NO_SPAN);
	expect(tracer.startSpan('below what is beside', {}, beside)).toBe(NO_SPAN);
	expect(asked).toEqual([]);
	context.with(trace.setSpan(context.active(), request), () => {
		const step = tracer.startSpan('a step', { operationType: 'step' });
		const below = tracer.startSpan('below a step', {}, step);
		request.end();
		tracer.endSpan(below);
		tracer.endSpan(step);
	});
	tracer.endSpan(beside);
	expect(asked).toHaveLength(2);
	expect(nothingIsRecorded()).toBe(true);
	const steps = spans.getFinishedSpans().filter(({ name }) => name.endsWith('a step'));
	expect(steps.map(({ name }) => name)).toEqual(['below a step', 'a step']);
	expect(steps[1]?.attributes).toMatchObject({ 'dbos.operation.type': 'step' });
	expect(steps[1]?.parentSpanContext?.spanId).toBe(request.spanContext().spanId);
	expect(steps[0]?.parentSpanContext?.spanId).toBe(steps[1]?.spanContext().spanId);
	expect(dbosParameters().tracingEnabled).toBe(false);
	trace.disable();
});
