import { ROOT_CONTEXT, trace, TraceFlags } from '@opentelemetry/api';
import { expect, test } from 'vitest';
import { isRecorded, Limit, TRACES, WINDOW_MS } from '#server/telemetry/sampler.ts';

test('some seconds have room for so many traces, and the next ones again', () => {
	let now = 5 * WINDOW_MS;
	const limit = new Limit(() => now);
	const begun = () => Array.from({ length: TRACES + 5 }, () => limit.take()).filter(Boolean).length;
	expect(begun()).toBe(TRACES);
	now = 6 * WINDOW_MS - 1;
	expect(begun()).toBe(0);
	now = 6 * WINDOW_MS;
	expect(begun()).toBe(TRACES);
});

test('what the caller has decided stands, whatever the limit', () => {
	const limit = new Limit(() => 0);
	const called = (traceFlags: TraceFlags) =>
		trace.setSpanContext(ROOT_CONTEXT, { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', traceFlags });
	for (let i = 0; i < 3 * TRACES; i += 1) {
		expect(isRecorded(called(TraceFlags.SAMPLED), limit)).toBe(true);
		expect(isRecorded(called(TraceFlags.NONE), limit)).toBe(false);
	}
	expect(isRecorded(ROOT_CONTEXT, limit)).toBe(true);
});
