//! A worker that is killed in mid-query leaves a session that goes on: its successor waits for the session's end
//! (B3, H10).

use std::collections::BTreeSet;
use std::time::Duration;

use acceptance::{Fleet, Ledger, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::sampler::Backend;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{sampler, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::PgConnection;
use tokio::time::Instant;

use crate::reload::{pids, under_poolwright};

acceptance::both_stacks!(
    after_a_kill_in_mid_query_the_successor_opens_nothing_until_the_backend_is_gone,
);

/// How long the query takes if nobody ends it.
const QUERY: u32 = 20;

/// Within this the slot has to serve again: the session is terminated after 1.5 s, and a worker boots
/// and launches, on two busy cores.
const AGAIN: Duration = Duration::from_secs(12);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

async fn after_a_kill_in_mid_query_the_successor_opens_nothing_until_the_backend_is_gone(
    stack: Stack,
) -> Result<()> {
    let fleet = Fleet::start(under_poolwright(stack)).await?;
    Ledger::open(&fleet.setup)
        .await?
        .slow_item("Slow roast", QUERY)
        .await?;
    let mut watch = fleet.setup.server.admin().await?;
    let desk = fleet.desk.clone();
    let order = tokio::spawn(async move { desk.place("Slow roast", 1, Some(TENANT)).await });
    let name = wait_until(
        "a worker sleeps in its query",
        AGAIN,
        async || match sleeper(&mut watch).await {
            Ok(Some(name)) => Seen::Yes(name),
            other => Seen::NotYet(other),
        },
    )
    .await?;
    let slot = name.split(':').next().unwrap_or_default().to_owned();
    let url = fleet.setup.server.admin_url()?;
    let of_slot = async || -> Result<BTreeSet<(i32, i64)>> {
        let mine = |one: &Backend| one.name.starts_with(&format!("{slot}:"));
        let backends = sampler::backends(&url).await?;
        Ok(backends
            .iter()
            .filter(|one| mine(one))
            .map(|one| (one.pid, one.started))
            .collect())
    };
    let before = of_slot().await?;
    ensure!(before.len() == 6, "{slot} has {before:?}");
    let pid = pids(&fleet).await?[&slot];
    kill_process(
        Pid::from_raw(i32::try_from(pid)?).context("no pid")?,
        Signal::KILL,
    )?;
    let killed = Instant::now();

    // Every look until all six are back; nothing new stands beside anything old.
    loop {
        let now = of_slot().await?;
        let old = now.intersection(&before).count();
        ensure!(
            old == 0 || old == now.len(),
            "{:?} after the kill {slot} has opened {:?} beside {old} orphans",
            killed.elapsed(),
            now.difference(&before).collect::<Vec<_>>()
        );
        if old == 0 && now.len() == 6 {
            break;
        }
        ensure!(killed.elapsed() < AGAIN, "{slot} still has {now:?}");
    }
    ensure!(order.await?.is_err(), "the killed worker answered");
    wait_until("the slot serves again", AGAIN, async || {
        match fleet.slots().await {
            Ok(slots) if slots[&slot]["state"] == "serving" => Seen::Yes(()),
            other => Seen::NotYet(other),
        }
    })
    .await?;
    ensure!(pids(&fleet).await?[&slot] != pid, "the same process?");
    fleet.stop().await
}

/// Whose session is in `pg_sleep`.
async fn sleeper(watch: &mut PgConnection) -> Result<Option<String>> {
    let query = "SELECT application_name FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    Ok(sqlx::query_scalar(query).fetch_optional(watch).await?)
}
