/** The words of the HTTP contract, shared by server and page. */

export const ORDER_STATUSES = ['placed', 'reserved', 'charged', 'shipped'] as const;
export type OrderStatus = (typeof ORDER_STATUSES)[number];

export interface Order {
	readonly id: string;
	readonly tenant_id: string;
	readonly item: string;
	readonly quantity: number;
	readonly status: OrderStatus;
	readonly workflow_id: string;
	/** RFC 3339, UTC. */
	readonly created_at: string;
}

/** One row of `effects`: a step that ran, and who ran it. */
export interface Step {
	readonly step: string;
	readonly executor_id: string;
	readonly pid: number;
	readonly at: string;
}

export interface WorkflowView {
	readonly id: string;
	/** DBOS's own word, null for a workflow that it does not know. */
	readonly status: string | null;
	readonly progress: OrderStatus | null;
}

export function isOrderStatus(value: unknown): value is OrderStatus {
	return ORDER_STATUSES.some((status) => status === value);
}

/** The tenant of the page when none is named. */
export const DEMO_TENANT = '11111111-1111-4111-8111-111111111111';
