/** Reading a workflow from a request, without starving the workflows of connections. */
import { DBOS } from '@dbos-inc/dbos-sdk';
import { isOrderStatus, type OrderStatus, type WorkflowView } from '#lib/orders.ts';
import { environment } from '../env.ts';
import { Limiter } from '../limiter.ts';
import { ensureDbosLaunched } from './init.ts';
import { PROGRESS_EVENT, workflowIdOf } from './workflows.ts';

/**
 * One connection of the pool is LISTEN's, one is left to the workflows; readers share the rest. With a
 * pool of 2 a single reader at a time takes turns with them in the pool's queue.
 */
function readers(): Limiter {
	return (limiter ??= new Limiter(Math.max(1, environment().dbosPoolMax - 2)));
}
let limiter: Limiter | undefined;

/** The workflow of an order as DBOS knows it; status and progress are null before it is recorded. */
export async function workflowOf(orderId: string): Promise<WorkflowView> {
	await ensureDbosLaunched();
	const id = workflowIdOf(orderId);
	return readers().run(async () => {
		const status = await DBOS.getWorkflowStatus(id);
		// Nothing waits for the event here: 0 seconds reads what is there.
		const progress = status ? await DBOS.getEvent<OrderStatus>(id, PROGRESS_EVENT, { timeoutSeconds: 0 }) : null;
		return { id, status: status?.status ?? null, progress: isOrderStatus(progress) ? progress : null };
	});
}
