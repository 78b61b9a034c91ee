import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient } from '#generated/prisma/client.ts';

const globals = globalThis as { prisma?: PrismaClient };

export const prisma = globals.prisma ?? create();
globals.prisma = prisma;

function create(): PrismaClient {
	const adapter = new PrismaPg({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 5000 });
	return new PrismaClient({ adapter });
}
