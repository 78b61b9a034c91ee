import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient } from '#generated/prisma/client.ts';

export async function GET() {
	const adapter = new PrismaPg({ connectionString: process.env.DATABASE_URL, connectionTimeoutMillis: 5000 });
	const prisma = new PrismaClient({ adapter }); // ← here
	return Response.json(await prisma.order.findMany());
}
