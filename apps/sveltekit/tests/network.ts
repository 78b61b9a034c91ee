/** A network between a pool and its server: it counts how often a client waits for it, and can swallow what there is. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Network {
	/** The same URL, through this network. */
	through(url: string): string;
	/** How often a client has sent something after the server had, or for the first time. */
	roundTrips(): number;
	/** From here on nothing arrives over the connections that there are, and never will; new ones are carried. */
	forget(): void;
	close(): Promise<void>;
}

export async function networkTo(url: string): Promise<Network> {
	const target = new URL(url);
	const sockets = new Set<Socket>();
	let roundTrips = 0;
	let forgotten = 0;
	let connections = 0;
	const server = createServer({ allowHalfOpen: true }, (client) => {
		const number = connections++;
		const backend = connect({ host: target.hostname, port: Number(target.port), allowHalfOpen: true });
		const carries = () => number >= forgotten;
		let clientsTurn = true;
		for (const [from, to] of [[client, backend], [backend, client]] as const) {
			sockets.add(from);
			from.on('error', () => {});
			from.on('close', () => sockets.delete(from));
			from.on('end', () => carries() && to.end());
			from.on('data', (data) => {
				if (!carries()) return;
				if (from === client && clientsTurn) roundTrips += 1;
				clientsTurn = from === backend;
				to.write(data);
			});
		}
	}).listen(0, '127.0.0.1');
	await new Promise((resolve) => server.once('listening', resolve));
	const { port } = server.address() as AddressInfo;
	return {
		through: (url) => Object.assign(new URL(url), { hostname: '127.0.0.1', port: String(port) }).href,
		roundTrips: () => roundTrips,
		forget: () => void (forgotten = connections),
		close: () => {
			for (const socket of sockets) socket.destroy();
			return new Promise((resolve) => server.close(() => resolve()));
		}
	};
}
