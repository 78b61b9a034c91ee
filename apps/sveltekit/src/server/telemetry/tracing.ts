/**
 * What the application asks of tracing, without loading any of it: OpenTelemetry's packages come with `export.ts`, which is imported
 * only where the environment names a collector. Until then every question here has the answer "nothing is traced".
 */

import type { DBOS } from '@dbos-inc/dbos-sdk';

/** By which the SDK of DBOS makes its spans. */
export type DbosTracer = NonNullable<typeof DBOS.tracer>;

/** Hexadecimal, as in W3C's trace context. */
export interface SpanIds {
	readonly traceId: string;
	readonly spanId: string;
}

export interface Tracing {
	/** The span that the calling code runs in. */
	current(): SpanIds | undefined;
	/** That span as W3C's `traceparent`, which outlives the process. */
	parent(): string | undefined;
	/** The executor was launched, and makes its spans by this. */
	launched(tracer: DbosTracer): void;
	/** Names the request that is being answered by its route's template. */
	route(template: string): void;
	/** Runs work in the trace of `parent`, as a span of its own where it is not in that trace already. */
	within<T>(parent: string, name: string, workflowId: string, work: () => Promise<T>): Promise<T>;
}

/** A request that was answered, by its route's template. */
export interface Answer {
	readonly method: string;
	readonly route: string;
	readonly status: number;
	readonly ms: number;
}

const TRACING = Symbol.for('order-desk.tracing');
const ANSWERS = Symbol.for('order-desk.answers');
const globals = globalThis as { [TRACING]?: Tracing; [ANSWERS]?: (answer: Answer) => void };

/** Undefined where nothing is traced. */
export function tracing(): Tracing | undefined {
	return globals[TRACING];
}

/** From now on there is something to answer with. For `export.ts` alone. */
export function answerWith(tracing: Tracing): void {
	globals[TRACING] = tracing;
}

/** Tells of an answer whoever measures them; undefined where nobody does. */
export function answers(): ((answer: Answer) => void) | undefined {
	return globals[ANSWERS];
}

/** From now on answers are measured. For `export.ts` alone. */
export function measureAnswers(measure: (answer: Answer) => void): void {
	globals[ANSWERS] = measure;
}
