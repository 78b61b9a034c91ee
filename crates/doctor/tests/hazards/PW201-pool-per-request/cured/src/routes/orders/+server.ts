import { prisma } from '../../server/prisma';

export async function GET() {
	return Response.json(await prisma.order.findMany());
}
