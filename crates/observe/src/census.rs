//! One sample of `pg_stat_activity`.

use crate::connect::Error;
use poolwright_topology::census::Backend;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row, query};

/// Every backend, the one that asks among them: it takes a connection like any other.
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
                CASE WHEN client_port > 0 THEN host(client_addr) END AS client_host,
                client_port
         FROM pg_stat_activity",
    )
    .fetch_all(connection)
    .await
    .map_err(Error::query("reading pg_stat_activity"))?;
    Ok(rows.iter().map(backend).collect())
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
