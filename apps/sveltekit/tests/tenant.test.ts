import { afterAll, beforeAll, expect, test } from 'vitest';
import { closePrisma, openPrisma, prisma } from '#server/db/prisma.ts';
import { withTenant } from '#server/db/tenant.ts';
import { environment } from '#server/env.ts';
import { freshDatabases, useEnvironment, type Databases } from './databases.ts';

const [A, B] = ['aaaaaaaa-0000-4000-8000-000000000000', 'bbbbbbbb-0000-4000-8000-000000000000'];

let databases: Databases;
beforeAll(async () => {
	databases = await freshDatabases();
	useEnvironment(databases, { PRISMA_POOL_MAX: '2' });
	await openPrisma(environment());
	for (const tenantId of [A, B]) {
		await withTenant(tenantId, (transaction) =>
			transaction.order.create({ data: { tenantId, item: 'beans', quantity: 1, workflowId: `w-${tenantId}` } })
		);
	}
});
afterAll(async () => {
	await closePrisma();
	await databases.drop();
});

const seenBy = (tenant: string | null) =>
	withTenant(tenant, async (transaction) => (await transaction.order.findMany()).map(({ tenantId }) => tenantId));

test('tenants at work on the same connections never see each other’s rows', async () => {
	const tenants = Array.from({ length: 60 }, (_, i) => (i % 3 === 0 ? A : i % 3 === 1 ? B : null));
	const seen = await Promise.all(tenants.map(seenBy));
	expect(seen).toEqual(tenants.map((tenant) => (tenant === null ? [] : [tenant])));
});

test('without a tenant there is nothing to see, also right after a tenant used the connection', async () => {
	await seenBy(A);
	await expect(prisma().order.findMany()).resolves.toEqual([]);
	await expect(seenBy(null)).resolves.toEqual([]);
});

test('a transaction that fails leaves no tenant behind', async () => {
	const failing = Array.from({ length: 4 }, () =>
		withTenant(A, () => Promise.reject(new Error('halfway'))).catch((error: Error) => error.message)
	);
	expect(await Promise.all(failing)).toEqual(['halfway', 'halfway', 'halfway', 'halfway']);
	await expect(seenBy(null)).resolves.toEqual([]);
});

test('a row for another tenant is refused', async () => {
	await expect(
		withTenant(A, (transaction) =>
			transaction.order.create({ data: { tenantId: B, item: 'beans', quantity: 1, workflowId: 'w-x' } })
		)
	).rejects.toThrow(/row-level security/);
});

test('$metrics agrees with Postgres on the open connections', async () => {
	const { gauges } = await prisma().$metrics.json();
	const open = gauges.find(({ key }) => key === 'prisma_pool_connections_open')?.value;
	expect(open).toBe(2);
	expect(await databases.census()).toEqual({ 'web-0:prisma': open });
	expect(await prisma().$metrics.prometheus()).toContain('prisma_pool_connections_open 2');
});
