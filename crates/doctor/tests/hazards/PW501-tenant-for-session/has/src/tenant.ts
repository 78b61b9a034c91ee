import { prisma } from './prisma';

/** SET app.tenant_id = '…' in a comment is none. */
export async function asTenant(tenant: string): Promise<void> {
	await prisma.$executeRaw`SET app.tenant_id = ${tenant}`; // ← here
	await prisma.$queryRawUnsafe("SELECT set_config('app.tenant_id', $1, false)", tenant); // ← here
	await prisma.$executeRawUnsafe(`SET ROLE tenant_${tenant}`); // ← here
}
