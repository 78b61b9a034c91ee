import { poolMetrics, prometheusText } from '#server/db/metrics.ts';
import { prisma } from '#server/db/prisma.ts';
import { answering, badRequest } from '#server/errors.ts';
import { ensureDbosLaunched } from '#server/dbos/init.ts';
import { identity } from '#server/identity.ts';
import type { RequestHandler } from './$types';

const PROMETHEUS = 'text/plain; version=0.0.4; charset=utf-8';

/** The metrics of the worker that answers: Prometheus text, or Prisma's JSON with `?format=json`. */
export const GET: RequestHandler = ({ url }) =>
	answering(async () => {
		const format = url.searchParams.get('format') ?? 'prometheus';
		if (format === 'json') return Response.json(await prisma().$metrics.json());
		if (format !== 'prometheus') {
			throw badRequest(`format: found ${JSON.stringify(format)}, expected json or prometheus`);
		}
		const { slot } = identity();
		const { pool } = await ensureDbosLaunched();
		const text =
			(await prisma().$metrics.prometheus({ globalLabels: { slot, pool: 'prisma' } })) +
			prometheusText(poolMetrics('dbos', pool.gauge(), { slot, pool: 'dbos' }));
		return new Response(text, { headers: { 'content-type': PROMETHEUS } });
	});
