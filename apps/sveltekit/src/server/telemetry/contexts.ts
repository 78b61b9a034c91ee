/**
 * Where spans are made, and how contexts are kept.
 */
import { context, INVALID_SPAN_CONTEXT, trace, type Context } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { EventEmitter } from 'node:events';

/** What stands for a span where none is made. */
export const NO_SPAN = trace.wrapSpanContext(INVALID_SPAN_CONTEXT);

/** Whether work there is of no trace. So is all that is below no request that is recorded: what is left out has no context made for it. */
export function isLeftOut(within = context.active()): boolean {
	const span = trace.getSpan(within);
	return span === undefined || span === NO_SPAN;
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
