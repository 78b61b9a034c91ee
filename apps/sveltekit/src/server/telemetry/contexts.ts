/**
 * The one context of all that is left out, and how contexts are kept.
 */
import { context, INVALID_SPAN_CONTEXT, ROOT_CONTEXT, trace, type Context } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { isTracingSuppressed, suppressTracing } from '@opentelemetry/core';
import { EventEmitter } from 'node:events';

/** What stands for a span where none is made. */
export const NO_SPAN = trace.wrapSpanContext(INVALID_SPAN_CONTEXT);

/**
 * Without traces. What stands for a span need not be remembered there, so no step of a workflow makes a context of its own: that was two thirds of what
 * OpenTelemetry's API took of an order that is left out.
 */
class LeftOut implements Context {
	readonly #plain = suppressTracing(ROOT_CONTEXT);

	getValue(key: symbol): unknown {
		return this.#plain.getValue(key);
	}

	setValue(key: symbol, value: unknown): Context {
		return value === NO_SPAN ? this : this.#plain.setValue(key, value);
	}

	deleteValue(key: symbol): Context {
		return this.#plain.deleteValue(key);
	}
}

/** Where nothing is made: of a request that is left out, and of the workflow that it starts. */
export const LEFT_OUT: Context = new LeftOut();

/** Whether no span is made there. */
export function isLeftOut(within = context.active()): boolean {
	return within === LEFT_OUT || isTracingSuppressed(within);
}

/**
 * The SDK's context manager, but what emits events stays as it is.
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
		// Below a request that is left out all contexts are the same one.
		return within === this.active() ? work.call(self, ...args) : super.with(within, work, self, ...args);
	}
}
