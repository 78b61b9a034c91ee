//! An executor id belongs to one living process, however its processes were started (B4, H5, H7, H9).

use std::collections::BTreeMap;
use std::time::Duration;

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::load::{self, Connections, Load};
use poolwright_testkit::sampler::{self, Limits, Sampler};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Process, wait_until};
use rustix::process::Signal;
use serde_json::Value;

use acceptance::bound::declared;

acceptance::both_stacks!(
    a_second_worker_with_the_same_id_is_refused_and_opens_nothing,
    an_id_may_be_held_once_for_each_database,
    a_killed_worker_frees_its_id_at_once,
    a_worker_beside_a_supervised_one_is_refused_and_told_under_whom_it_runs,
    a_reload_of_pm2_keeps_the_bound_and_runs_every_step_once,
);

/// A worker's start, or its end, on two busy cores.
const SOON: Duration = Duration::from_secs(60);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// The id leaked in from the shell that both were started from (H5).
async fn a_second_worker_with_the_same_id_is_refused_and_opens_nothing(stack: Stack) -> Result<()> {
    let setup = prepared(Setup::new(stack).await?).await?;
    let first = bare(&setup, &[("PM2_INSTANCE_ID", Some("0"))]).await?;
    let limits = Limits {
        names: BTreeMap::new(),
        fleet: Some(6),
    };
    let sampler = Sampler::start(&setup.server.admin_url()?, sampler::PERIOD, limits).await?;
    let said = refused(&setup, "0").await?;
    let pid = first.pid().context("the first worker has ended")?;
    ensure!(
        said.contains(&format!(
            "executor id web-0 is held by process {pid} (since "
        )),
        "{said}"
    );
    ensure!(
        said.contains("PM2_INSTANCE_ID, which means 0 here"),
        "{said}"
    );
    let seen = sampler.finish().await?;
    ensure!(seen.violations.is_empty(), "{:#?}", seen.violations);
    ensure!(seen.fleet.seen == 6, "{:#?}", seen.fleet);
    setup.server.stop().await
}

async fn an_id_may_be_held_once_for_each_database(stack: Stack) -> Result<()> {
    let setup = prepared(Setup::new(stack).await?).await?;
    let _first = bare(&setup, &[]).await?;
    let other = setup
        .server
        .url_as("other_dbos", "dbos-secret", "other_dbos")?;
    let setup = prepared(setup.env("DBOS_SYSTEM_DATABASE_URL", other)).await?;
    let _second = bare(&setup, &[]).await?;
    refused(&setup, "0").await?;
    setup.server.stop().await
}

async fn a_killed_worker_frees_its_id_at_once(stack: Stack) -> Result<()> {
    let setup = prepared(Setup::new(stack).await?).await?;
    let mut first = bare(&setup, &[]).await?;
    // Its own patience is longer than this test's.
    let second = setup.bare_worker(&[("POOLWRIGHT_LOCK_TIMEOUT_MS", Some("600000"))])?;
    let waits = |line: &str| line.contains("waiting for the executor id");
    second.line("that it waits", SOON, waits).await?;
    ensure!(!started(&second), "{}", second.tail());
    first.signal(Signal::KILL)?;
    first.exited(SOON).await?;
    second.line("its start-up line", SOON, is_start).await?;
    setup.server.stop().await
}

async fn a_worker_beside_a_supervised_one_is_refused_and_told_under_whom_it_runs(
    stack: Stack,
) -> Result<()> {
    for (manager, words) in [
        (Manager::Poolwright, "(under Poolwright, since "),
        (Manager::Pm2, "(under PM2, since "),
    ] {
        let fleet = Fleet::start(Cell { stack, manager }).await?;
        let said = refused(&fleet.setup, "1").await?;
        let pid = &fleet.ready["web-1"]["pid"];
        let held = format!("executor id web-1 is held by process {pid} {words}");
        ensure!(said.contains(&held), "{said}");
        fleet.stop().await?;
    }
    Ok(())
}

/// Under load, with workflows in flight. PM2 runs old and new beside each other in its cluster mode, and
/// would double every pool.
async fn a_reload_of_pm2_keeps_the_bound_and_runs_every_step_once(stack: Stack) -> Result<()> {
    let manager = Manager::Pm2;
    let setup = Setup::new(stack).await?.env("FULFIL_STEP_MS", "200");
    let fleet = Fleet::from(Cell { stack, manager }, setup, 3).await?;
    let limits = Limits {
        names: declared(3, 3, 3),
        fleet: Some(18),
    };
    let sampler = Sampler::start(&fleet.setup.server.admin_url()?, sampler::PERIOD, limits).await?;
    let mut orders = Vec::new();
    for number in 0..12 {
        orders.push(fleet.desk.placed(&format!("item {number}"), TENANT).await?);
    }
    let url = fleet.desk.url("/healthz");
    let load = tokio::spawn(load::run(
        Load {
            clients: 4,
            connections: Connections::PerRequest,
            time: Duration::from_secs(8),
            requests: usize::MAX,
        },
        move |client, _| client.get(&url),
    ));
    fleet.pm2_reload().await?;
    let before = pids(&fleet.ready);
    let after = wait_until("three new workers are ready", SOON, async || {
        match fleet
            .desk
            .ready_workers(3, SOON)
            .await
            .map(|all| pids(&all))
        {
            Ok(now) if now.iter().all(|(slot, pid)| before.get(slot) != Some(pid)) => {
                Seen::Yes(now)
            }
            other => Seen::NotYet(other),
        }
    })
    .await?;
    ensure!(after.len() == 3, "{after:?}");
    let outcome = load.await??;
    // Only what a cluster shares outlives its processes; forked, each has a socket of its own (H18).
    ensure!(
        outcome.failed() == 0 || stack == Stack::Axum,
        "{:?} {:?}",
        outcome.statuses,
        outcome.errors
    );
    for id in orders {
        let order = fleet.desk.shipped(&id, TENANT, SOON).await?;
        let steps = order["steps"].as_array().into_iter().flatten();
        let steps: Vec<&Value> = steps.map(|step| &step["step"]).collect();
        ensure!(steps == ["reserve", "charge", "ship"], "{order:#}");
    }
    let seen = sampler.finish().await?;
    ensure!(seen.violations.is_empty(), "{:#?}", seen.violations);
    ensure!(seen.fleet.confirmed == 18, "{:#?}", seen.fleet);
    fleet.stop().await
}

async fn prepared(setup: Setup) -> Result<Setup> {
    setup.poolwright()?.run(&["prepare"]).await?.expect(0)?;
    Ok(setup)
}

/// A worker of nobody's, started.
async fn bare(setup: &Setup, changes: &[(&str, Option<&str>)]) -> Result<Process> {
    let worker = setup.bare_worker(changes)?;
    worker.line("its start-up line", SOON, is_start).await?;
    Ok(worker)
}

/// What a worker in `slot` says that ends with 1 because another has its id.
async fn refused(setup: &Setup, slot: &str) -> Result<String> {
    let mut worker = setup.bare_worker(&[
        ("PM2_INSTANCE_ID", Some(slot)),
        ("POOLWRIGHT_LOCK_TIMEOUT_MS", Some("500")),
    ])?;
    let refusal = |line: &str| line.contains("expected an id that no living process holds");
    let said = worker.line("that it is refused", SOON, refusal).await?;
    let status = worker.exited(SOON).await?;
    ensure!(status.code() == Some(1), "{status}: {}", worker.tail());
    ensure!(!started(&worker), "{}", worker.tail());
    Ok(said)
}

fn started(worker: &Process) -> bool {
    worker.lines().iter().any(|line| is_start(line))
}

fn is_start(line: &str) -> bool {
    line.contains("\"worker started\"")
}

fn pids(workers: &BTreeMap<String, Value>) -> BTreeMap<String, u64> {
    let pid = |(slot, said): (&String, &Value)| Some((slot.clone(), said["pid"].as_u64()?));
    workers.iter().filter_map(pid).collect()
}
