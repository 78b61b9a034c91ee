/**
 * An executor id belongs to one living process of the host, however its processes were started.
 *
 * The lock is a listening Unix socket with an abstract name: the kernel lets one process bind it and frees it
 * when that process ends, `kill -9` included. Whoever finds it taken connects, is told by whom, and sees
 * the connection end when the holder does. `crates/lock` says why not a locked file, and does the same for
 * the Rust stack and for Poolwright; `fixtures/lock` has what both sides have to agree on.
 *
 * Linux only: macOS has no abstract names, and Node no `flock`, which would take their place. There every process gets the
 * lock it asks for, and `poolwright verify` is left to show two behind one id.
 */
import { createConnection, createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** Who holds a lock: the line it answers with. */
export interface Holder {
	readonly pid: number;
	/** RFC 3339, in UTC. */
	readonly since?: string;
	readonly under?: 'poolwright' | 'pm2' | 'nobody';
	/** Under PM2, the daemon's pid and `pm_id`: the two processes of a reload have the same one. */
	readonly pm2_process?: string;
}

/** A lock that this process holds, until it gives it back or ends. Children do not get it. */
export interface Lock {
	giveBack(): void;
}

/** How long a holder may take to say who it is: a program that inherited its lock says nothing. */
const INTRODUCTION_MS = 500;
/** Where a connection ended and the name is taken yet: the next holder is about to listen. */
const PAUSE_MS = 20;

/** The name of an executor id's lock; `store` is where the executor's work lives. */
export function lockName(executorId: string, store: string, namespace = ''): string {
	return `poolwright/executor/${executorId}/${fnv1a(`${namespace}\n${executorId}\n${store}`)}`;
}

/** `host:port/database` of a valid URL, with one spelling for the loopback. */
export function storeOf(databaseUrl: string): string {
	const url = new URL(databaseUrl);
	const host = url.searchParams.get('host') ?? url.hostname;
	const local = ['localhost', '[::1]', '::1'].includes(host) ? '127.0.0.1' : host;
	return `${local}:${url.port || '5432'}/${decodeURIComponent(url.pathname.replace(/^\/+/, ''))}`;
}

/** Takes a lock unless somebody has it, and answers `holder` to whoever asks. */
export async function tryTake(name: string, holder: Holder): Promise<Lock | undefined> {
	if (process.platform !== 'linux') return { giveBack: () => {} };
	// Kept open: their end is how the others learn of this one's.
	const waiting = new Set<Socket>();
	const server = createServer((asking) => {
		waiting.add(asking);
		asking.on('error', () => {});
		asking.once('close', () => waiting.delete(asking));
		asking.unref();
		asking.resume();
		asking.write(`${JSON.stringify(holder)}\n`);
	});
	const giveBack = () => {
		server.close();
		for (const asking of waiting) asking.destroy();
	};
	return new Promise((resolve, reject) => {
		server.once('error', (error: NodeJS.ErrnoException) => {
			if (error.code === 'EADDRINUSE') resolve(undefined);
			else reject(new Error(`the lock ${name} cannot be taken: ${error.message}`));
		});
		// `exclusive`: in a worker of Node's cluster the primary would bind it, and outlive the worker.
		server.listen({ path: `\0${name}`, exclusive: true }, () => {
			server.unref();
			resolve({ giveBack });
		});
	});
}

/** A connection to a holder. */
export interface Watched {
	/** Undefined where the holder does not say. */
	readonly holder: Holder | undefined;
	/** Resolves when the holder has ended, or is no longer asked after. */
	readonly ended: Promise<void>;
	release(): void;
}

/** Asks a lock's holder who it is; undefined when it has ended meanwhile. */
export async function ask(name: string): Promise<Watched | undefined> {
	const socket = createConnection({ path: `\0${name}` });
	let ended = false;
	const closed = new Promise<void>((resolve) => {
		socket.on('error', () => {});
		socket.once('close', () => {
			ended = true;
			resolve();
		});
	});
	const line = await new Promise<string>((resolve) => {
		let said = '';
		const patience = setTimeout(() => resolve(said), INTRODUCTION_MS);
		const done = () => {
			clearTimeout(patience);
			resolve(said);
		};
		socket.setEncoding('utf8').on('data', (data) => {
			said += data;
			if (said.includes('\n')) done();
		});
		void closed.then(done);
	});
	if (ended && line === '') {
		await pause(PAUSE_MS);
		return undefined;
	}
	return { holder: parsed(line), ended: closed, release: () => void socket.destroy() };
}

/** `process 4711 (under PM2, since …)` */
export function described(holder: Holder | undefined): string {
	if (holder === undefined) return 'another process';
	const under = { poolwright: ['under Poolwright'], pm2: ['under PM2'], nobody: [] }[holder.under ?? 'nobody'];
	const said = [...under, ...(holder.since ? [`since ${holder.since}`] : [])];
	return `process ${holder.pid}${said.length > 0 ? ` (${said.join(', ')})` : ''}`;
}

function parsed(line: string): Holder | undefined {
	try {
		const found: unknown = JSON.parse(line);
		const valid = typeof found === 'object' && found !== null && 'pid' in found && typeof found.pid === 'number';
		return valid ? (found as Holder) : undefined;
	} catch {
		return undefined;
	}
}

/** FNV-1a, 64 bits, in hexadecimal. */
function fnv1a(text: string): string {
	let hash = 0xcbf29ce484222325n;
	for (const byte of Buffer.from(text)) {
		hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
	}
	return hash.toString(16).padStart(16, '0');
}
