/**
 * What the application asks of tracing, without loading any of it: OpenTelemetry's packages come with `export.ts`, which is imported
 * only where the environment names a collector. Until then every question here has the answer "nothing is traced".
 */

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
	/** Names the request that is being answered by its route's template. */
	route(template: string): void;
	/** Runs work in the trace of `parent`, as a span of its own where it is not in that trace already. */
	within<T>(parent: string, name: string, workflowId: string, work: () => Promise<T>): Promise<T>;
}

const TRACING = Symbol.for('order-desk.tracing');
const globals = globalThis as { [TRACING]?: Tracing };

/** Undefined where nothing is traced. */
export function tracing(): Tracing | undefined {
	return globals[TRACING];
}

/** From now on there is something to answer with. For `export.ts` alone. */
export function answerWith(tracing: Tracing): void {
	globals[TRACING] = tracing;
}
