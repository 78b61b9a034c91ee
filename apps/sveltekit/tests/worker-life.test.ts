/** Real worker processes: the built application behind `server.js`, a channel, signals, exit codes. */
import { DBOS } from '@dbos-inc/dbos-sdk';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { WorkerMessage } from '#server/channel.ts';
import { eventually, freshDatabases, type Databases } from './databases.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TENANT = 'aaaaaaaa-0000-4000-8000-000000000000';
const FULL = { 'web-2:prisma': 3, 'web-2:dbos': 2 };

let databases: Databases;
beforeAll(async () => {
	databases = await freshDatabases();
	await DBOS.migrate(databases.dbosUrl);
});
afterAll(() => databases.drop());

/** A worker, everything it said, and its end. */
class Spawned {
	readonly messages: unknown[] = [];
	stdout = '';
	stderr = '';
	readonly exit: Promise<number | null>;

	constructor(readonly process: ChildProcess) {
		process.on('message', (message) => this.messages.push(message));
		process.stdout?.on('data', (data) => (this.stdout += data));
		process.stderr?.on('data', (data) => (this.stderr += data));
		// Not 'close': it never comes for a process whose channel was closed from this side.
		const silent = [process.stdout, process.stderr].map((stream) => stream && once(stream, 'end'));
		this.exit = once(process, 'exit').then(async ([code]) => {
			await Promise.all(silent);
			return code as number | null;
		});
	}

	async said(type: WorkerMessage['type']): Promise<void> {
		await eventually(async () => expect(this.types()).toContain(type));
	}

	types(): unknown[] {
		return this.messages.map((message) => (message as { type?: unknown }).type ?? message);
	}

	lines(): Record<string, unknown>[] {
		return this.stdout
			.split('\n')
			.filter((line) => line.startsWith('{'))
			.map((line) => JSON.parse(line) as Record<string, unknown>);
	}
}

function worker(environment: Record<string, string>, channel: 'ipc' | 'ignore' = 'ipc'): Spawned {
	return new Spawned(
		spawn(process.execPath, ['server.js'], {
			cwd: ROOT,
			stdio: ['ignore', 'pipe', 'pipe', channel],
			env: {
				PATH: process.env['PATH'],
				HOST: '127.0.0.1',
				DATABASE_URL: databases.databaseUrl,
				DBOS_SYSTEM_DATABASE_URL: databases.dbosUrl,
				DBOS_POOL_MAX: '2',
				PM2_INSTANCE_ID: '2',
				FULFIL_SLEEP_MS: '50',
				...environment
			}
		})
	);
}

describe('under Poolwright', () => {
	test('a worker opens nothing before launch, then exactly its pools, and drains what is in flight', async () => {
		const spawned = worker({ POOLWRIGHT_CHANNEL: '1', PORT: '0', FULFIL_STEP_MS: '200' });
		await spawned.said('booted');
		expect(await databases.census()).toEqual({});

		spawned.process.send({ type: 'launch' });
		await spawned.said('gauges');
		expect(spawned.messages.slice(0, 3)).toEqual([
			{ type: 'booted' },
			{ type: 'started', pid: spawned.process.pid, executor_id: 'web-2', pools: { prisma: 3, dbos: 2 } },
			{ type: 'ready' }
		]);
		expect(await databases.census()).toEqual(FULL);
		expect(spawned.lines().filter(({ msg }) => msg === 'worker started')).toEqual([
			expect.objectContaining({
				level: 'info',
				instance_id: '2',
				pid: spawned.process.pid,
				executor_id: 'web-2',
				prisma_pool_max: 3,
				dbos_pool_max: 2
			})
		]);

		const port = spawned.lines().find(({ msg }) => msg === 'worker listening')?.['port'];
		const placed = await fetch(`http://127.0.0.1:${port}/api/orders`, {
			method: 'POST',
			headers: { 'x-tenant-id': TENANT },
			body: JSON.stringify({ item: 'beans', quantity: 1 })
		});
		expect([placed.status, placed.headers.get('x-worker')]).toEqual([202, 'web-2']);
		const { order_id } = (await placed.json()) as { order_id: string };

		spawned.process.kill('SIGTERM');
		expect(await spawned.exit, spawned.stderr).toBe(0);
		expect(spawned.types().at(-1)).toBe('draining');
		const { rows } = await databases.admin.query('SELECT status FROM orders WHERE id = $1', [order_id]);
		expect(rows).toEqual([{ status: 'shipped' }]);
		await eventually(async () => expect(await databases.census()).toEqual({}));
	});

	test('a worker whose supervisor has gone drains and ends', async () => {
		const spawned = worker({ POOLWRIGHT_CHANNEL: '1', PORT: '0' });
		await spawned.said('booted');
		spawned.process.send({ type: 'launch' });
		await spawned.said('ready');
		spawned.process.disconnect();
		expect(await spawned.exit).toBe(0);
	});

	test('a worker that is ended before launch has opened nothing', async () => {
		const spawned = worker({ POOLWRIGHT_CHANNEL: '1', PORT: '0' });
		await spawned.said('booted');
		spawned.process.kill('SIGTERM');
		expect(await spawned.exit).toBe(0);
		expect(await databases.census()).toEqual({});
	});
});

test('PM2 is told ready, and nothing else', async () => {
	const spawned = worker({ PORT: '0', PRINT_PRISMA_POOL_METRICS: 'true' });
	await eventually(async () => expect(spawned.messages).toEqual(['ready']));
	await eventually(async () =>
		expect(spawned.lines()).toContainEqual(
			expect.objectContaining({
				msg: 'prisma pool metrics',
				prisma_pool_connections_open: 3,
				prisma_pool_connections_busy: 0,
				prisma_pool_connections_idle: 3
			})
		)
	);
	spawned.process.send('shutdown');
	expect(await spawned.exit).toBe(0);
	expect(spawned.messages).toEqual(['ready']);
});

test('an environment that is wrong ends the process with 2, all mistakes said, nothing opened', async () => {
	const spawned = worker({ PM2_INSTANCES: 'three', DATABASE_URL: 'mysql://app:hunter2@db/x' }, 'ignore');
	expect(await spawned.exit).toBe(2);
	expect(spawned.stderr).toBe(
		[
			'invalid environment, 2 mistakes:',
			'  PM2_INSTANCES: found "three", expected a whole number from 1 to 512',
			'  DATABASE_URL: found "mysql://app:***@db/x", expected a postgres:// URL',
			''
		].join('\n')
	);
	expect(spawned.stdout).toBe('');
});

test('a worker that cannot launch says why and ends with 1', async () => {
	const spawned = worker({ DBOS_SYSTEM_DATABASE_URL: 'postgres://dbos:hunter2@127.0.0.1:1/dbos' }, 'ignore');
	expect(await spawned.exit).toBe(1);
	expect(spawned.stderr).toBe('worker cannot launch: connect ECONNREFUSED 127.0.0.1:1\n');
});
