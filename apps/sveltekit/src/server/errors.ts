/** Errors as the contract words them, `{"error":{"code","message"}}`. */
import { log, reason } from './log.ts';

const STATUS = { bad_request: 400, not_found: 404, method_not_allowed: 405, unavailable: 503, internal: 500 } as const;
export type ErrorCode = keyof typeof STATUS;

/** An error whose message is meant for the client. */
export class ApiError extends Error {
	override readonly name = 'ApiError';

	constructor(
		readonly code: ErrorCode,
		message: string
	) {
		super(message);
	}

	get status(): number {
		return STATUS[this.code];
	}
}

export const badRequest = (message: string) => new ApiError('bad_request', message);
export const notFound = (message: string) => new ApiError('not_found', message);

export function errorResponse({ code, status, message }: ApiError): Response {
	return Response.json({ error: { code, message } }, { status });
}

/**
 * What the client is told about anything that was thrown. A database that does not answer is the
 * client's cue to come back; everything else unexpected is ours, and its message stays in the log.
 */
export function asApiError(error: unknown): ApiError {
	if (error instanceof ApiError) return error;
	log.error('request failed', { reason: reason(error) });
	return isDatabaseUnavailable(error)
		? new ApiError('unavailable', 'the database does not answer, try again')
		: new ApiError('internal', 'something went wrong here');
}

/** Runs an endpoint and answers in JSON whatever it throws. */
export async function answering(endpoint: () => Promise<Response>): Promise<Response> {
	try {
		return await endpoint();
	} catch (error) {
		return errorResponse(asApiError(error));
	}
}

/** Prisma: unreachable (P1001, P1002), lost (P1017), no connection in time (P2024, P2028), refused (P2037). */
const UNAVAILABLE_CODES = new Set([
	'P1001', 'P1002', 'P1008', 'P1017', 'P2024', 'P2028', 'P2037',
	'ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT',
	'57P01', '57P02', '57P03', '53300'
]);

function isDatabaseUnavailable(error: unknown): boolean {
	for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth += 1) {
		if ('code' in cause && typeof cause.code === 'string' && UNAVAILABLE_CODES.has(cause.code)) return true;
		if (/timeout exceeded when trying to connect|Connection terminated|server has closed the connection/i.test(cause.message)) {
			return true;
		}
	}
	return false;
}
