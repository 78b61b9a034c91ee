import { Agent, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { DrainingServer } from '../http-drain.js';

const FAR = () => performance.now() + 10_000;

let server: DrainingServer | undefined;
afterEach(() => server?.drain(performance.now()));

/** A server whose requests wait until they are answered by hand. */
async function serve() {
	const waiting: { request: IncomingMessage; response: ServerResponse }[] = [];
	const arrivals: (() => void)[] = [];
	server = new DrainingServer((request, response) => {
		waiting.push({ request, response });
		arrivals.shift()?.();
	});
	await server.listen({ host: '127.0.0.1', port: 0 });
	const port = server.port()!;
	const arrived = async () => {
		if (waiting.length === 0) await new Promise<void>((resolve) => arrivals.push(resolve));
		return waiting.shift()!.response;
	};
	return { server, port, arrived };
}

function request(port: number, agent: Agent): Promise<{ status: number | undefined; connection: string | undefined }> {
	return new Promise((resolve, reject) => {
		get({ host: '127.0.0.1', port, agent }, (response) => {
			response.resume();
			response.on('end', () => resolve({ status: response.statusCode, connection: response.headers.connection }));
		}).on('error', reject);
	});
}

test('a request in flight is finished, and told that the connection closes', async () => {
	const { server, port, arrived } = await serve();
	const answer = request(port, new Agent({ keepAlive: true }));
	const response = await arrived();
	const drained = server.drain(FAR());
	response.end('done');
	expect(await answer).toEqual({ status: 200, connection: 'close' });
	await drained;
});

test('an idle keep-alive connection may still be used while draining, and is told to close', async () => {
	const { server, port, arrived } = await serve();
	const agent = new Agent({ keepAlive: true, maxSockets: 1 });
	const first = request(port, agent);
	(await arrived()).end();
	expect(await first).toEqual({ status: 200, connection: 'keep-alive' });

	const drained = server.drain(FAR());
	const second = request(port, agent);
	(await arrived()).end();
	expect(await second).toEqual({ status: 200, connection: 'close' });
	await drained;
});

test('nothing new is accepted once draining', async () => {
	const { server, port } = await serve();
	await server.drain(FAR());
	const refused = new Promise((_, reject) => connect({ host: '127.0.0.1', port }).on('error', reject));
	await expect(refused).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('an idle connection that nobody uses holds the drain no longer than the pause', async () => {
	const { server, port, arrived } = await serve();
	const answer = request(port, new Agent({ keepAlive: true }));
	(await arrived()).end();
	await answer;
	const deadline = FAR();
	await server.drain(deadline);
	expect(performance.now()).toBeLessThan(deadline);
});

test('a connection that never carried a request holds the drain no longer than the pause', async () => {
	const { server, port, arrived } = await serve();
	const closed = new Promise((resolve) => connect({ host: '127.0.0.1', port }).on('close', resolve));
	// Connections are accepted in their order: once this one is answered, the other one is the server's.
	const answer = request(port, new Agent());
	(await arrived()).end();
	await answer;
	const deadline = FAR();
	await server.drain(deadline);
	expect(performance.now()).toBeLessThan(deadline);
	await closed;
});

test('at the deadline, what is still in flight is cut', async () => {
	const { server, port, arrived } = await serve();
	const answer = request(port, new Agent({ keepAlive: true }));
	const outcome = expect(answer).rejects.toMatchObject({ code: 'ECONNRESET' });
	await arrived();
	await server.drain(performance.now() + 50);
	await outcome;
});

test('a wall clock that is set forward meanwhile cuts nothing short', async () => {
	const { server, port, arrived } = await serve();
	const pauseIsOver = new Promise((resolve) => connect({ host: '127.0.0.1', port }).on('close', resolve));
	const answer = request(port, new Agent({ keepAlive: true }));
	const response = await arrived();
	const drained = server.drain(FAR());
	vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 24 * 60 * 60 * 1000 });
	try {
		await pauseIsOver;
		response.end();
		await expect(answer).resolves.toBeDefined();
		await drained;
	} finally {
		vi.useRealTimers();
	}
});

test('a request that arrived while the process was held up is answered, and not cut', async () => {
	const { server, port, arrived } = await serve();
	const client = connect({ host: '127.0.0.1', port });
	let received = '';
	client.on('data', (bytes) => (received += bytes));
	client.write('GET / HTTP/1.1\r\nhost: desk\r\n\r\n');
	(await arrived()).end();
	await vi.waitUntil(() => received.includes('\r\n\r\n'));

	const drained = server.drain(FAR());
	// Written at once; then the event loop does something else until after the pause. Of its phases the next one is that of
	// the timers, before it reads.
	await new Promise(setImmediate);
	client.write('GET / HTTP/1.1\r\nhost: desk\r\n\r\n');
	const heldUp = performance.now();
	while (performance.now() - heldUp < 2_300);

	(await arrived()).end();
	await drained;
	await vi.waitUntil(() => /connection: close/i.test(received));
});
