/** Vite's development server, on real databases: hot reload evaluates modules again, and must open nothing again. */
import { DBOS } from '@dbos-inc/dbos-sdk';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, utimesSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, freshDatabases, type Databases } from './databases.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TENANT = 'aaaaaaaa-0000-4000-8000-000000000000';

let databases: Databases;
let vite: ChildProcess;
let origin: string;
const output: string[] = [];

beforeAll(async () => {
	databases = await freshDatabases();
	await DBOS.migrate(databases.dbosUrl);
	vite = spawn(process.execPath, ['node_modules/vite/bin/vite.js', 'dev', '--host', '127.0.0.1', '--port', '0'], {
		cwd: ROOT,
		stdio: ['ignore', 'pipe', 'inherit'],
		env: {
			PATH: process.env['PATH'],
			NO_COLOR: '1',
			DATABASE_URL: databases.databaseUrl,
			DBOS_SYSTEM_DATABASE_URL: databases.dbosUrl,
			FULFIL_SLEEP_MS: '50'
		}
	});
	origin = await new Promise((resolve, reject) => {
		createInterface({ input: vite.stdout! }).on('line', (line) => {
			output.push(line);
			const found = /(http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1];
			if (found) resolve(found);
		});
		vite.once('exit', (code) => reject(new Error(`vite ended with ${code}: ${output.join('\n')}`)));
	});
});
afterAll(async () => {
	const gone = once(vite, 'exit');
	vite.kill();
	await gone;
	await databases.drop();
});

/** An edit that changes nothing: enough for Vite to throw the module away. */
async function touch(file: string): Promise<void> {
	expect(readFileSync(`${ROOT}${file}`).length).toBeGreaterThan(0);
	const noticed = output.length;
	utimesSync(`${ROOT}${file}`, new Date(), new Date());
	await eventually(async () => expect(output.slice(noticed).join('\n')).toMatch(/reload|hmr update/));
}

async function placeOrder(): Promise<void> {
	const placed = await fetch(`${origin}/api/orders`, {
		method: 'POST',
		headers: { 'x-tenant-id': TENANT },
		body: JSON.stringify({ item: 'beans', quantity: 1 })
	});
	expect(placed.status).toBe(202);
	const { order_id } = (await placed.json()) as { order_id: string };
	await eventually(async () => {
		const found = await fetch(`${origin}/api/orders/${order_id}`, { headers: { 'x-tenant-id': TENANT } });
		expect(await found.json()).toMatchObject({ workflow: { status: 'SUCCESS', progress: 'shipped' } });
	});
}

test('editing server modules grows no pool and launches no second executor', async () => {
	await placeOrder();
	expect(await databases.census()).toEqual({ 'web-0:prisma': 3, 'web-0:dbos': 3 });
	for (const file of [
		'src/server/db/prisma.ts',
		'src/server/dbos/init.ts',
		'src/server/dbos/workflows.ts',
		'src/server/worker.ts',
		'src/hooks.server.ts'
	]) {
		await touch(file);
		await placeOrder();
		expect(await databases.census(), file).toEqual({ 'web-0:prisma': 3, 'web-0:dbos': 3 });
	}
	expect(output.filter((line) => line.includes('"worker started"'))).toHaveLength(1);
});
