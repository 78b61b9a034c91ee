import { DBOS } from '@dbos-inc/dbos-sdk';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { closePrisma, openPrisma } from '#server/db/prisma.ts';
import { ensureDbosLaunched, shutDownDbos } from '#server/dbos/init.ts';
import { environment } from '#server/env.ts';
import { findOrder, placeOrder } from '#server/orders.ts';
import { eventually, freshDatabases, useEnvironment, type Databases } from './databases.ts';

const TENANT = 'aaaaaaaa-0000-4000-8000-000000000000';

let databases: Databases;
beforeAll(async () => {
	databases = await freshDatabases();
	await DBOS.migrate(databases.dbosUrl);
	// The smallest pool that is accepted: one connection is LISTEN's, everything else shares the other.
	useEnvironment(databases, { DBOS_POOL_MAX: '2', PM2_INSTANCE_ID: '4', FULFIL_SLEEP_MS: '50' });
	await openPrisma(environment());
});
afterAll(async () => {
	await shutDownDbos(5_000);
	await closePrisma();
	await databases.drop();
});

test('fifty calls at once, through two copies of the module, launch one executor', async () => {
	const launches = vi.spyOn(DBOS, 'launch');
	const copy = '#server/dbos/init.ts?second-bundle';
	const second = (await import(/* @vite-ignore */ copy)) as typeof import('#server/dbos/init.ts');
	expect(second.ensureDbosLaunched).not.toBe(ensureDbosLaunched);

	const executors = await Promise.all(
		Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? ensureDbosLaunched() : second.ensureDbosLaunched()))
	);
	expect(launches).toHaveBeenCalledTimes(1);
	expect(new Set(executors).size).toBe(1);
	expect(executors[0]?.executorId).toBe('web-4');
	expect(DBOS.executorID).toBe('web-4');
	expect(await databases.census()).toEqual({ 'web-4:prisma': 3, 'web-4:dbos': 2 });
});

test('with a DBOS pool of 2, many readers starve no workflow', async () => {
	const placed = await Promise.all(
		Array.from({ length: 10 }, () => placeOrder(TENANT, { item: 'beans', quantity: 1 }))
	);
	await eventually(async () => {
		// Each round reads every order five times, all at once.
		const rounds = placed.flatMap(({ orderId }) => Array.from({ length: 5 }, () => findOrder(TENANT, orderId)));
		for (const found of await Promise.all(rounds)) {
			expect(found?.workflow).toMatchObject({ status: 'SUCCESS', progress: 'shipped' });
			expect(found?.order.status).toBe('shipped');
			expect(found?.steps.map(({ step, executor_id }) => [step, executor_id])).toEqual([
				['reserve', 'web-4'],
				['charge', 'web-4'],
				['ship', 'web-4']
			]);
		}
	});
	expect(await databases.census()).toEqual({ 'web-4:prisma': 3, 'web-4:dbos': 2 });
});
