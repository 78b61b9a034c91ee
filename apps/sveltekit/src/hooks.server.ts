import { dev } from '$app/env';
import { ApiError, asApiError, errorResponse } from '#server/errors.ts';
import { identity } from '#server/identity.ts';
import { answers, tracing } from '#server/telemetry/tracing.ts';
import { startWorker } from '#server/worker.ts';
import type { Handle, HandleServerError, ServerInit } from '@sveltejs/kit/hooks';

/** The one side effect of loading the application: the worker starts before the first request. */
export const init: ServerInit = async () => {
	const worker = await startWorker();
	// In development Vite owns the socket and is listening already.
	if (dev) worker.listening();
};

export const handle: Handle = async ({ event, resolve }) => {
	const route = event.route.id;
	if (route !== null) tracing()?.route(route);
	const measure = answers();
	const begun = measure ? performance.now() : 0;
	const wantsPage = event.request.headers.get('accept')?.includes('text/html') ?? false;
	const response =
		route === null && !wantsPage
			? errorResponse(new ApiError('not_found', `no route ${event.url.pathname}`))
			: await resolve(event);
	response.headers.set('x-worker', identity().slot);
	if (route !== null) {
		measure?.({ method: event.request.method, route, status: response.status, ms: performance.now() - begun });
	}
	return response;
};

/** What was thrown unawares is logged and worded; what SvelteKit and the routes say themselves stands. */
export const handleError: HandleServerError = (caught) => {
	if (caught.kind !== 'unknown') return;
	const { status, message } = asApiError(caught.error);
	return { status, message };
};
