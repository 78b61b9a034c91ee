//! A system database, and executors of it: as much of a DBOS executor as recovery can tell from a dead one.

use anyhow::{Context, Result};
use dbos::sysdb::SystemDatabase;
use dbos::sysdb::postgres::{Config, PostgresSystemDatabase};
use poolwright_lock::{Lock, LockName};
use poolwright_recover::Store;
use poolwright_testkit::TestServer;
use poolwright_topology::declare::DatabaseUrl;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, query};
use std::collections::BTreeMap;
use std::str::FromStr;

pub(crate) const VERSION: &str = "desk-1";

/// Makes `database` on `server`, with DBOS' tables; answers with its URL.
pub(crate) async fn migrated(server: &TestServer, database: &str) -> Result<DatabaseUrl> {
    let url = server.create_database(database).await?;
    let system = PostgresSystemDatabase::connect(&Config {
        max_connections: 1,
        use_listen_notify: false,
        ..Config::new(&url)
    })
    .await?;
    system.close().await;
    Ok(DatabaseUrl::parse(&url)?)
}

pub(crate) async fn open(url: &DatabaseUrl) -> Result<Store> {
    let store = Store::open(std::slice::from_ref(url)).await?;
    store.context("no tables of DBOS'")
}

/// A session, called `name`.
pub(crate) async fn session(url: &DatabaseUrl, name: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(url.expose())?.application_name(name);
    Ok(PgConnection::connect_with(&options).await?)
}

/// The lock that a process of this host has which runs as this executor.
pub(crate) fn held(url: &DatabaseUrl, executor_id: &str) -> Result<Lock> {
    let name = LockName::here(executor_id, &url.store());
    Lock::try_take(&name)?.context("somebody has it")
}

/// Begins this many workflows as this executor, and answers with their ids.
pub(crate) async fn begin(
    connection: &mut PgConnection,
    executor_id: &str,
    version: &str,
    workflows: i32,
) -> Result<Vec<String>> {
    let ids = sqlx::query_scalar(
        "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, executor_id, application_version)
         SELECT gen_random_uuid()::text, 'PENDING', 'fulfil', $1, $2 FROM generate_series(1, $3)
         RETURNING workflow_uuid",
    )
    .bind(executor_id)
    .bind(version)
    .bind(workflows)
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// What stands there: how many workflows of each status under each executor.
pub(crate) async fn standing(
    connection: &mut PgConnection,
) -> Result<BTreeMap<(String, String), i64>> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT executor_id, status, count(*) FROM dbos.workflow_status GROUP BY 1, 2",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(executor_id, status, count)| ((executor_id, status), count))
        .collect())
}

/// Takes every workflow that waits, as an executor does that polls.
pub(crate) async fn poll(connection: &mut PgConnection, executor_id: &str) -> Result<u64> {
    let taken = query(
        "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = $1, application_version = $2
         WHERE status = 'ENQUEUED'",
    )
    .bind(executor_id)
    .bind(VERSION)
    .execute(connection)
    .await?;
    Ok(taken.rows_affected())
}
