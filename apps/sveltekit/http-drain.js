import { Server as HttpServer } from 'node:http';
import { Server as NetServer } from 'node:net';
import { setImmediate as immediate } from 'node:timers/promises';

/** @import { ListenOptions, Socket } from 'node:net' */
/** @import { RequestListener, ServerResponse } from 'node:http' */

/**
 * Longer than any client keeps an idle connection, so that it is the client who closes it and no
 * request is on its way to a socket that has just gone.
 */
const KEEP_ALIVE_MS = 65_000;

/**
 * How long an idle keep-alive connection may still be used while draining. Every connection in use sends
 * a request within it, also on a machine with ten times as much to do as it can, and is told `Connection: close`;
 * closing at once would cut such requests.
 */
const IDLE_PAUSE_MS = 2_000;

/** An HTTP server that can stop without losing a request. */
export class DrainingServer {
	#draining = false;
	/** @type {Set<ServerResponse>} */
	#inFlight = new Set();
	/** @type {Set<Socket>} */
	#sockets = new Set();
	/** @type {(() => void) | undefined} */
	#onSocketClosed;
	#server;

	/** @param {RequestListener} handler */
	constructor(handler) {
		this.#server = new HttpServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
			this.#inFlight.add(response);
			response.once('close', () => this.#inFlight.delete(response));
			if (this.#draining) response.shouldKeepAlive = false;
			handler(request, response);
		});
		this.#server.on('connection', (socket) => {
			this.#sockets.add(socket);
			socket.once('close', () => {
				this.#sockets.delete(socket);
				this.#onSocketClosed?.();
			});
		});
	}

	/**
	 * @param {ListenOptions & { fd?: number }} where
	 * @returns {Promise<void>}
	 */
	listen(where) {
		return new Promise((resolve, reject) => {
			this.#server.once('error', reject);
			this.#server.listen(where, () => {
				this.#server.off('error', reject);
				resolve();
			});
		});
	}

	/** The port it listens on; none for a socket of another family, or before `listen`. */
	port() {
		const address = this.#server.address();
		return address !== null && typeof address === 'object' ? address.port : undefined;
	}

	/**
	 * Stops accepting, lets every connection finish, and closes idle ones after a pause. At the deadline
	 * (by `performance.now()`, which no step of the wall clock moves) what is left is cut.
	 * @param {number} deadline
	 */
	async drain(deadline) {
		this.#draining = true;
		// Not http's close(): it would close idle connections at once, under their clients' hands.
		NetServer.prototype.close.call(this.#server);
		for (const response of this.#inFlight) response.shouldKeepAlive = false;

		await this.#socketsClosed(Math.min(deadline, performance.now() + IDLE_PAUSE_MS));
		// A timer fires before its turn of the event loop has read what arrived: a request that has been waiting for this
		// process, on a machine with more to do than it can, would be cut. Twice, since reading may take a turn by itself.
		await immediate();
		await immediate();
		this.#server.closeIdleConnections();
		// Node counts a connection as idle after its first answer only. Clients with a pool open some that they then do
		// not need, and would hold the drain up to its deadline.
		for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy();
		await this.#socketsClosed(deadline);
		this.#server.closeAllConnections();
	}

	/**
	 * Resolves when no connection is left, or at `until`.
	 * @param {number} until
	 * @returns {Promise<void>}
	 */
	#socketsClosed(until) {
		return new Promise((resolve) => {
			const done = () => {
				clearTimeout(timer);
				this.#onSocketClosed = undefined;
				resolve();
			};
			const timer = setTimeout(done, Math.max(0, until - performance.now()));
			this.#onSocketClosed = () => {
				if (this.#sockets.size === 0) done();
			};
			this.#onSocketClosed();
		});
	}
}
