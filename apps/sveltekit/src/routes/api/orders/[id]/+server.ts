import { answering, notFound } from '#server/errors.ts';
import { findOrder } from '#server/orders.ts';
import { isUuid, tenantOf } from '#server/requests.ts';
import type { RequestHandler } from './$types';

export const GET: RequestHandler = ({ request, params }) =>
	answering(async () => {
		const tenant = tenantOf(request);
		const found = isUuid(params.id) ? await findOrder(tenant, params.id) : null;
		if (!found) throw notFound(`no order ${params.id}`);
		return Response.json(found);
	});
