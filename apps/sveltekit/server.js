/**
 * The web server of one worker: SvelteKit's handler on a socket that is handed down or bound here, and
 * the drain that adapter-node's own server lacks.
 */
import { DrainingServer } from './http-drain.js';
import cluster from 'node:cluster';
import process from 'node:process';
import { setFlagsFromString } from 'node:v8';

/** @import { Worker } from './src/server/worker.ts' */

/** The first descriptor that a parent hands down (sd_listen_fds). */
const LISTEN_FDS_START = 3;

/** What closing two pools may take beyond the drain, before the process ends regardless. */
const CLOSING_MS = 2_000;

/** A standard error that takes longer than this is not going to take the message. */
const WRITING_MS = 1_000;

// How much V8 lets its old generation grow before it collects all of it again: to three times of what it keeps. By default it did so
// every 45 MB that a worker under load allocated, which was a tenth of the processor time of its reads.
setFlagsFromString('--heap-growing-percent=200');

/** Taken out of the environment at once: they mean this process and none of its children. */
const handedDown = takeListenFds(process.env);

// adapter-node takes every request for HTTPS unless a header says otherwise. TLS, if any, ends at a
// proxy, and a proxy says so in this header.
process.env.PROTOCOL_HEADER ??= 'x-forwarded-proto';

/** @type {{ worker?: Worker }} */
let slot = {};
/** @type {DrainingServer | undefined} */
let server;
/** @type {Promise<void> | undefined} */
let ending;

process.on('SIGTERM', () => end('SIGTERM'));
process.on('SIGINT', () => end('SIGINT'));
process.on('message', (message) => {
	// PM2's word where signals do not exist, and on its soft reload.
	if (message === 'shutdown') end('shutdown message');
});
// Before cluster's own listener, which would end a worker of PM2 on the spot.
process.prependListener('disconnect', () => {
	leaveCluster();
	end('channel closed');
});

try {
	/** @type {{ handler: import('node:http').RequestListener extends (...a: infer A) => unknown ? (...a: [...A, () => void]) => void : never }} */
	const { handler } = await import(new URL('build/handler.js', import.meta.url).href);
	slot = Reflect.get(globalThis, Symbol.for('order-desk.worker'));
	const worker = startedWorker();
	server = new DrainingServer((request, response) => {
		response.setHeader('x-worker', worker.slot);
		request.headers['x-forwarded-proto'] ??= 'http';
		if (isPlainForm(request)) request.headers.accept = 'text/html';
		handler(request, response, () => {
			response.statusCode = 404;
			response.end();
		});
	});
	const { host, port } = worker.environment;
	await server.listen(handedDown ? { fd: LISTEN_FDS_START } : { host, port });
	if (!ending) worker.listening(server.port());
} catch (error) {
	fail(error);
}

/**
 * Finishes what is in flight and exits with 0; a second reason to end changes nothing.
 * @param {string} why
 */
function end(why) {
	ending ??= drain(why).catch(fail);
}

/** @param {string} why */
async function drain(why) {
	// Nothing was served yet, so nothing is in flight.
	if (!server || !slot.worker) process.exit(0);
	const { worker } = slot;
	const { drainTimeoutMs } = worker.environment;
	const deadline = performance.now() + drainTimeoutMs;
	setTimeout(() => fail(new Error(`the drain was not over after ${drainTimeoutMs} ms`)), drainTimeoutMs + CLOSING_MS);
	worker.draining(why);
	await server.drain(deadline);
	await worker.close(deadline - performance.now());
	// Not by leaving the event loop empty: timers and the channel would keep it alive.
	process.exit(0);
}

/**
 * Says why, then exits: only once it is written, because PM2 makes standard error a file that is written
 * behind the program's back, and an exit at once would lose the one line that explains it.
 * @param {unknown} error
 */
function fail(error) {
	// An environment that is wrong carries its own exit code; everything else is a failed launch.
	const code = error instanceof Error && 'exitCode' in error ? Number(error.exitCode) : 1;
	const doing = ending ? 'stop' : 'launch';
	const message = code === 1 ? `worker cannot ${doing}: ${explain(error)}` : explain(error);
	process.stderr.write(`${message}\n`, 'utf8', () => process.exit(code));
	setTimeout(() => process.exit(code), WRITING_MS);
}

/**
 * @param {unknown} error
 * @returns {string}
 */
function explain(error) {
	if (error instanceof AggregateError && error.errors.length > 0) {
		return error.errors.map(explain).join('; ');
	}
	return error instanceof Error ? error.message || error.name : String(error);
}

/** @returns {Worker} */
function startedWorker() {
	if (!slot?.worker) throw new Error('the handler was loaded but no worker has started, expected the hook `init` to start it');
	return slot.worker;
}

/**
 * A form that was not sent by the page's script. SvelteKit answers one that accepts anything with JSON
 * for its script; the contract is a 303, for a program as for a browser.
 * @param {import('node:http').IncomingMessage} request
 */
function isPlainForm({ method, headers }) {
	return (
		method === 'POST' &&
		headers['x-sveltekit-action'] === undefined &&
		/^(application\/x-www-form-urlencoded|multipart\/form-data)\b/i.test(headers['content-type'] ?? '')
	);
}

/** A worker of PM2 whose primary has gone may finish its work; cluster would exit without this mark. */
function leaveCluster() {
	if (cluster.worker) cluster.worker.exitedAfterDisconnect = true;
}

/**
 * Whether a listening socket was handed down to this very process.
 * @param {NodeJS.ProcessEnv} env
 */
function takeListenFds(env) {
	const { LISTEN_FDS, LISTEN_PID } = env;
	delete env.LISTEN_FDS;
	delete env.LISTEN_PID;
	delete env.LISTEN_FDNAMES;
	return LISTEN_PID === String(process.pid) && Number(LISTEN_FDS) >= 1;
}
