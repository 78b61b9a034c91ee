/**
 * Row-level security: every query of a tenant runs in here, and nowhere else.
 */
import { prisma, type Client } from './prisma.ts';

/** The client inside a transaction. */
export type TenantTransaction = Parameters<Parameters<Client['$transaction']>[0]>[0];

/**
 * Runs `work` in one transaction that carries the tenant, and nothing but the transaction does: with
 * `set_config(…, true)` the setting ends with it, while a plain `SET` would travel with the connection
 * to its next borrower. Without a tenant the policies show no rows and accept none.
 */
export function withTenant<T>(
	tenantId: string | null,
	work: (transaction: TenantTransaction) => Promise<T>
): Promise<T> {
	return prisma().$transaction(async (transaction) => {
		if (tenantId !== null) {
			await transaction.$queryRaw`SELECT set_config('app.tenant_id', ${tenantId}, true)`;
		}
		return work(transaction);
	});
}
