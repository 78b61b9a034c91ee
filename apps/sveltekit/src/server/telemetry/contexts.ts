/**
 * Where spans are made, and how contexts are kept.
 */
import { context, INVALID_SPAN_CONTEXT, trace, type Context } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import type { SpanProcessor } from '@opentelemetry/sdk-trace-base';
import { EventEmitter } from 'node:events';

/** What stands for a span where none is made. */
export const NO_SPAN = trace.wrapSpanContext(INVALID_SPAN_CONTEXT);

/** Spans that are recorded and have not ended. */
let underWay = 0;

/** Whether nothing is recorded at this moment: most of the time, where traces are limited in number. */
export function nothingIsRecorded(): boolean {
	return underWay === 0;
}

/** Whether work there is of no trace. So is all that is below no request that is recorded: what is left out has no context made for it. */
export function isLeftOut(within = context.active()): boolean {
	const span = trace.getSpan(within);
	return span === undefined || span === NO_SPAN;
}

/** Who is told when something is recorded, and when nothing is any more. */
const toldOf: ((recording: boolean) => void)[] = [];

/** Tells `told` whether something is recorded: now, when the first span begins, and when the last one has ended. */
export function onRecording(told: (recording: boolean) => void): void {
	toldOf.push(told);
	told(!nothingIsRecorded());
}

function turned(recording: boolean): void {
	for (const told of toldOf) told(recording);
}

/** Has spans counted while they are under way, and then goes on. */
export function counted(next: SpanProcessor): SpanProcessor {
	return {
		onStart: (span, parent) => {
			underWay += 1;
			if (underWay === 1) turned(true);
			next.onStart(span, parent);
		},
		onEnd: (span) => {
			underWay -= 1;
			if (underWay === 0) turned(false);
			next.onEnd(span);
		},
		forceFlush: () => next.forceFlush(),
		shutdown: () => next.shutdown()
	};
}

/**
 * The SDK's context manager, but what emits events stays as it is, and no context is entered for what stands for a span.
 *
 * The SDK gives an emitter that is bound a dozen methods of its own, so that its listeners have the context. Node's functions for requests then meet
 * objects of two shapes: V8 threw away some fifty that it had compiled, and compiled them again for both and slower, for ten requests in a minute.
 *
 * What is lost: a listener that is called by Node's parser, outside of whatever awaits, has no context. Those of this application resolve promises,
 * whose awaiting code has its own.
 */
export class Contexts extends AsyncLocalStorageContextManager {
	override bind<T>(within: Context, target: T): T {
		return target instanceof EventEmitter ? target : super.bind(within, target);
	}

	override with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
		within: Context,
		work: F,
		self?: ThisParameterType<F>,
		...args: A
	): ReturnType<F> {
		// The SDK of DBOS enters one with every step of a workflow, left out or not.
		return trace.getSpan(within) === NO_SPAN ? work.call(self, ...args) : super.with(within, work, self, ...args);
	}
}
