import type { Order } from './orders.ts';

const POLL_EVERY_MS = 500;

/** Whether anything about the orders can still change. */
export function unfinished(orders: readonly Order[]): boolean {
	return orders.some(({ status }) => status !== 'shipped');
}

/**
 * Reads the tenant's orders again and again, until `signal` says stop. A poll that fails is left out: the
 * next one is half a second away, and the worker that failed may be one that is being replaced.
 */
export async function follow(
	tenant: string,
	show: (orders: Order[]) => void,
	signal: AbortSignal
): Promise<void> {
	while (!signal.aborted) {
		await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS));
		try {
			const response = await fetch('/api/orders', { headers: { 'x-tenant-id': tenant }, signal });
			if (!response.ok) continue;
			const { orders } = (await response.json()) as { orders: Order[] };
			if (!signal.aborted) show(orders);
		} catch {
			continue;
		}
	}
}
