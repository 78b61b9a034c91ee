/**
 * Which traces are recorded where neither a caller nor the environment has decided: a process begins at most ten in a minute. A
 * quiet service has all of them, and a loaded one is not slowed down by telling of every request.
 */
import { SpanKind, trace, type Context } from '@opentelemetry/api';
import { ParentBasedSampler, SamplingDecision, type Sampler } from '@opentelemetry/sdk-trace-base';

/**
 * One every six seconds on average is more than anybody reads, and one order in a hundred where twenty are placed a second: a recorded one costs
 * several times its own work. They may come all at once.
 */
export const TRACES = 10;
export const WINDOW_MS = 60_000;

/** How many traces may still begin. */
export class Limit {
	#window = 0;
	#begun = 0;

	constructor(private readonly now: () => number = () => performance.now()) {}

	/** Whether one more may begin now. */
	take(): boolean {
		const window = Math.floor(this.now() / WINDOW_MS);
		if (window !== this.#window) {
			this.#window = window;
			this.#begun = 0;
		}
		this.#begun += 1;
		return this.#begun <= TRACES;
	}
}

/** Whether a request is recorded. Decided before anything is made of it. */
export function isRecorded(caller: Context, limit: Limit): boolean {
	const above = trace.getSpanContext(caller);
	return above ? (above.traceFlags & 1) === 1 : limit.take();
}

/** The sampler to that: of requests only those come here that are recorded, and nothing else begins a trace. */
export function limited(): Sampler {
	const root: Sampler = {
		shouldSample: (_context, _traceId, _name, kind) => ({
			decision: kind === SpanKind.SERVER ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD
		}),
		toString: () => `Limited{${TRACES} in ${WINDOW_MS} ms}`
	};
	return new ParentBasedSampler({ root });
}
