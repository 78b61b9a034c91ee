import { DEMO_TENANT } from '#lib/orders.ts';
import { ApiError } from '#server/errors.ts';
import { identity } from '#server/identity.ts';
import { listOrders, placeOrder } from '#server/orders.ts';
import { isUuid, readNewOrder } from '#server/requests.ts';
import { error, fail, redirect } from '@sveltejs/kit';
import type { Actions, PageServerLoad } from './$types';

export const load: PageServerLoad = async ({ url }) => {
	const tenant = url.searchParams.get('tenant') ?? DEMO_TENANT;
	if (!isUuid(tenant)) error(400, { message: `tenant: found ${JSON.stringify(tenant)}, expected a UUID` });
	return { tenant, orders: await listOrders(tenant), worker: identity().slot };
};

export const actions: Actions = {
	default: async ({ request }) => {
		const form = await request.formData();
		const item = field(form, 'item');
		const quantity = field(form, 'quantity');
		const tenant = field(form, 'tenant') || DEMO_TENANT;
		try {
			if (!isUuid(tenant)) throw new ApiError('bad_request', 'tenant: expected a UUID');
			await placeOrder(tenant, readNewOrder({ item, quantity: quantity === '' ? null : Number(quantity) }));
		} catch (refused) {
			if (refused instanceof ApiError) return fail(refused.status, { item, quantity, message: refused.message });
			throw refused;
		}
		redirect(303, `/?tenant=${encodeURIComponent(tenant)}`);
	}
};

function field(form: FormData, name: string): string {
	const value = form.get(name);
	return typeof value === 'string' ? value : '';
}
