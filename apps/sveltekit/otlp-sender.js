/**
 * Sends traces and metrics to the collector, in a thread of its own: `src/server/telemetry/sending.ts` starts it and hands it what is ready to be sent.
 *
 * Not in the thread that answers requests: with metrics that were collected there and sent every ten seconds, a read took 4 % more of a processor, and no more than
 * without any when they were collected and not sent. V8 has compiled Node's streams for the kinds of sockets that were met, and a client's is one more.
 */
import { convertLegacyHttpOptions, createOtlpHttpExportDelegate } from '@opentelemetry/otlp-exporter-base/node-http';
import { parentPort } from 'node:worker_threads';

/** @import { ToSend, Sent } from './src/server/telemetry/sending.ts' */

/** It is serialised already, and nobody reads what the collector says beside its status. */
const asItIs = {
	serializeRequest: (/** @type {Uint8Array} */ bytes) => bytes,
	deserializeResponse: () => ({})
};

/** @param {'TRACES' | 'METRICS'} signal @param {string} path @param {'span' | 'metric_data_point'} name */
function sender(signal, path, name) {
	const options = convertLegacyHttpOptions({}, signal, path, { 'Content-Type': 'application/x-protobuf' });
	return createOtlpHttpExportDelegate(options, asItIs, 'otlp_http_exporter', { name, countItems: () => 1 }, undefined);
}

const senders = {
	traces: sender('TRACES', 'v1/traces', 'span'),
	metrics: sender('METRICS', 'v1/metrics', 'metric_data_point')
};

parentPort?.on('message', (/** @type {ToSend} */ { id, signal, bytes }) => {
	senders[signal].export(bytes, ({ error }) => {
		/** @type {Sent} */
		const sent = { id, error: error?.message };
		parentPort?.postMessage(sent);
	});
});
