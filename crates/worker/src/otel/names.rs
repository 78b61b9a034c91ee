//! The names under which things are exported: OpenTelemetry's semantic conventions, version 1.37, and DBOS' own.
//!
//! Those of database connections are not stable yet. They stand here and nowhere else, so that a new version of the conventions is a
//! change of this file (and of `src/server/telemetry/names.ts` in the SvelteKit app).

/// Connections of a pool by state. Unit: `{connection}`.
pub(crate) const CONNECTION_COUNT: &str = "db.client.connection.count";
/// The most connections that a pool may hold. Unit: `{connection}`.
pub(crate) const CONNECTION_MAX: &str = "db.client.connection.max";
/// The most connections that a pool keeps idle. Unit: `{connection}`.
pub(crate) const CONNECTION_IDLE_MAX: &str = "db.client.connection.idle.max";
/// Callers that wait for a connection. Unit: `{request}`.
pub(crate) const CONNECTION_PENDING: &str = "db.client.connection.pending_requests";
/// Callers that were lent no connection in time. Unit: `{timeout}`.
pub(crate) const CONNECTION_TIMEOUTS: &str = "db.client.connection.timeouts";
/// How long callers waited for a connection. Unit: `s`.
pub(crate) const CONNECTION_WAIT_TIME: &str = "db.client.connection.wait_time";
/// How long callers kept a connection. Unit: `s`.
pub(crate) const CONNECTION_USE_TIME: &str = "db.client.connection.use_time";
/// Which pool: `prisma` or `dbos`.
pub(crate) const POOL_NAME: &str = "db.client.connection.pool.name";
/// `idle` or `used`.
pub(crate) const CONNECTION_STATE: &str = "db.client.connection.state";

/// How long requests took. Unit: `s`.
pub(crate) const REQUEST_DURATION: &str = "http.server.request.duration";
pub(crate) const HTTP_METHOD: &str = "http.request.method";
pub(crate) const HTTP_ROUTE: &str = "http.route";
pub(crate) const HTTP_STATUS: &str = "http.response.status_code";
pub(crate) const URL_PATH: &str = "url.path";
pub(crate) const URL_SCHEME: &str = "url.scheme";
pub(crate) const ERROR_TYPE: &str = "error.type";

pub(crate) const DB_SYSTEM: &str = "db.system.name";
pub(crate) const DB_NAMESPACE: &str = "db.namespace";
pub(crate) const DB_OPERATION: &str = "db.operation.name";
pub(crate) const DB_COLLECTION: &str = "db.collection.name";
pub(crate) const DB_QUERY_TEXT: &str = "db.query.text";

/// `workflow` or `step`.
pub(crate) const DBOS_TYPE: &str = "dbos.operation.type";
pub(crate) const DBOS_NAME: &str = "dbos.operation.name";
pub(crate) const DBOS_WORKFLOW_ID: &str = "dbos.operation.workflow_id";
pub(crate) const DBOS_STEP_ID: &str = "dbos.operation.step_id";
pub(crate) const DBOS_ATTEMPT: &str = "dbos.operation.attempt";
pub(crate) const DBOS_EXECUTOR_ID: &str = "dbos.executor.id";

pub(crate) const SERVICE_NAME: &str = "service.name";
pub(crate) const SERVICE_VERSION: &str = "service.version";
pub(crate) const SERVICE_INSTANCE_ID: &str = "service.instance.id";
pub(crate) const PROCESS_PID: &str = "process.pid";

/// The upper bounds that the conventions advise for times in seconds.
pub(crate) const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Those for times that are mostly well below a millisecond: a wait for a connection that is there.
pub(crate) const SHORT_SECONDS: [f64; 12] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];
