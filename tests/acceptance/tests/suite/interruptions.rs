//! Workflows that outlast a drain: whoever takes them over repeats at most the step that was running, and none is left
//! behind (H7).

use std::time::Duration;

use acceptance::{Fleet, Ledger, Setup, Stack};
use anyhow::{Result, ensure};
use futures::future::try_join_all;
use serde_json::json;

use crate::reload::under_poolwright;

acceptance::both_stacks!(
    a_workflow_that_outlasts_the_drain_is_taken_over_and_repeats_at_most_the_step_that_was_running,
);

/// Longer than a worker may drain: no workflow that runs when its worker is told to leave can finish a step.
const STEP: Duration = Duration::from_secs(2);
const DRAIN: &str = "\"700ms\"";

/// Enough for every executor to have some.
const ORDERS: usize = 12;

/// Three steps each, interrupted up to three times, on two busy cores.
const SETTLED: Duration = Duration::from_secs(60);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

async fn a_workflow_that_outlasts_the_drain_is_taken_over_and_repeats_at_most_the_step_that_was_running(
    stack: Stack,
) -> Result<()> {
    let setup = Setup::new(stack)
        .await?
        .env("FULFIL_STEP_MS", STEP.as_millis().to_string())
        .declaring("drain_timeout", DRAIN)?;
    let fleet = Fleet::from(under_poolwright(stack), setup, 3).await?;
    let mut ledger = Ledger::open(&fleet.setup).await?;
    try_join_all((0..ORDERS).map(|_| fleet.desk.placed("Espresso beans", TENANT))).await?;

    // From now on they are in one of their steps, each longer than anybody may drain.
    fleet
        .setup
        .poolwright()?
        .run(&["reload"])
        .await?
        .expect(0)?;

    ledger.settled_after_interruptions(SETTLED).await?;
    ledger.no_executor_was_doubled().await?;
    // Every order was begun by one of the first workers.
    let first: Vec<_> = fleet.ready.values().map(|ready| &ready["pid"]).collect();
    let processes = ledger.processes().await?;
    ensure!(
        processes.iter().any(|pid| !first.contains(&&json!(pid))),
        "nothing was taken over: {first:?} did every step"
    );
    fleet.stop().await
}
