import { SamplingDecision } from '@opentelemetry/sdk-trace-base';
import { expect, test } from 'vitest';
import { LimitedSampler, TRACES_PER_SECOND } from '#server/telemetry/sampler.ts';

test('a second has room for so many traces, and the next one again', () => {
	let now = 5_000;
	const sampler = new LimitedSampler(() => now);
	const begun = () =>
		Array.from({ length: TRACES_PER_SECOND + 5 }, () => sampler.shouldSample().decision).filter(
			(decision) => decision === SamplingDecision.RECORD_AND_SAMPLED
		).length;
	expect(begun()).toBe(TRACES_PER_SECOND);
	now = 5_999;
	expect(begun()).toBe(0);
	now = 6_000;
	expect(begun()).toBe(TRACES_PER_SECOND);
});
