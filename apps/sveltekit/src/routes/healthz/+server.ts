import type { RequestHandler } from './$types';

/** Liveness: the process answers, whatever its pools do. */
export const GET: RequestHandler = () => Response.json({ status: 'ok' });
