//! The ORM pool and its tenants, on a real Postgres.

use anyhow::Result;
use poolwright_testkit::wait::{Seen, wait_until};
use poolwright_testkit::{TestServer, sampler};
use poolwright_worker::gauges::Gauges;
use poolwright_worker::pools::OrmPool;
use poolwright_worker::settings::{DatabaseUrl, Reader};
use poolwright_worker::{Tenant, Tenants};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use std::time::Duration;
use uuid::Uuid;

const NAME: &str = "web-0:prisma";
const PATIENCE: Duration = Duration::from_secs(20);

fn checked(url: &str) -> Result<DatabaseUrl> {
    let source = |_: &str| Some(url.to_owned());
    let mut reader = Reader::new(&source);
    let url = reader.database_url("DATABASE_URL", "PRISMA_POOL_MAX");
    Ok(reader.finish(url)?)
}

async fn sessions(server: &TestServer) -> Result<usize> {
    let backends = sampler::backends(&server.admin_url()?).await?;
    Ok(sampler::count(&backends).get(NAME).copied().unwrap_or(0))
}

/// What `app.tenant_id` says on whatever connection answers.
async fn setting(connection: &impl ConnectionTrait) -> Result<String> {
    let ask = Statement::from_string(
        DbBackend::Postgres,
        "SELECT coalesce(current_setting('app.tenant_id', true), '') AS tenant",
    );
    let row = connection.query_one_raw(ask).await?;
    let row = row.ok_or_else(|| anyhow::anyhow!("no row"))?;
    Ok(row.try_get("", "tenant")?)
}

#[tokio::test]
async fn the_pool_is_full_from_the_start_and_full_again_after_a_loss() -> Result<()> {
    let server = TestServer::start().await?;
    let pool = OrmPool::open(&checked(&server.admin_url()?)?, NAME, 4).await?;
    assert_eq!(sessions(&server).await?, 4);
    let told = "SELECT concat_ws(' ', current_setting('tcp_keepalives_idle'), current_setting('statement_timeout'),
        current_setting('idle_in_transaction_session_timeout'))";
    let told: String = sqlx::query_scalar(told)
        .fetch_one(pool.connections())
        .await?;
    assert_eq!(told, "60 30s 30s");

    assert_eq!(lose(&server, 2).await?, 2);
    wait_until(
        "two sessions are gone",
        PATIENCE,
        async || match sessions(&server).await {
            Ok(2) => Seen::Yes(()),
            other => Seen::NotYet(other.map_err(|error| error.to_string())),
        },
    )
    .await?;
    pool.refill().await.map_err(anyhow::Error::msg)?;
    assert_eq!(sessions(&server).await?, 4);
    assert_eq!(pool.opened_total(), 6);

    pool.close().await;
    wait_until(
        "all sessions are gone",
        PATIENCE,
        async || match sessions(&server).await {
            Ok(0) => Seen::Yes(()),
            other => Seen::NotYet(other.map_err(|error| error.to_string())),
        },
    )
    .await?;
    server.stop().await
}

#[tokio::test]
async fn a_tenant_stays_on_no_connection_after_commit_rollback_or_a_dropped_transaction()
-> Result<()> {
    let server = TestServer::start().await?;
    // One connection: whatever is left on it, the next borrower finds.
    let pool = OrmPool::open(&checked(&server.admin_url()?)?, NAME, 1).await?;
    let gauges = Gauges::new(pool.clone(), "web-0:dbos", 3, true);
    let tenants = Tenants::new(pool.clone(), gauges.lending());
    let tenant = Uuid::new_v4();

    let committed = tenants.begin(Some(Tenant(tenant))).await?;
    assert_eq!(setting(&committed).await?, tenant.to_string());
    committed.commit().await?;
    assert_eq!(setting(pool.orm()).await?, "");

    drop(tenants.begin(Some(Tenant(tenant))).await?);
    assert_eq!(setting(pool.orm()).await?, "");

    let failed = tenants.begin(Some(Tenant(tenant))).await?;
    assert!(failed.execute_unprepared("SELECT 1/0").await.is_err());
    drop(failed);
    let nobody = tenants.begin(None).await?;
    assert_eq!(setting(&nobody).await?, "");
    drop(nobody);

    pool.close().await;
    server.stop().await
}

#[tokio::test]
async fn the_gauges_count_what_is_lent_out_and_who_waits() -> Result<()> {
    let server = TestServer::start().await?;
    let pool = OrmPool::open(&checked(&server.admin_url()?)?, NAME, 2).await?;
    let gauges = Gauges::new(pool.clone(), "web-0:dbos", 3, true);
    let tenants = Tenants::new(pool.clone(), gauges.lending());

    let first = tenants.begin(None).await?;
    // A connection that is given back is tested before it counts as idle.
    wait_until(
        "one is lent out and one is idle",
        PATIENCE,
        async || match gauges.orm() {
            reading if (reading.max, reading.open, reading.busy, reading.idle) == (2, 2, 1, 1) => {
                Seen::Yes(())
            }
            other => Seen::NotYet(other),
        },
    )
    .await?;

    let second = tenants.begin(None).await?;
    let third = tokio::spawn({
        let tenants = tenants.clone();
        async move { tenants.begin(None).await.map(drop) }
    });
    wait_until("the third caller waits", PATIENCE, async || {
        match gauges.orm() {
            starved if (starved.busy, starved.idle, starved.waiting) == (2, 0, 1) => Seen::Yes(()),
            other => Seen::NotYet(other),
        }
    })
    .await?;
    first.commit().await?;
    third.await??;
    second.commit().await?;
    pool.close().await;
    server.stop().await
}

#[tokio::test]
async fn a_role_whose_limit_is_below_the_pool_is_named_as_the_cause() -> Result<()> {
    let server = TestServer::start().await?;
    let role = server.name("limited");
    let statement = format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 's3cret' CONNECTION LIMIT 2");
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut server.admin().await?)
        .await?;
    let database = server.create_database("desk").await?;
    assert!(!database.is_empty());
    let url = server.url_as("limited", "s3cret", "desk")?;

    let error = OrmPool::open(&checked(&url)?, NAME, 3).await.unwrap_err();
    let text = poolwright_worker::telemetry::chain(&error);
    assert!(
        text.contains("53300") && text.contains("CONNECTION LIMIT"),
        "{text}"
    );
    let held = format!("the role \"{role}\" has 2 of at most 2 connections, held by {NAME} 2");
    assert!(text.contains(&held), "{text}");
    assert!(!text.contains("s3cret"), "{text}");

    // One is lost, and somebody else takes its place.
    let pool = OrmPool::open(&checked(&url)?, NAME, 2).await?;
    assert_eq!(lose(&server, 1).await?, 1);
    let options: PgConnectOptions = url.parse()?;
    let rogue = async || {
        let rogue = options.clone().application_name("psql");
        match PgConnection::connect_with(&rogue).await {
            Ok(rogue) => Seen::Yes(rogue),
            Err(refused) => Seen::NotYet(refused.to_string()),
        }
    };
    let rogue = wait_until("the rogue client has its place", PATIENCE, rogue).await?;
    let cause = pool.refill().await.unwrap_err();
    let held = format!(
        "53300): the role \"{role}\" has 2 of at most 2 connections, held by psql 1, {NAME} 1"
    );
    assert!(cause.contains(&held), "{cause}");
    rogue.close().await?;
    pool.close().await;
    server.stop().await
}

/// Ends sessions of the pool and says how many.
async fn lose(server: &TestServer, count: i32) -> Result<u64> {
    let lost = sqlx::query("SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = $1 LIMIT $2) AS victims")
        .bind(NAME)
        .bind(count)
        .execute(&mut server.admin().await?)
        .await?;
    Ok(lost.rows_affected())
}
