import { currentWorker } from '#server/worker.ts';
import { identity } from '#server/identity.ts';
import type { RequestHandler } from './$types';

/** Readiness: the executor is launched and both pools answer; says which worker that is. */
export const GET: RequestHandler = async () => {
	const { slot, executorId, pid } = identity();
	const worker = currentWorker();
	const who = { slot, executor_id: executorId, pid };
	if (!worker) return Response.json({ status: 'starting', ...who }, { status: 503 });
	const status = worker.phase !== 'ready' ? worker.phase : (await worker.answers()) ? 'ready' : 'unavailable';
	return Response.json(
		{ status, ...who, pools: worker.gauges() },
		{ status: status === 'ready' ? 200 : 503 }
	);
};
