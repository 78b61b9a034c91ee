import { answering, badRequest } from '#server/errors.ts';
import { listOrders, placeOrder } from '#server/orders.ts';
import { readNewOrder, tenantOf } from '#server/requests.ts';
import type { RequestHandler } from './$types';

export const GET: RequestHandler = ({ request }) =>
	answering(async () => Response.json({ orders: await listOrders(tenantOf(request)) }));

export const POST: RequestHandler = ({ request }) =>
	answering(async () => {
		const tenant = tenantOf(request);
		if (tenant === null) throw badRequest('x-tenant-id: not set, expected a UUID');
		const body: unknown = await request.json().catch(() => {
			throw badRequest('body: expected JSON');
		});
		const { orderId, workflowId } = await placeOrder(tenant, readNewOrder(body));
		return Response.json({ order_id: orderId, workflow_id: workflowId }, { status: 202 });
	});
