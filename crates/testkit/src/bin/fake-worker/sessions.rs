//! The sessions that a worker without pools opens all the same.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::signal::unix::{SignalKind, signal};

/// Nobody waits for its end: the process dies first, and the session outlives it.
const LONG_QUERY: &str = "SELECT pg_sleep(3600)";

/// Opens as many sessions as each pool has, under the pool's name, and holds them until this process ends. With SIGUSR1 the last
/// one begins a query that outlives the process.
pub(crate) async fn open(url: &str, slot: &str, maxima: BTreeMap<String, u32>) -> Result<()> {
    let mut query = signal(SignalKind::user_defined1())?;
    let options: PgConnectOptions = url.parse()?;
    let mut sessions = Vec::new();
    for (pool, max) in maxima {
        let options = options
            .clone()
            .application_name(&format!("web-{slot}:{pool}"));
        for _ in 0..max {
            let session = PgConnection::connect_with(&options).await;
            sessions.push(session.with_context(|| format!("opening a session of {pool}"))?);
        }
    }
    tokio::spawn(async move {
        query.recv().await;
        if let Some(last) = sessions.last_mut() {
            // It is terminated, or outlives its client: who reads the answer is gone.
            sqlx::raw_sql(LONG_QUERY).execute(last).await.ok();
        }
        std::future::pending::<()>().await;
    });
    Ok(())
}
