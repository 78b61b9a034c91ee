import { EventEmitter } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Channel, isLaunch, PM2_READY, type Ipc, type LaunchMessage, type WorkerMessage } from '#server/channel.ts';

const FIXTURES = new URL('../../../fixtures/channel/', import.meta.url);
const fixture = (name: string): unknown => JSON.parse(readFileSync(new URL(`${name}.json`, FIXTURES), 'utf8'));

/** One of every message, as this side writes it: the compiler checks them, the fixtures the wire. */
const FROM_WORKER = {
	booted: { type: 'booted' },
	started: { type: 'started', pid: 4711, executor_id: 'web-0', pools: { prisma: 3, dbos: 3 } },
	ready: { type: 'ready' },
	gauges: {
		type: 'gauges',
		pools: {
			prisma: { max: 3, open: 3, busy: 0, idle: 3, waiting: 0 },
			dbos: { max: 3, open: 3, busy: 1, idle: 2, waiting: 0 }
		}
	},
	draining: { type: 'draining' }
} as const satisfies { [T in WorkerMessage['type']]: Extract<WorkerMessage, { type: T }> };
const LAUNCH: LaunchMessage = { type: 'launch' };

class FakeIpc extends EventEmitter implements Ipc {
	connected = true;
	readonly sent: unknown[] = [];
	send(message: unknown): boolean {
		this.sent.push(message);
		return true;
	}
}

describe('the messages', () => {
	test.each(Object.entries(FROM_WORKER))('%s is written as in the fixtures', (name, message) => {
		expect(JSON.parse(JSON.stringify(message))).toEqual(fixture(name));
	});

	test('launch and PM2’s ready are read and written as in the fixtures', () => {
		expect(fixture('launch')).toEqual(LAUNCH);
		expect(isLaunch(fixture('launch'))).toBe(true);
		expect(fixture('pm2-ready')).toBe(PM2_READY);
	});

	test('every fixture is known here', () => {
		const files = readdirSync(FIXTURES).filter((file) => file.endsWith('.json'));
		const known = [...Object.keys(FROM_WORKER), 'launch', 'pm2-ready'].map((name) => `${name}.json`);
		expect(files.sort()).toEqual(known.sort());
	});
});

describe('the channel', () => {
	test('waits for launch under Poolwright, and takes nothing else for it', async () => {
		const ipc = new FakeIpc();
		const channel = Channel.of({ POOLWRIGHT_CHANNEL: '1' }, ipc);
		let launched = false;
		const waiting = channel.launched().then(() => (launched = true));
		ipc.emit('message', { type: 'ready' });
		ipc.emit('message', 'launch');
		await Promise.resolve();
		expect(launched).toBe(false);
		ipc.emit('message', LAUNCH);
		await waiting;
		expect(ipc.listenerCount('message')).toBe(0);
	});

	test('says PM2 nothing but that it is ready, and waits for no launch', async () => {
		const ipc = new FakeIpc();
		const channel = Channel.of({}, ipc);
		await channel.launched();
		channel.send(FROM_WORKER.booted);
		channel.sendReady();
		expect(ipc.sent).toEqual(['ready']);
	});

	test('is silent without a parent, and once the parent has gone', () => {
		const gone = new FakeIpc();
		gone.connected = false;
		Channel.of({ POOLWRIGHT_CHANNEL: '1' }, gone).sendReady();
		expect(gone.sent).toEqual([]);
		expect(Channel.of({ POOLWRIGHT_CHANNEL: '1' }, { on: () => {}, off: () => {} }).kind).toBe('none');
	});
});
