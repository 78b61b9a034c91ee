/**
 * For a Node program that was written for PM2's cluster mode: what it listens on is shared by all workers without its doing.
 * There a primary process accepts and hands every connection over; here every worker gets the socket that the supervisor
 * holds. Everything else that the program listens on is its own.
 */
'use strict';

const { Server } = require('node:net');

/** The first descriptor that a parent hands down (sd_listen_fds). */
const LISTEN_FDS_START = 3;

const { LISTEN_FDS, LISTEN_PID, POOLWRIGHT_CLUSTER_PORT, POOLWRIGHT_CLUSTER_READY } = process.env;

// What the program starts inherits the variables, and means nothing by them.
if (Number(LISTEN_FDS) >= 1 && LISTEN_PID === String(process.pid)) {
	const listen = Server.prototype.listen;
	Server.prototype.listen = function (...where) {
		if (!isShared(where[0])) return listen.apply(this, where);
		if (POOLWRIGHT_CLUSTER_READY === 'listening') this.once('listening', () => process.send?.('ready'));
		const callback = where.findLast((argument) => typeof argument === 'function');
		return listen.call(this, { fd: LISTEN_FDS_START }, callback);
	};
}

/** Whether this is the address that the workers share: by its port, `listen(port, …)` or `listen({ port, … })`. */
function isShared(where) {
	const port = where !== null && typeof where === 'object' ? where.port : where;
	return port !== undefined && port !== null && port !== '' && Number(port) === Number(POOLWRIGHT_CLUSTER_PORT);
}
