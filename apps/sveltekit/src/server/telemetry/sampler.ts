/**
 * Which traces are recorded where neither a caller nor the environment has decided: a process begins at most so many in a second. A
 * quiet service has all of them, and a loaded one is not slowed down by telling of every request.
 */
import { SamplingDecision, type Sampler, type SamplingResult } from '@opentelemetry/sdk-trace-base';

/** What ten of them cost is little, and more than anybody reads. */
export const TRACES_PER_SECOND = 10;

export class LimitedSampler implements Sampler {
	#second = 0;
	#begun = 0;

	constructor(private readonly now: () => number = Date.now) {}

	shouldSample(): SamplingResult {
		const second = Math.floor(this.now() / 1000);
		if (second !== this.#second) {
			this.#second = second;
			this.#begun = 0;
		}
		this.#begun += 1;
		const decision = this.#begun <= TRACES_PER_SECOND ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD;
		return { decision };
	}

	toString(): string {
		return `LimitedSampler{${TRACES_PER_SECOND}/s}`;
	}
}
