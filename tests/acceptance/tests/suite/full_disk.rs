//! A disk that takes no more of the log: the fleet goes on, and what is missing is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use acceptance::disk::FullDisk;
use acceptance::{Fleet, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use rustix::process::Pid;
use serde_json::Value;

use crate::reload::under_poolwright;

acceptance::both_stacks!(
    a_disk_that_is_full_costs_lines_of_the_log_that_are_counted_and_nothing_else
);

const SAID: Duration = Duration::from_secs(20);
const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// What follows a number where lines are missing.
const MISSING: &str = " lines are missing here: the disk did not take them";

async fn a_disk_that_is_full_costs_lines_of_the_log_that_are_counted_and_nothing_else(
    stack: Stack,
) -> Result<()> {
    let cell = under_poolwright(stack);
    let fleet = Fleet::from(cell, Setup::new(stack).await?, 3).await?;
    // Each file has its first lines, and the fleet takes orders.
    logged(&fleet, |records| {
        records
            .iter()
            .any(|record| record["line"] == "all workers serve")
    })
    .await?;

    let supervisor = Pid::from_raw(i32::try_from(fleet.manager_pid()?)?);
    // Some of a line still fits.
    let disk = FullDisk::of(
        supervisor.context("no supervisor")?,
        &fleet.setup.logs(),
        20,
    )?;
    fleet.reload().await?;
    works(&fleet).await?;
    fleet
        .line("that it is full", SAID, |line| {
            line.contains("the log cannot be written")
        })
        .await?;

    disk.room()?;
    fleet.reload().await?;
    works(&fleet).await?;
    let again = "the log is written again; ";
    let said = fleet
        .line("that it is not", SAID, |line| line.contains(again))
        .await?;
    let in_all = said
        .rsplit(again)
        .next()
        .and_then(|rest| rest.split(' ').next());
    let in_all: u64 = in_all.context("no number")?.parse()?;

    let records = logged(&fleet, |records| !missing(records).is_empty()).await?;
    let missing = missing(&records);
    // Each file that lacks some says so once, and all of them together say how many.
    let counted: u64 = missing.values().flatten().sum();
    ensure!(counted == in_all && counted > 0, "{in_all}: {missing:?}");
    ensure!(
        missing.values().all(|notes| notes.len() == 1),
        "{missing:?}"
    );
    ensure!(missing.len() >= 3, "of each slot: {missing:?}");
    let told = fleet.said().matches("the log cannot be written").count();
    ensure!(told <= 1, "it was told {told} times: {}", fleet.said());
    fleet.stop().await
}

/// Every worker serves, and an order is fulfilled.
async fn works(fleet: &Fleet) -> Result<()> {
    let slots = fleet.slots().await?;
    let serving = slots
        .values()
        .all(|slot| slot["state"] == "serving" && slot["failures"] == 0);
    ensure!(serving && slots.len() == 3, "{slots:?}");
    let order = fleet.desk.placed("Espresso beans", TENANT).await?;
    fleet.desk.shipped(&order, TENANT, SAID).await.map(drop)
}

/// The log, when it is as wanted.
async fn logged(fleet: &Fleet, wanted: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
    let poolwright = fleet.setup.poolwright()?;
    wait_until("the log is as wanted", SAID, async || {
        match poolwright.run(&["logs", "--json"]).await {
            Ok(answer) => {
                let lines = answer.stdout.lines().map(serde_json::from_str);
                match lines.collect::<Result<Vec<Value>, _>>() {
                    Ok(records) if wanted(&records) => Seen::Yes(records),
                    other => Seen::NotYet(format!("{other:?}")),
                }
            }
            Err(error) => Seen::NotYet(format!("{error:#}")),
        }
    })
    .await
}

/// How many lines each file says are missing, by the place where they are.
fn missing(records: &[Value]) -> BTreeMap<String, Vec<u64>> {
    let mut missing: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let line = record["line"].as_str().unwrap_or_default();
        if let Some(count) = line
            .strip_suffix(MISSING)
            .and_then(|count| count.parse().ok())
        {
            missing
                .entry(record["slot"].to_string())
                .or_default()
                .push(count);
        }
    }
    missing
}
