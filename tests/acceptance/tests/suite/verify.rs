//! What is not as declared is caught and named (B7).

use std::time::Duration;

use acceptance::poolwright::Answer;
use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Process, sampler, wait_until};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

acceptance::both_stacks!(
    a_stray_session_that_borrows_a_pools_name_is_named,
    a_fourth_executor_is_named,
    a_second_process_behind_one_executor_id_is_named,
    a_worker_whose_pool_is_larger_than_declared_and_a_missing_worker_are_named,
);

/// A worker's start, on two busy cores.
const STARTED: Duration = Duration::from_secs(60);

async fn a_stray_session_that_borrows_a_pools_name_is_named(stack: Stack) -> Result<()> {
    let fleet = supervised(stack).await?;
    let url = fleet.setup.environment()["DBOS_SYSTEM_DATABASE_URL"].parse::<PgConnectOptions>()?;
    let stray = url.application_name("web-1:dbos").connect().await?;
    let verdict = violated(&fleet.setup).await?;
    let found = finding(&verdict, "pool_over_declared")?;
    ensure!(
        found["slot"] == "web-1" && found["pool"] == "dbos",
        "{found:#}"
    );
    ensure!(finding(&verdict, "over_bound").is_ok(), "{verdict:#}");
    stray.close().await?;
    holds(&fleet.setup).await?;
    fleet.stop().await
}

async fn a_fourth_executor_is_named(stack: Stack) -> Result<()> {
    let fleet = supervised(stack).await?;
    let mut fourth = bare(&fleet.setup, "3", &[]).await?;
    let verdict = violated(&fleet.setup).await?;
    let found = finding(&verdict, "unknown_slot")?;
    ensure!(found["slot"] == "web-3", "{found:#}");
    end(&mut fourth).await?;
    holds(&fleet.setup).await?;
    fleet.stop().await
}

async fn a_second_process_behind_one_executor_id_is_named(stack: Stack) -> Result<()> {
    let fleet = supervised(stack).await?;
    // It would be refused if it saw the lock of the id.
    let apart = ("POOLWRIGHT_LOCK_NAMESPACE", Some("intruder"));
    let mut second = bare(&fleet.setup, "1", &[apart]).await?;
    let verdict = violated(&fleet.setup).await?;
    let found = finding(&verdict, "shared_executor_id")?;
    ensure!(found["slot"] == "web-1", "{found:#}");
    end(&mut second).await?;
    fleet.stop().await
}

/// Workers that nobody supervises: a supervisor would have refused the larger pool.
async fn a_worker_whose_pool_is_larger_than_declared_and_a_missing_worker_are_named(
    stack: Stack,
) -> Result<()> {
    let setup = Setup::new(stack).await?;
    setup.poolwright()?.run(&["prepare"]).await?.expect(0)?;
    let mut workers = vec![
        bare(&setup, "0", &[]).await?,
        bare(&setup, "1", &[("PRISMA_POOL_MAX", Some("4"))]).await?,
    ];
    let verdict = violated(&setup).await?;
    let larger = finding(&verdict, "pool_over_declared")?;
    ensure!(
        larger["slot"] == "web-1" && larger["pool"] == "prisma",
        "{larger:#}"
    );
    let missing = finding(&verdict, "missing_worker")?;
    ensure!(missing["slot"] == "web-2", "{missing:#}");

    end(&mut workers[1]).await?;
    workers.push(bare(&setup, "1", &[]).await?);
    workers.push(bare(&setup, "2", &[]).await?);
    holds(&setup).await?;
    drop(workers);
    setup.server.stop().await
}

async fn supervised(stack: Stack) -> Result<Fleet> {
    Fleet::start(Cell {
        stack,
        manager: Manager::Poolwright,
    })
    .await
}

/// A worker in this slot, started and ready.
async fn bare(setup: &Setup, slot: &str, changes: &[(&str, Option<&str>)]) -> Result<Process> {
    let mut all = vec![("PM2_INSTANCE_ID", Some(slot))];
    all.extend_from_slice(changes);
    let worker = setup.bare_worker(&all)?;
    let said = |line: &str| line.contains("\"worker started\"");
    worker.line("its start-up line", STARTED, said).await?;
    Ok(worker)
}

/// Ends a worker in order, with its sessions.
async fn end(worker: &mut Process) -> Result<()> {
    worker.signal(rustix::process::Signal::TERM)?;
    let status = worker.exited(STARTED).await?;
    ensure!(status.success(), "{status}: {}", worker.tail());
    Ok(())
}

async fn violated(setup: &Setup) -> Result<Value> {
    let answer: Answer = setup
        .poolwright()?
        .run(&["verify", "--json"])
        .await?
        .expect(4)?;
    let verdict = answer.json()?;
    ensure!(verdict["holds"] == false, "{verdict:#}");
    Ok(verdict)
}

/// Waits first until nothing of what was closed is left: `verify` would be right to count it.
async fn holds(setup: &Setup) -> Result<()> {
    let url = setup.server.admin_url()?;
    wait_until("18 connections of pools are left", STARTED, async || {
        let backends = sampler::backends(&url).await.unwrap_or_default();
        let pools = backends
            .iter()
            .filter(|one| one.name.starts_with("web-"))
            .count();
        if pools == 18 {
            Seen::Yes(())
        } else {
            Seen::NotYet(pools)
        }
    })
    .await?;
    let verdict = setup.poolwright()?.json(&["verify"]).await?;
    ensure!(
        verdict["holds"] == true && verdict["peak"] == 18,
        "{verdict:#}"
    );
    Ok(())
}

/// The error of this kind.
fn finding(verdict: &Value, kind: &str) -> Result<Value> {
    let findings = verdict["findings"].as_array().into_iter().flatten();
    let found = findings
        .into_iter()
        .find(|one| one["kind"] == kind && one["severity"] == "error");
    Ok(found
        .with_context(|| format!("no error of kind {kind}: {verdict:#}"))?
        .clone())
}
