/**
 * Row-level security: every query of a tenant runs in here, and nowhere else.
 *
 * A transaction carries the tenant, and nothing but the transaction does: with `set_config(…, true)` the setting ends
 * with it, while a plain `SET` would travel with the connection to its next borrower. Without a tenant the policies show no
 * rows and accept none.
 */
import { prisma, type Client } from './prisma.ts';
import { beginningAs } from './tenant-transactions.ts';

/** The client inside a transaction. */
export type TenantTransaction = Parameters<Parameters<Client['$transaction']>[0]>[0];

/** Runs `work` in one transaction of the tenant. */
export function withTenant<T>(
	tenantId: string | null,
	work: (transaction: TenantTransaction) => Promise<T>
): Promise<T> {
	return beginningAs({ tenantId, reads: false }, () => prisma().$transaction(work));
}

/** The same for what only reads: Postgres holds it to that, and its end costs the caller nothing. */
export function readAsTenant<T>(
	tenantId: string | null,
	work: (transaction: TenantTransaction) => Promise<T>
): Promise<T> {
	return beginningAs({ tenantId, reads: true }, () => prisma().$transaction(work));
}
