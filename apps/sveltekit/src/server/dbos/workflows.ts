/** The workflows of the order desk. This module declares them; `init.ts` runs the executor. */
import { DBOS } from '@dbos-inc/dbos-sdk';
import { setTimeout as pause } from 'node:timers/promises';
import type { OrderStatus } from '#lib/orders.ts';
import { withTenant } from '../db/tenant.ts';
import { environment } from '../env.ts';
import { identity } from '../identity.ts';
import { tracing } from '../telemetry/tracing.ts';

/** The event by which a workflow tells how far it is: the same words as the order's status. */
export const PROGRESS_EVENT = 'progress';

/** A step's name, and the status that the order has after it. */
const STEPS = {
	reserve: 'reserved',
	charge: 'charged',
	ship: 'shipped'
} as const satisfies Record<string, OrderStatus>;

export type StepName = keyof typeof STEPS;

/** The workflow of an order. One order, one id: starting it twice runs it once. */
export function workflowIdOf(orderId: string): string {
	return `order-${orderId}`;
}

/**
 * `trace` is the request's, as W3C's `traceparent`. It is part of the input because that is what every run of the workflow gets,
 * in whichever process; none where nothing is traced, or where the workflow is older than tracing.
 */
async function fulfil(orderId: string, tenantId: string, trace?: string): Promise<void> {
	const work = async () => {
		await step('reserve', orderId, tenantId);
		await step('charge', orderId, tenantId);
		await DBOS.sleep(environment().fulfilSleepMs);
		await step('ship', orderId, tenantId);
	};
	const traced = trace === undefined ? undefined : tracing();
	await (traced ? traced.within(trace!, 'fulfil', workflowIdOf(orderId), work) : work());
}

/** A durable step, then the event that shows it. A step that fails for want of a connection is retried. */
async function step(name: StepName, orderId: string, tenantId: string): Promise<void> {
	await DBOS.runStep(() => perform(name, orderId, tenantId), {
		name,
		retriesAllowed: true,
		maxAttempts: 5,
		intervalSeconds: 1,
		backoffRate: 2
	});
	await DBOS.setEvent(PROGRESS_EVENT, STEPS[name]);
}

/** Moves the order and records, in the same transaction, who did: a step that ran twice is two rows. */
async function perform(name: StepName, orderId: string, tenantId: string): Promise<void> {
	const { executorId, pid } = identity();
	// Before the transaction: a connection held while nothing happens is one that others wait for.
	await pause(environment().fulfilStepMs);
	await withTenant(tenantId, async (transaction) => {
		await transaction.effect.create({ data: { tenantId, orderId, step: name, executorId, pid } });
		await transaction.order.update({ where: { id: orderId }, data: { status: STEPS[name] } });
	});
}

type Fulfil = typeof fulfil;

/**
 * What DBOS knows of this process. Its registry refuses a name a second time, but hot reload and a
 * second bundle evaluate this module again: registered is, once, a function that calls the newest.
 */
interface Registered {
	fulfil: Fulfil;
	newest: Fulfil;
}

const WORKFLOWS = Symbol.for('order-desk.workflows');
const globals = globalThis as { [WORKFLOWS]?: Registered };

/** Registers the workflows, once per process. DBOS wants it done before the launch. */
export function registerWorkflows(): void {
	const registered = (globals[WORKFLOWS] ??= register());
	registered.newest = fulfil;
}

function register(): Registered {
	const registered: Registered = { fulfil, newest: fulfil };
	registered.fulfil = DBOS.registerWorkflow(
		(orderId: string, tenantId: string, trace?: string) => registered.newest(orderId, tenantId, trace),
		{ name: 'fulfil' }
	);
	return registered;
}

/** Starts the fulfilment of an order; returns once it is recorded, not once it is done. */
export async function startFulfilment(orderId: string, tenantId: string): Promise<void> {
	registerWorkflows();
	const { fulfil: registered } = globals[WORKFLOWS]!;
	const trace = tracing()?.parent();
	const start = DBOS.startWorkflow(registered, { workflowID: workflowIdOf(orderId) });
	await (trace === undefined ? start(orderId, tenantId) : start(orderId, tenantId, trace));
}
