//! One sample of `pg_stat_activity`.

use crate::connect::Error;
use poolwright_topology::census::Backend;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row, query};

/// Every backend, the one that asks among them: it takes a connection like any other.
///
/// Statements are cut to their beginning and lose their literals here, so that no secret in one goes any further.
///
/// What the role may not see arrives as NULL and stays `None`: nothing is filtered in SQL, where a
/// comparison with NULL would silently drop the row. Cancel safe: reads only.
///
/// # Errors
/// [`Error::Query`] when the server refuses.
pub async fn sample(connection: &mut PgConnection) -> Result<Vec<Backend>, Error> {
    let rows = query(
        "SELECT pid,
                (extract(epoch FROM backend_start) * 1000000)::bigint AS started,
                coalesce(application_name, '') AS application_name,
                usename::text AS role,
                datname::text AS database,
                state, backend_type, leader_pid,
                (extract(epoch FROM clock_timestamp() - state_change) * 1000)::bigint AS state_ms,
                (extract(epoch FROM clock_timestamp() - xact_start) * 1000)::bigint AS transaction_ms,
                wait_event_type || ': ' || wait_event AS waits_for,
                regexp_replace(left(query, 200), '''[^'']*(''|$)', '''…''', 'g') AS query,
                CASE WHEN client_port > 0 THEN host(client_addr) END AS client_host,
                client_port
         FROM pg_stat_activity",
    )
    .fetch_all(connection)
    .await
    .map_err(Error::query("reading pg_stat_activity"))?;
    Ok(rows.iter().map(backend).collect())
}

/// The server's clock may be set back between two of its readings.
fn milliseconds(found: Option<i64>) -> Option<u64> {
    found.map(|ms| u64::try_from(ms).unwrap_or(0))
}

fn backend(row: &PgRow) -> Backend {
    let host: Option<String> = row.get("client_host");
    let port: Option<i32> = row.get("client_port");
    Backend {
        pid: row.get("pid"),
        started: row.get("started"),
        application_name: row.get("application_name"),
        role: row.get("role"),
        database: row.get("database"),
        state: row.get("state"),
        state_ms: milliseconds(row.get("state_ms")),
        transaction_ms: milliseconds(row.get("transaction_ms")),
        waits_for: row.get("waits_for"),
        query: row.get("query"),
        backend_type: row.get("backend_type"),
        leader: row.get("leader_pid"),
        client: host.zip(port).map(|(host, port)| {
            if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            }
        }),
        client_pid: None,
    }
}
