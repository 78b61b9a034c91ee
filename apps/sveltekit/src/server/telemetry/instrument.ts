/**
 * What the standard instrumentations trace, and what passes them by.
 *
 * Telling of nothing costs as well: the instrumentation of `http` binds every listener of a request to its context,
 * Prisma makes a dozen spans of a query and the SDK of DBOS one of every step, recorded or not. So what is left out is left out
 * before any of them sees it.
 */
import {
	propagation,
	ROOT_CONTEXT,
	type Context,
	type Span,
	type Tracer,
	type TracerProvider
} from '@opentelemetry/api';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { PrismaInstrumentation } from '@prisma/instrumentation';
import { getGlobalTracingHelper, setGlobalTracingHelper } from '@prisma/instrumentation-contract';
import { IncomingMessage, Server } from 'node:http';
import Module, { createRequire } from 'node:module';
import { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { isLeftOut, NO_SPAN, nothingIsRecorded, onRecording } from './contexts.ts';
import { isRecorded, type Limit } from './sampler.ts';
import type { DbosTracer } from './tracing.ts';

/** A probe every second is no request that anybody looks for. */
export const PROBES: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics']);

/** With whose tracer the SDK of DBOS tries at its launch whether spans are made. */
export const TRIAL = 'otel-bootstrap-check';

/** Spans of Prisma's that take microseconds and tell of Prisma. */
const UNINTERESTING = ['prisma:client:serialize', 'prisma:client:compile'];

const DBOS_SDK = join('node_modules', '@dbos-inc', 'dbos-sdk');

type DbosSpan = ReturnType<DbosTracer['startSpan']>;

type Require = typeof Module.prototype.require;

/** From now on requests and queries are traced by `provider`. With a `limit`, those requests are that it has room for, and what is below them. */
export function instrument(provider: TracerProvider, limit: Limit | undefined): void {
	const plain = Server.prototype.emit;
	const plainRequire = Module.prototype.require;
	const http = new HttpInstrumentation({
		// The page's address names the tenant.
		redactedQueryParamsServer: ['tenant'],
		ignoreIncomingRequestHook: isProbe,
		// The application makes no requests of its own; the exporters' are none of its work.
		disableOutgoingRequestInstrumentation: true
	});
	registerInstrumentations({ tracerProvider: provider, instrumentations: [http] });
	registerInstrumentations({
		tracerProvider: provider,
		// Enabled here and not by its making: it keeps the provider that it is enabled with. It asks it for a tracer with every span.
		instrumentations: [new PrismaInstrumentation({ enabled: false, ignoreSpanTypes: UNINTERESTING })]
	});
	// The instrumentation patches the module when it is required, and it was imported long ago. What it patches for incoming
	// requests is a prototype's method, which servers that exist have too.
	createRequire(import.meta.url)('node:http');
	// Nothing else is patched, and what looks out for it resolves whatever is required, every time.
	Module.prototype.require = remembering(plainRequire);
	if (limit === undefined) return;
	prismaBesides();
	httpBesides(plain, limit);
}

/** Requests that are left out are Node's alone, as if nothing was instrumented. */
function httpBesides(plain: typeof Server.prototype.emit, limit: Limit): void {
	const instrumented = Server.prototype.emit;
	// Its arguments are handed on as they are: each request is two events at least, and what is left out is not to be copied for it.
	Server.prototype.emit = function (this: Server, event: string, about?: unknown): boolean {
		if (event === 'connection') alike(about);
		const told = event === 'request' && about instanceof IncomingMessage && isTold(about, limit);
		return Reflect.apply(told ? instrumented : plain, this, arguments);
	};
}

/**
 * A recorded request has its peer's address asked for, which Node keeps on the socket from then on. It is asked for here on each, so that all sockets are
 * of one shape for V8.
 */
function alike(connection: unknown): void {
	if (connection instanceof Socket) void connection.remoteAddress;
}

/**
 * The SDK of DBOS requires OpenTelemetry for every span. Node looks for a module on the disk each time that it is required from where it was not
 * required first; 4 % of what an order cost a worker went into that.
 */
function remembering(require: Require): Require {
	const known = new Map<string, unknown>();
	return function (this: NodeJS.Module, id: string): unknown {
		if (!id.startsWith('@opentelemetry/') || !this.path.includes(DBOS_SDK)) return Reflect.apply(require, this, [id]);
		// All of the SDK finds the same ones.
		if (!known.has(id)) known.set(id, Reflect.apply(require, this, [id]));
		return known.get(id);
	};
}

/**
 * Prisma tells of its dozen steps by one helper, which is there only while something is recorded: one that has nothing to tell is asked all the same. While
 * something is recorded, what is left out beside it is asked about, too.
 */
function prismaBesides(): void {
	const helper = getGlobalTracingHelper();
	if (helper === undefined) throw new Error('Prisma is not instrumented, expected what PrismaInstrumentation sets');
	const besides: typeof helper = {
		isEnabled: () => !isLeftOut() && helper.isEnabled(),
		getTraceParent: (within) => helper.getTraceParent(within),
		dispatchEngineSpans: (spans, events, log) => helper.dispatchEngineSpans(spans, events, log),
		getActiveContext: () => helper.getActiveContext(),
		runInChildSpan: (options, work) =>
			isLeftOut(typeof options === 'string' ? undefined : options.context) ? work() : helper.runInChildSpan(options, work)
	};
	// None, and not `clearGlobalTracingHelper`, which takes properties off the global object, some ten times a minute.
	const none = undefined as unknown as typeof helper;
	onRecording((recording) => setGlobalTracingHelper(recording ? besides : none));
}

/**
 * The SDK of DBOS asks for a span of every workflow and step, with attributes that it renames and gives to it, and enters a context with it, whether anything
 * comes of it or not. Its tracer is not asked where nothing would, and while nothing is recorded at all, the SDK takes itself for one that does not trace: an
 * order cost a worker some 3 % more where it traced nothing than where it did not trace.
 */
export function dbosBesides(tracer: DbosTracer, sdk: DbosParameters): void {
	const start = tracer.startSpan.bind(tracer);
	const end = tracer.endSpan.bind(tracer);
	// All that the SDK does with a span it can do with this one.
	const none = NO_SPAN as unknown as DbosSpan;
	tracer.startSpan = (name, attributes, parent) => {
		const leftOut = nothingIsRecorded() || (parent === undefined ? isLeftOut() : parent === none);
		return leftOut ? none : start(name, attributes, parent);
	};
	tracer.endSpan = (span) => {
		if (span !== none) end(span);
	};
	onRecording((recording) => void (sdk.tracingEnabled = recording));
}

/** What the SDK of DBOS asks whether it traces. */
export interface DbosParameters {
	tracingEnabled: boolean;
}

/** The SDK's own, which it does not export. Throws where a release has none. */
export function dbosParameters(): DbosParameters {
	const require = createRequire(import.meta.url);
	const utils = join(dirname(require.resolve('@dbos-inc/dbos-sdk')), 'utils.js');
	const { globalParams } = require(utils) as { globalParams?: DbosParameters };
	if (typeof globalParams?.tracingEnabled !== 'boolean') {
		throw new Error(`${utils} has no globalParams.tracingEnabled, expected the switch of the SDK that was tested with`);
	}
	return globalParams;
}

function isProbe({ url = '' }: IncomingMessage): boolean {
	return PROBES.has(url.split('?', 1)[0] ?? '');
}

/** Whether anything is told of a request. */
function isTold(request: IncomingMessage, limit: Limit): boolean {
	if (isProbe(request)) return false;
	// Most callers have decided nothing, and for them nothing is to be read.
	const caller = request.headers.traceparent === undefined ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, request.headers);
	return isRecorded(caller, limit);
}

/** The tracers of `provider`, but with no spans where nothing is recorded. Spans of requests are not made by them. */
export function besides(provider: TracerProvider): TracerProvider {
	const tracers = new Map<string, Tracer>();
	return {
		getTracer: (name, version = '', options) => {
			// Asked with every span, and by most with a name alone.
			const key = version === '' && options === undefined ? name : `${name} ${version} ${options?.schemaUrl ?? ''}`;
			let tracer = tracers.get(key);
			if (tracer === undefined) {
				tracer = provider.getTracer(name, version, options);
				tracers.set(key, (tracer = name === TRIAL ? tracer : passedBy(tracer)));
			}
			return tracer;
		}
	};
}

function passedBy(tracer: Tracer): Tracer {
	const startActiveSpan = (name: string, ...more: unknown[]): unknown => {
		const within = more.length === 3 ? (more[1] as Context) : undefined;
		if (!isLeftOut(within)) return Reflect.apply(tracer.startActiveSpan, tracer, [name, ...more]);
		const work = more.at(-1) as (span: Span) => unknown;
		return work(NO_SPAN);
	};
	return {
		startSpan: (name, options, within) =>
			isLeftOut(within) ? NO_SPAN : tracer.startSpan(name, options, within),
		startActiveSpan: startActiveSpan as Tracer['startActiveSpan']
	};
}
