/** What a tenant's transaction costs in round trips, and that it leaves nothing behind. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { closePrisma, openPrisma, prisma, prismaPool } from '#server/db/prisma.ts';
import { readAsTenant, withTenant } from '#server/db/tenant.ts';
import { environment } from '#server/env.ts';
import { eventually, freshDatabases, useEnvironment, type Databases } from './databases.ts';
import { networkTo, type Network } from './network.ts';

const TENANT = 'aaaaaaaa-0000-4000-8000-000000000000';
const USES = 50;

let databases: Databases;
let network: Network;
beforeAll(async () => {
	databases = await freshDatabases();
	network = await networkTo(databases.databaseUrl);
	const far = { ...databases, databaseUrl: network.through(databases.databaseUrl) };
	// One connection: whatever is left on it, the next borrower finds.
	useEnvironment(far, { PRISMA_POOL_MAX: '1' });
	await openPrisma(environment());
});
afterAll(async () => {
	await closePrisma();
	await network.close();
	await databases.drop();
});

const atRest = () => eventually(async () => expect(prismaPool().gauge().busy).toBe(0));

/** How many round trips the connection is held for by one use, once that is a habit. */
async function roundTrips(use: () => Promise<unknown>): Promise<number> {
	await use();
	await atRest();
	const before = network.roundTrips();
	for (let i = 0; i < USES; i++) {
		await use();
		await atRest();
	}
	return (network.roundTrips() - before) / USES;
}

const place = (workflowId: string) =>
	withTenant(TENANT, (transaction) =>
		transaction.order.create({ data: { tenantId: TENANT, item: 'beans', quantity: 1, workflowId } })
	);

const setting = async () => {
	const rows = await prisma().$queryRaw<{ tenant: string | null }[]>`SELECT current_setting('app.tenant_id', true) AS tenant`;
	return rows[0]?.tenant ?? '';
};

test('a read holds its connection for two round trips, and a write of one row for as many', async () => {
	expect(await roundTrips(() => readAsTenant(TENANT, (transaction) => transaction.order.findMany({ take: 5 })))).toBe(2);
	let placed = 0;
	expect(await roundTrips(() => place(`w-${placed++}`))).toBe(2);
	await expect(readAsTenant(TENANT, (transaction) => transaction.order.count())).resolves.toBe(placed);
});

test('what only reads cannot write', async () => {
	const before = await readAsTenant(TENANT, (transaction) => transaction.order.count());
	const write = readAsTenant(TENANT, (transaction) =>
		transaction.order.create({ data: { tenantId: TENANT, item: 'beans', quantity: 1, workflowId: 'w-read' } })
	);
	await expect(write).rejects.toThrow(/read-only/);
	await expect(readAsTenant(TENANT, (transaction) => transaction.order.count())).resolves.toBe(before);
});

test('a tenant is a literal, whatever is in it, and stays on no connection', async () => {
	for (const tenant of [TENANT, `'; SET app.tenant_id = '${TENANT}'; --`, "\\'; DROP TABLE orders; --", 'a\nb"$1']) {
		await readAsTenant(tenant, async (transaction) => {
			const rows = await transaction.$queryRaw<{ tenant: string }[]>`SELECT current_setting('app.tenant_id') AS tenant`;
			expect(rows).toEqual([{ tenant }]);
		});
		await expect(setting()).resolves.toBe('');
	}
	await expect(readAsTenant("x'; COMMIT; --", (transaction) => transaction.order.findMany())).rejects.toThrow(/uuid/);
	await expect(readAsTenant(null, (transaction) => transaction.order.findMany())).resolves.toEqual([]);
});

test('a transaction that is broken off leaves no tenant behind', async () => {
	for (const begun of [withTenant, readAsTenant]) {
		await expect(begun(TENANT, () => Promise.reject(new Error('halfway')))).rejects.toThrow('halfway');
		await expect(setting()).resolves.toBe('');
		await expect(begun(TENANT, (transaction) => transaction.$queryRaw`SELECT 1/0`)).rejects.toThrow(/zero/);
		await expect(setting()).resolves.toBe('');
	}
});
