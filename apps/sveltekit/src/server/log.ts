/**
 * Structured lines on standard output: one JSON object each, `level` and `msg` always there; within a span that is exported its
 * `trace_id` and `span_id` too.
 */
import { tracing } from './telemetry/tracing.ts';

export type Level = 'info' | 'warn' | 'error';
export type Fields = Readonly<Record<string, unknown>>;

function write(level: Level, msg: string, fields: Fields): void {
	const span = tracing()?.current();
	const ids = span ? { trace_id: span.traceId, span_id: span.spanId } : {};
	process.stdout.write(`${JSON.stringify({ level, msg, ...fields, ...ids, time: new Date().toISOString() })}\n`);
}

export const log = {
	info: (msg: string, fields: Fields = {}) => write('info', msg, fields),
	warn: (msg: string, fields: Fields = {}) => write('warn', msg, fields),
	error: (msg: string, fields: Fields = {}) => write('error', msg, fields)
};

/** The message of anything that was thrown. */
export function reason(error: unknown): string {
	if (error instanceof AggregateError && error.errors.length > 0) {
		return error.errors.map(reason).join('; ');
	}
	return error instanceof Error ? error.message || error.name : String(error);
}
