/**
 * The channel to the supervisor: Node's own IPC, one JSON message a line. The wire is declared once,
 * by `fixtures/channel`; the types here are checked against it.
 */
import type { Gauge } from './db/fixed-pool.ts';
import type { PoolName } from './identity.ts';

/** Worker → supervisor. */
export type WorkerMessage =
	| { readonly type: 'booted' }
	| {
			readonly type: 'started';
			readonly pid: number;
			readonly executor_id: string;
			/** The pools' maxima: a worker that reports others than the plan's is refused. */
			readonly pools: Readonly<Record<PoolName, number>>;
	  }
	| { readonly type: 'ready' }
	| { readonly type: 'gauges'; readonly pools: Readonly<Record<PoolName, Gauge>> }
	| { readonly type: 'draining' };

/** Supervisor → worker. */
export interface LaunchMessage {
	readonly type: 'launch';
}

/** What PM2 understands, with `wait_ready`. */
export const PM2_READY = 'ready';

export function isLaunch(message: unknown): message is LaunchMessage {
	return typeof message === 'object' && message !== null && 'type' in message && message.type === 'launch';
}

/** The half of `process` that a channel is made of. */
export interface Ipc {
	readonly connected?: boolean | undefined;
	send?(message: unknown, callback?: (error: Error | null) => void): boolean;
	on(event: 'message', listener: (message: unknown) => void): unknown;
	on(event: 'disconnect', listener: () => void): unknown;
	off(event: 'message', listener: (message: unknown) => void): unknown;
}

/** Who is on the other end decides what is said. */
export type ChannelKind = 'poolwright' | 'pm2' | 'none';

export class Channel {
	#ready = false;

	constructor(
		readonly kind: ChannelKind,
		private readonly ipc: Ipc
	) {}

	/** `POOLWRIGHT_CHANNEL=1` names the supervisor; any other parent with a channel is taken for PM2. */
	static of(source: Readonly<Record<string, string | undefined>>, ipc: Ipc): Channel {
		if (typeof ipc.send !== 'function') return new Channel('none', ipc);
		return new Channel(source['POOLWRIGHT_CHANNEL'] === '1' ? 'poolwright' : 'pm2', ipc);
	}

	/** Says it to Poolwright; nobody else listens to these. A parent that has gone is not an error here. */
	send(message: WorkerMessage): void {
		if (this.kind === 'poolwright') this.#write(message);
	}

	/** Ready, in the words of whoever started us, and once: PM2 takes the word before the deed in a reload. */
	sendReady(): void {
		if (this.#ready) return;
		this.#ready = true;
		if (this.kind === 'pm2') this.#write(PM2_READY);
		else this.send({ type: 'ready' });
	}

	/**
	 * Resolves when the supervisor says `launch`, at once where nobody would. Not cancellable: a
	 * supervisor that goes away instead closes the channel, which ends the process.
	 */
	launched(): Promise<void> {
		if (this.kind !== 'poolwright') return Promise.resolve();
		return new Promise((resolve) => {
			const listener = (message: unknown) => {
				if (!isLaunch(message)) return;
				this.ipc.off('message', listener);
				resolve();
			};
			this.ipc.on('message', listener);
		});
	}

	#write(message: WorkerMessage | typeof PM2_READY): void {
		if (this.ipc.connected) this.ipc.send?.(message, () => {});
	}
}
