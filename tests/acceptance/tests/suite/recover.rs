//! Workflows of an executor that was scaled away are finished by the others (B5, H8).

use std::time::Duration;

use acceptance::{Cell, Fleet, Ledger, Manager, Poolwright, Release, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{sampler, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::reload::{pids, under_poolwright};

acceptance::matrix!(of_three_workers_two_finish_the_twenty_workflows_that_the_third_one_left);

acceptance::both_stacks!(
    a_smaller_fleet_takes_up_at_its_start_what_a_larger_one_left,
    what_dead_executors_left_is_taken_up_where_every_role_has_its_limit_and_its_rights_alone,
);

/// A workflow is three of these: none is done when its worker leaves.
const STEP: Duration = Duration::from_secs(2);
/// Shorter than a step, so that the worker leaves in the middle of one.
const DRAIN: Duration = Duration::from_millis(700);

/// How many workflows the leaving executor has.
const LEFT: u64 = 20;

/// A worker's end, on two busy cores.
const GONE: Duration = Duration::from_secs(30);
/// Ten failures and the pauses between them.
const PARKED: Duration = Duration::from_secs(150);
/// Some sixty workflows, a third of them twice.
const SETTLED: Duration = Duration::from_secs(60);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

async fn of_three_workers_two_finish_the_twenty_workflows_that_the_third_one_left(
    cell: Cell,
) -> Result<()> {
    let setup = Setup::new(cell.stack)
        .await?
        .env("FULFIL_STEP_MS", STEP.as_millis().to_string())
        .env("DRAIN_TIMEOUT_MS", DRAIN.as_millis().to_string());
    let setup = match cell.manager {
        Manager::Poolwright => setup.declaring("drain_timeout", &format!("\"{DRAIN:?}\""))?,
        Manager::Pm2 => setup.with_pools_in_the_ecosystem_file()?,
    };
    let fleet = Fleet::from(cell, setup, 3).await?;
    let mut ledger = Ledger::open(&fleet.setup).await?;
    let leaving = leaving(cell.manager);
    place_until(&fleet, leaving, LEFT).await?;
    fleet.scale(2).await?;
    let recover = match cell.manager {
        Manager::Poolwright => {
            says_that_it_recovers(&fleet, leaving, LEFT).await?;
            fleet.setup.poolwright()?
        }
        Manager::Pm2 => by_hand(&fleet, leaving).await?,
    };
    for _ in 0..2 {
        let again = recover.json(&["recover"]).await?;
        ensure!(again["reenqueued"] == 0, "{again}");
    }
    ledger.settled_after_interruptions(SETTLED).await?;
    ledger.no_executor_was_doubled().await?;
    fleet.stop().await
}

async fn a_smaller_fleet_takes_up_at_its_start_what_a_larger_one_left(stack: Stack) -> Result<()> {
    let cell = under_poolwright(stack);
    let setup = Setup::new(stack).await?;
    let setup = setup.env("FULFIL_STEP_MS", STEP.as_millis().to_string());
    let fleet = Fleet::from(cell, setup, 3).await?;
    let mut ledger = Ledger::open(&fleet.setup).await?;
    let left = place_until(&fleet, "web-2", 3).await?;
    let setup = fleet.killed().await?.env("PM2_INSTANCES", "2");
    let fleet = Fleet::from(cell, setup, 2).await?;
    says_that_it_recovers(&fleet, "web-2", left).await?;
    ledger.settled_after_interruptions(SETTLED).await?;
    ledger.no_executor_was_doubled().await?;
    fleet.stop().await
}

/// Recovery reads and writes the tables of DBOS with a role that may do no more than that pool needs, and whose every place may be
/// taken by the workers that live.
async fn what_dead_executors_left_is_taken_up_where_every_role_has_its_limit_and_its_rights_alone(
    stack: Stack,
) -> Result<()> {
    let cell = under_poolwright(stack);
    let setup = Setup::new(stack)
        .await?
        .env("FULFIL_STEP_MS", STEP.as_millis().to_string())
        .env("DRAIN_TIMEOUT_MS", DRAIN.as_millis().to_string())
        .declaring("drain_timeout", &format!("\"{DRAIN:?}\""))?
        .adding("\n[enforce]\n")?;
    let fleet = Fleet::from(cell, setup, 3).await?;
    let mut ledger = Ledger::open(&fleet.setup).await?;

    // Scaled away, beside two that are at their bound.
    let left = place_until(&fleet, "web-2", 5).await?;
    fleet.scale(2).await?;
    says_that_it_recovers(&fleet, "web-2", left).await?;
    let again = fleet.setup.poolwright()?.json(&["recover"]).await?;
    ensure!(again["reenqueued"] == 0, "{again}");
    ledger.settled_after_interruptions(SETTLED).await?;

    // Killed, and not started again.
    let left = place_until(&fleet, "web-1", 3).await?;
    ensure!(!fleet.said().contains("53300"), "{}", fleet.said());
    let setup = fleet.killed().await?.env("PM2_INSTANCES", "1");
    let fleet = Fleet::from(cell, setup, 1).await?;
    says_that_it_recovers(&fleet, "web-1", left).await?;
    ledger.settled_after_interruptions(SETTLED).await?;
    ledger.no_executor_was_doubled().await?;
    ensure!(!fleet.said().contains("53300"), "{}", fleet.said());
    fleet.stop().await
}

/// Ten failures with growing pauses come first: a minute and a half, in which next to nothing happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_parked_slot_left_is_taken_up_by_the_others() -> Result<()> {
    let setup = Setup::new(Stack::Axum).await?;
    let setup = setup
        .env("FULFIL_STEP_MS", STEP.as_millis().to_string())
        .releasable("30s")?;
    let fleet = Fleet::from(under_poolwright(Stack::Axum), setup, 3).await?;
    let mut ledger = Ledger::open(&fleet.setup).await?;
    let left = place_until(&fleet, "web-1", 3).await?;
    fleet.setup.release(Release::FailsToBoot)?;
    let pid = i32::try_from(pids(&fleet).await?["web-1"])?;
    kill_process(Pid::from_raw(pid).context("no pid")?, Signal::KILL)?;
    let parked = |line: &str| line.starts_with("web-1 is parked after ");
    fleet.line("that it is parked", PARKED, parked).await?;
    says_that_it_recovers(&fleet, "web-1", left).await?;
    ledger.settled_after_interruptions(SETTLED).await?;
    fleet.stop().await
}

/// Places orders until this executor has so many; answers with how many it has.
async fn place_until(fleet: &Fleet, executor_id: &str, wanted: u64) -> Result<u64> {
    let mut has = 0;
    while has < wanted {
        let placed = fleet.desk.place("Espresso beans", 1, Some(TENANT)).await?;
        ensure!(placed.status == 202, "{placed:?}");
        has += u64::from(placed.worker == executor_id);
    }
    Ok(has)
}

async fn says_that_it_recovers(fleet: &Fleet, executor_id: &str, left: u64) -> Result<()> {
    let said = |line: &str| line.contains("that it left are re-enqueued");
    let line = fleet.line("that it recovers", GONE, said).await?;
    let expected = format!("{executor_id} the {left} workflows that it left are re-enqueued");
    ensure!(line.contains(&expected), "{line}");
    Ok(())
}

/// Whom `scale` takes away.
const fn leaving(manager: Manager) -> &'static str {
    match manager {
        // The lowest, whatever the ecosystem file says.
        Manager::Pm2 => "web-0",
        Manager::Poolwright => "web-2",
    }
}

/// Nobody recovers under PM2 but who is asked to; and of two who are asked at once, one.
async fn by_hand(fleet: &Fleet, leaving: &str) -> Result<Poolwright> {
    let url = fleet.setup.server.admin_url()?;
    let of_leaving = |name: &str| name.starts_with(&format!("{leaving}:"));
    wait_until(
        "the third worker is gone",
        GONE,
        async || match sampler::backends(&url).await {
            Ok(all) if !all.iter().any(|one| of_leaving(&one.name)) => Seen::Yes(()),
            other => Seen::NotYet(other),
        },
    )
    .await?;
    let recover = fleet.setup.poolwright_by_the_ecosystem_file()?;
    let looked = recover.json(&["recover", "--dry-run"]).await?;
    let found = &looked["stores"][0]["executors"][0];
    ensure!(
        found["executor_id"] == leaving && found["workflows"] == LEFT,
        "{looked}"
    );
    ensure!(found["outcome"] == "expected", "the file has it: {looked}");
    // The two that serve keep theirs, even when somebody names them.
    let living = recover
        .run(&["recover", "--executor", "web-1"])
        .await?
        .expect(1)?;
    ensure!(
        living.stderr.contains("web-1 lives and keeps its")
            && living.stderr.contains("holds its id"),
        "{living:?}"
    );

    let named = ["recover", "--executor", leaving];
    let (one, other) = tokio::try_join!(recover.json(&named), recover.json(&named))?;
    let mut moved = [reenqueued(&one)?, reenqueued(&other)?];
    moved.sort_unstable();
    ensure!(moved == [0, LEFT], "{one} {other}");
    Ok(recover)
}

fn reenqueued(report: &Value) -> Result<u64> {
    let count = report["reenqueued"].as_u64();
    count.with_context(|| format!("no count: {report}"))
}
