/**
 * Which traces are recorded where neither a caller nor the environment has decided: a process begins at most so many in a second. A
 * quiet service has all of them, and a loaded one is not slowed down by telling of every request.
 */
import { SpanKind, trace, type Context } from '@opentelemetry/api';
import { ParentBasedSampler, SamplingDecision, type Sampler } from '@opentelemetry/sdk-trace-base';

/** What five of them cost is little, and more than anybody reads. */
export const TRACES_PER_SECOND = 5;

/** How many traces may still begin. */
export class Limit {
	#second = 0;
	#begun = 0;

	constructor(private readonly now: () => number = Date.now) {}

	/** Whether one more may begin now. */
	take(): boolean {
		const second = Math.floor(this.now() / 1000);
		if (second !== this.#second) {
			this.#second = second;
			this.#begun = 0;
		}
		this.#begun += 1;
		return this.#begun <= TRACES_PER_SECOND;
	}
}

/** Whether a request is recorded. Decided before anything is made of it: what a span costs, one that is not recorded costs nearly as well. */
export function isRecorded(caller: Context, limit: Limit): boolean {
	const above = trace.getSpanContext(caller);
	return above ? (above.traceFlags & 1) === 1 : limit.take();
}

/** The sampler to that: of requests only those come here that are recorded; all else that begins a trace needs room for it. */
export function limited(limit: Limit): Sampler {
	const root: Sampler = {
		shouldSample: (_context, _traceId, _name, kind) => ({
			decision: kind === SpanKind.SERVER || limit.take() ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD
		}),
		toString: () => `Limited{${TRACES_PER_SECOND}/s}`
	};
	return new ParentBasedSampler({ root });
}
