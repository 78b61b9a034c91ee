/** Placing and reading orders: the order desk itself, free of HTTP. */
import { isOrderStatus, type Order, type Step, type WorkflowView } from '#lib/orders.ts';
import { randomUUID } from 'node:crypto';
import { readAsTenant, withTenant } from './db/tenant.ts';
import { startFulfilment, workflowIdOf } from './dbos/workflows.ts';
import { ensureDbosLaunched } from './dbos/init.ts';
import { workflowOf } from './dbos/progress.ts';
import type { NewOrder } from './requests.ts';
import type { Order as OrderRow } from '#generated/prisma/client.ts';

/** A page of orders; nobody reads further back on a desk. */
const PAGE_SIZE = 50;

/** The tenant's orders, newest first. */
export async function listOrders(tenantId: string | null): Promise<Order[]> {
	const rows = await readAsTenant(tenantId, (transaction) =>
		transaction.order.findMany({ orderBy: [{ createdAt: 'desc' }, { id: 'asc' }], take: PAGE_SIZE })
	);
	return rows.map(asOrder);
}

export interface PlacedOrder {
	readonly orderId: string;
	readonly workflowId: string;
}

/**
 * Records the order, then starts its workflow. In this order: a workflow without an order would
 * have nothing to fulfil, an order without a workflow is visible as `placed` and can be started.
 */
export async function placeOrder(tenantId: string, { item, quantity }: NewOrder): Promise<PlacedOrder> {
	await ensureDbosLaunched();
	const orderId = randomUUID();
	const workflowId = workflowIdOf(orderId);
	await withTenant(tenantId, (transaction) =>
		transaction.order.create({ data: { id: orderId, tenantId, item, quantity, workflowId } })
	);
	await startFulfilment(orderId, tenantId);
	return { orderId, workflowId };
}

export interface OrderDetails {
	readonly order: Order;
	readonly workflow: WorkflowView;
	readonly steps: Step[];
}

/** One order with its workflow and steps, or null: another tenant's order does not exist. */
export async function findOrder(tenantId: string | null, orderId: string): Promise<OrderDetails | null> {
	const found = await readAsTenant(tenantId, (transaction) =>
		transaction.order.findUnique({
			where: { id: orderId },
			include: { effects: { orderBy: { id: 'asc' } } }
		})
	);
	if (!found) return null;
	const steps = found.effects.map(({ step, executorId, pid, at }) => ({
		step,
		executor_id: executorId,
		pid,
		at: at.toISOString()
	}));
	return { order: asOrder(found), workflow: await workflowOf(orderId), steps };
}

function asOrder({ id, tenantId, item, quantity, status, workflowId, createdAt }: OrderRow): Order {
	if (!isOrderStatus(status)) {
		throw new Error(`order ${id} has the status "${status}", expected one that the schema allows`);
	}
	return {
		id,
		tenant_id: tenantId,
		item,
		quantity,
		status,
		workflow_id: workflowId,
		created_at: createdAt.toISOString()
	};
}
