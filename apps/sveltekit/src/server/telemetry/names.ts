/**
 * The names under which things are exported: OpenTelemetry's semantic conventions, and DBOS' own.
 *
 * Those of database connections are not stable yet. They stand here and nowhere else, so that a new version of the conventions is a
 * change of this file (and of `otel/names.rs` in the worker library of the Rust stack).
 */

/** Metrics of a pool, each with its unit. Times are in seconds, as the conventions want them. */
export const CONNECTION = {
	count: 'db.client.connection.count',
	max: 'db.client.connection.max',
	idleMax: 'db.client.connection.idle.max',
	pending: 'db.client.connection.pending_requests',
	timeouts: 'db.client.connection.timeouts',
	waitTime: 'db.client.connection.wait_time',
	useTime: 'db.client.connection.use_time'
} as const;

/** Which pool: `prisma` or `dbos`. */
export const POOL_NAME = 'db.client.connection.pool.name';
/** `idle` or `used`. */
export const CONNECTION_STATE = 'db.client.connection.state';

/** How long requests took, in seconds, and of which kind they were. */
export const REQUEST = {
	duration: 'http.server.request.duration',
	method: 'http.request.method',
	route: 'http.route',
	status: 'http.response.status_code',
	scheme: 'url.scheme'
} as const;

/** Who sends. */
export const RESOURCE = {
	service: 'service.name',
	version: 'service.version',
	instance: 'service.instance.id',
	executor: 'dbos.executor.id',
	pid: 'process.pid'
} as const;

/** A workflow's span, in the words that the SDK uses for its own with `otelAttributeFormat: 'semconv'`. */
export const WORKFLOW = {
	type: 'dbos.operation.type',
	name: 'dbos.operation.name',
	id: 'dbos.operation.workflow_id'
} as const;

/** The upper bounds that the conventions advise for times in seconds. */
export const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** Upper bounds, in seconds, for times that are mostly well below a millisecond: a wait for a connection that is there. */
export const SHORT_SECONDS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5];
