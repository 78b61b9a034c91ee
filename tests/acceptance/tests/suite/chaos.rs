//! A minute of chaos on each stack: `make chaos` for longer, and with another seed each time.

use std::time::Duration;

use acceptance::Stack;
use acceptance::chaos::{Campaign, Episode, Fault};
use anyhow::{Result, bail, ensure};

acceptance::both_stacks!(whatever_is_done_to_the_fleet_no_promise_is_broken);

/// Faults begin for this long. Their plan is the same in every run.
const TIME: Duration = Duration::from_secs(60);
const SEED: u64 = 20;

async fn whatever_is_done_to_the_fleet_no_promise_is_broken(stack: Stack) -> Result<()> {
    let campaign = Campaign {
        stack,
        seed: SEED,
        first: Vec::new(),
        time: TIME,
        without: None,
    };
    campaign.run(|_| ()).await.map(drop)
}

/// What nobody would miss is no guard: without each of them the same witness names what is broken.
async fn without(guard: &str, faults: &[Fault], broken: &str) -> Result<()> {
    let campaign = Campaign {
        stack: Stack::Axum,
        seed: SEED,
        first: faults.iter().copied().map(Episode::of).collect(),
        time: Duration::ZERO,
        without: Some(guard.to_owned()),
    };
    let Err(error) = campaign.run(|_| ()).await else {
        bail!("nobody noticed that there is no {guard}");
    };
    let said = format!("{error:#}");
    ensure!(said.contains(broken), "expected {broken:?}, found {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_does_not_wait_for_confirmation_exceeds_the_bound() -> Result<()> {
    let kill = Fault::KillInQuery(1);
    without("confirmation", &[kill, kill, kill], "bound exceeded").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_worker_of_a_slot_that_takes_no_lock_exceeds_the_bound() -> Result<()> {
    without("lock", &[Fault::Impostor(1)], "bound exceeded").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_without_a_drain_loses_requests() -> Result<()> {
    without("drain", &[Fault::Reload], "requests lost").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_is_given_up_and_not_recovered_strands_its_work() -> Result<()> {
    without("recovery", &[Fault::GiveUp], "work is stranded").await
}
