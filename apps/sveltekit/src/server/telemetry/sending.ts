/**
 * How traces and metrics leave the process: serialised here, and sent to the collector by a thread of its own (`otlp-sender.js`, which says why). It is
 * started when there is something to send for the first time.
 */
import { ExportResultCode, type ExportResult } from '@opentelemetry/core';
import type { ISerializer } from '@opentelemetry/otlp-transformer';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';

export type Signal = 'traces' | 'metrics';

/** What the thread is told. */
export interface ToSend {
	readonly id: number;
	readonly signal: Signal;
	readonly bytes: Uint8Array;
}

/** What it answers: the collector has it, or why it has not. */
export interface Sent {
	readonly id: number;
	readonly error: string | undefined;
}

type Done = (result: ExportResult) => void;

/** All of a process. What is under way is bounded by the thread, which refuses what is too much. */
class Sending {
	#thread: Worker | undefined;
	#next = 0;
	readonly #underWay = new Map<number, Done>();

	send(signal: Signal, bytes: Uint8Array, done: Done): void {
		const id = this.#next++;
		this.#underWay.set(id, done);
		const toSend: ToSend = { id, signal, bytes };
		this.#started().postMessage(toSend);
	}

	#started(): Worker {
		if (this.#thread) return this.#thread;
		const thread = new Worker(createRequire(import.meta.url).resolve('#otlp-sender'));
		thread.on('message', ({ id, error }: Sent) => this.#sent(id, error === undefined ? undefined : new Error(error)));
		thread.on('error', (error) => this.#ended(thread, error instanceof Error ? error : new Error(String(error))));
		thread.on('exit', () => this.#ended(thread, new Error('the thread that sends has ended')));
		// Whoever drains waits for what is under way, and nobody else does.
		thread.unref();
		return (this.#thread = thread);
	}

	#sent(id: number, error: Error | undefined): void {
		const done = this.#underWay.get(id);
		this.#underWay.delete(id);
		done?.(error ? { code: ExportResultCode.FAILED, error } : { code: ExportResultCode.SUCCESS });
	}

	/** What was under way is lost; what comes next starts another thread. */
	#ended(thread: Worker, why: Error): void {
		if (this.#thread !== thread) return;
		this.#thread = undefined;
		for (const id of [...this.#underWay.keys()]) this.#sent(id, why);
	}
}

const sending = new Sending();

/** Sends one signal. For the SDK's exporters. */
export class Sender<Internal> {
	readonly #underWay = new Set<Promise<void>>();

	constructor(
		private readonly signal: Signal,
		private readonly serializer: ISerializer<Internal, unknown>,
		private readonly told: Done
	) {}

	export(items: Internal, done: Done): void {
		const bytes = this.serializer.serializeRequest(items);
		const ended = (result: ExportResult): void => {
			this.told(result);
			done(result);
		};
		if (bytes === undefined) return ended({ code: ExportResultCode.FAILED, error: new Error('nothing to send') });
		const sent = new Promise<void>((resolve) =>
			sending.send(this.signal, bytes, (result) => {
				resolve();
				ended(result);
			})
		);
		this.#underWay.add(sent);
		void sent.then(() => this.#underWay.delete(sent));
	}

	/** Until all that was exported so far was sent, or is lost. */
	async forceFlush(): Promise<void> {
		await Promise.all(this.#underWay);
	}

	shutdown(): Promise<void> {
		return this.forceFlush();
	}

	/** The exporter's own metrics, which nobody has asked for. */
	setMetrics(): void {}
}
