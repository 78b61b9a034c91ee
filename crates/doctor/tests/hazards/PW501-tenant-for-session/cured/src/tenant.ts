import { prisma } from './prisma';

export async function asTenant(tenant: string): Promise<void> {
	await prisma.$transaction(async (transaction: typeof prisma) => {
		await transaction.$queryRaw`SELECT set_config('app.tenant_id', ${tenant}, true)`;
		await transaction.$executeRawUnsafe("SET LOCAL app.shop = '1'");
		await transaction.$executeRawUnsafe('SET statement_timeout = 1000');
	});
}

export const heading = 'Set role permissions';
