//! A release that is no good does not take the fleet down: the reload stops, and says which slot and why.

use std::time::Duration;

use acceptance::{Fleet, Release, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::load::Connections;
use serde_json::Value;

use crate::reload::{ask, lines, pids, under_poolwright, without_failures};

acceptance::both_stacks!(
    a_release_that_does_not_boot_becomes_ready_or_live_stops_the_reload_and_the_fleet_serves_on,
);

/// Until every worker of a good release has answered, on two busy cores.
const READY: Duration = Duration::from_secs(30);

/// How long a worker may boot, and again launch: enough for the application, and few seconds to wait for
/// what never comes.
const READY_TIMEOUT: &str = "6s";

async fn a_release_that_does_not_boot_becomes_ready_or_live_stops_the_reload_and_the_fleet_serves_on(
    stack: Stack,
) -> Result<()> {
    let setup = Setup::new(stack).await?.releasable(READY_TIMEOUT)?;
    let fleet = Fleet::from(under_poolwright(stack), setup, 3).await?;
    let load = ask(&fleet, Connections::KeepAlive, 5)?;

    let before = pids(&fleet).await?;
    let failure = failed_reload(&fleet, Release::FailsToBoot).await?;
    says(&failure, "exited with code 3")?;
    ensure!(
        failure["last_words"][0] == "no such module: order-desk-v2",
        "{failure:#}"
    );
    ensure!(
        pids(&fleet).await? == before,
        "a release that does not boot replaced a worker"
    );

    for (release, words) in [
        (Release::NeverReady, "did not become ready within"),
        (Release::DiesAfterReady, "exited with code 7"),
    ] {
        let before = pids(&fleet).await?;
        says(&failed_reload(&fleet, release).await?, words)?;
        let slots = fleet.slots().await?;
        for slot in ["web-1", "web-2"] {
            ensure!(
                slots[slot]["state"] == "serving"
                    && slots[slot]["pid"].as_u64() == before.get(slot).copied(),
                "{release:?} reached {slot}: {slots:#?}"
            );
        }
        fleet.setup.release(Release::Good)?;
        let poolwright = fleet.setup.poolwright()?;
        poolwright.run(&["reload"]).await?.expect(0)?;
        fleet.desk.ready_workers(3, READY).await?;
    }
    without_failures(load, 50).await?;
    fleet.stop().await
}

/// Puts a release in place and reloads: it has to stop at the first slot. Answers with the failure.
async fn failed_reload(fleet: &Fleet, release: Release) -> Result<Value> {
    fleet.setup.release(release)?;
    let poolwright = fleet.setup.poolwright()?;
    let told = poolwright.run(&["reload", "--json"]).await?.expect(1)?;
    let lines = lines(&told.stdout)?;
    let end = lines.last().context("the reload told nothing")?;
    ensure!(
        end["event"] == "done" && end["failure"]["slot"] == "web-0",
        "{release:?}: {told:#?}"
    );
    ensure!(
        told.stderr.contains("web-0"),
        "{release:?} is not explained to people: {told:#?}"
    );
    Ok(end["failure"].clone())
}

fn says(failure: &Value, words: &str) -> Result<()> {
    let reason = failure["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains(words), "expected {words:?} in {failure:#}");
    Ok(())
}
