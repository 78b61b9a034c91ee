import { ROOT_CONTEXT, trace, TraceFlags } from '@opentelemetry/api';
import { expect, test } from 'vitest';
import { isRecorded, Limit, TRACES_PER_SECOND } from '#server/telemetry/sampler.ts';

test('a second has room for so many traces, and the next one again', () => {
	let now = 5_000;
	const limit = new Limit(() => now);
	const begun = () => Array.from({ length: TRACES_PER_SECOND + 5 }, () => limit.take()).filter(Boolean).length;
	expect(begun()).toBe(TRACES_PER_SECOND);
	now = 5_999;
	expect(begun()).toBe(0);
	now = 6_000;
	expect(begun()).toBe(TRACES_PER_SECOND);
});

test('what the caller has decided stands, whatever the limit', () => {
	const limit = new Limit(() => 0);
	const called = (traceFlags: TraceFlags) =>
		trace.setSpanContext(ROOT_CONTEXT, { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', traceFlags });
	for (let i = 0; i < 3 * TRACES_PER_SECOND; i += 1) {
		expect(isRecorded(called(TraceFlags.SAMPLED), limit)).toBe(true);
		expect(isRecorded(called(TraceFlags.NONE), limit)).toBe(false);
	}
	expect(isRecorded(ROOT_CONTEXT, limit)).toBe(true);
});
