//! Reloads and scaling under load: no request fails, the bound holds, no step runs twice (B2, B3, B10).

use std::collections::BTreeMap;
use std::time::Duration;

use acceptance::bound::{declared, held, overhead};
use acceptance::{Cell, Fleet, Ledger, Manager, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::built;
use poolwright_testkit::load::{self, Connections, Load, Running};
use poolwright_testkit::sampler::{Limits, Report, Sampler};
use reqwest::Method;
use serde_json::{Value, json};

acceptance::both_stacks!(
    rolling_reloads_under_load_lose_no_request_and_never_exceed_the_bound,
    scaling_under_load_loses_no_request_and_no_workflow_and_a_plan_that_does_not_fit_is_refused,
);

/// With this variable set (`make soak`) it goes on until there were 20 reloads and 100,000 requests, from 30 clients of each
/// kind, and what was counted is left in `artifacts`.
const LONG: &str = "POOLWRIGHT_TEST_LONG";

/// How often the sessions are looked at.
const PERIOD: Duration = Duration::from_millis(5);

/// One request of this many places an order, the others read.
const PLACES_ONE_IN: usize = 40;

/// How long workflows in flight may take to be done, when nothing is asked any more.
const SETTLED: Duration = Duration::from_secs(30);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

pub(crate) const fn under_poolwright(stack: Stack) -> Cell {
    Cell {
        stack,
        manager: Manager::Poolwright,
    }
}

async fn rolling_reloads_under_load_lose_no_request_and_never_exceed_the_bound(
    stack: Stack,
) -> Result<()> {
    let (reloads, requests, clients) = match std::env::var_os(LONG) {
        Some(_) => (20, 100_000, 30),
        None => (5, 0, 15),
    };
    let cell = under_poolwright(stack);
    let fleet = Fleet::start(cell).await?;
    let mut ledger = Ledger::open(&fleet.setup).await?;
    let sampler = watch(cell, &fleet.setup, 3).await?;
    let kept = ask(&fleet, Connections::KeepAlive, clients)?;
    let fresh = ask(&fleet, Connections::PerRequest, clients)?;

    let poolwright = fleet.setup.poolwright()?;
    let mut pids = pids(&fleet).await?;
    let mut reload = 0;
    while reload < reloads || kept.sent() + fresh.sent() < requests {
        reload += 1;
        let told = poolwright.run(&["reload", "--json"]).await;
        let told = told
            .and_then(|told| told.expect(0))
            .with_context(|| format!("reload {reload}: {}", fleet.said()))?;
        let lines = lines(&told.stdout)?;
        let serving = steps(&lines, "serves");
        ensure!(
            serving == ["web-0", "web-1", "web-2"],
            "reload {reload}: {lines:#?}"
        );
        let after = self::pids(&fleet).await?;
        ensure!(
            after.len() == 3 && after.iter().all(|(slot, pid)| pids.get(slot) != Some(pid)),
            "reload {reload} replaced {pids:?} by {after:?}"
        );
        pids = after;
    }

    let kept = without_failures(kept, 100).await?;
    let fresh = without_failures(fresh, 100).await?;
    let seen = sampler.finish().await?;
    within_bound(&seen, cell, &fleet.setup, 3).await?;
    let orders = ledger.settled(SETTLED).await?;
    ensure!(orders > 10, "hardly any orders");
    ledger.no_executor_was_doubled().await?;
    record(
        stack,
        &json!({
            "reloads": reload,
            "requests_keep_alive": kept,
            "requests_connection_each": fresh,
            "failed": 0,
            "samples": seen.samples,
            "peak_backends": seen.fleet.confirmed,
            "orders": orders,
            "steps_run_twice": 0,
        }),
    )?;
    let verdict = poolwright.json(&["verify"]).await?;
    ensure!(verdict["holds"] == true, "{verdict:#}");
    fleet.stop().await
}

async fn scaling_under_load_loses_no_request_and_no_workflow_and_a_plan_that_does_not_fit_is_refused(
    stack: Stack,
) -> Result<()> {
    let cell = under_poolwright(stack);
    let fleet = Fleet::start(cell).await?;
    let mut ledger = Ledger::open(&fleet.setup).await?;
    let sampler = watch(cell, &fleet.setup, 5).await?;
    let load = ask(&fleet, Connections::KeepAlive, 15)?;
    let poolwright = fleet.setup.poolwright()?;

    let refused = poolwright.run(&["scale", "web=20"]).await?.expect(3)?;
    ensure!(
        refused.stderr.contains("web=20") && refused.stderr.contains("121 connections needed"),
        "{refused:#?}"
    );
    ensure!(
        fleet.slots().await?.len() == 3,
        "a refused scaling changed the fleet"
    );

    poolwright.run(&["scale", "web=5"]).await?.expect(0)?;
    let slots = fleet.slots().await?;
    ensure!(
        slots.len() == 5 && slots.values().all(|slot| slot["state"] == "serving"),
        "{slots:#?}"
    );
    let verdict = poolwright.json(&["verify"]).await?;
    ensure!(
        verdict["holds"] == true && verdict["bound"] == 30 && verdict["peak"] == 30,
        "{verdict:#}"
    );

    poolwright.run(&["scale", "web=2"]).await?.expect(0)?;
    let left: Vec<String> = fleet.slots().await?.into_keys().collect();
    ensure!(left == ["web-0", "web-1"], "left: {left:?}");
    without_failures(load, 100).await?;
    within_bound(&sampler.finish().await?, cell, &fleet.setup, 5).await?;
    ledger.settled(SETTLED).await?;
    let verdict = poolwright.json(&["verify"]).await?;
    ensure!(
        verdict["holds"] == true && verdict["bound"] == 12 && verdict["peak"] == 12,
        "{verdict:#}"
    );
    fleet.stop().await
}

/// Leaves what was counted for whoever wants to write it down.
fn record(stack: Stack, counted: &Value) -> Result<()> {
    let folder = built::repository().join("artifacts");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("reloads-{}.json", stack.name()));
    Ok(std::fs::write(file, format!("{counted:#}\n"))?)
}

/// Samples with the limits of so many workers.
pub(crate) async fn watch(cell: Cell, setup: &Setup, workers: usize) -> Result<Sampler> {
    let mut names = declared(workers, 3, 3);
    names.extend(overhead(cell, setup).await?);
    Sampler::start(
        &setup.server.admin_url()?,
        PERIOD,
        Limits { names, fleet: None },
    )
    .await
}

/// No pool had more than its number, and there was no session that no pool accounts for: together that is the
/// bound.
pub(crate) async fn within_bound(
    seen: &Report,
    cell: Cell,
    setup: &Setup,
    workers: usize,
) -> Result<()> {
    let mut known = declared(workers, 3, 3);
    known.extend(overhead(cell, setup).await?);
    held(seen, &known)
}

/// Clients that read, and now and then place an order, until they are told to stop.
pub(crate) fn ask(fleet: &Fleet, connections: Connections, clients: usize) -> Result<Running> {
    let load = Load {
        clients,
        connections,
        time: Duration::MAX,
        requests: usize::MAX,
    };
    let url = fleet.desk.url("/api/orders");
    load::start(load, move |client, number| {
        let request = |method| client.request(method, &url).header("x-tenant-id", TENANT);
        if number % PLACES_ONE_IN == 0 {
            request(Method::POST).json(&json!({ "item": "Espresso beans", "quantity": 2 }))
        } else {
            request(Method::GET)
        }
    })
}

/// Ends the load: every one of at least so many requests was answered with success. Answers with how many.
pub(crate) async fn without_failures(load: Running, at_least: usize) -> Result<usize> {
    let outcome = load.finish().await?;
    ensure!(
        outcome.failed() == 0,
        "of {} requests {} failed: {:?} {:?}",
        outcome.succeeded() + outcome.failed(),
        outcome.failed(),
        outcome.statuses,
        outcome.errors
    );
    ensure!(
        outcome.succeeded() >= at_least,
        "hardly any answers: {:?}",
        outcome.statuses
    );
    Ok(outcome.succeeded())
}

/// The process in each slot.
pub(crate) async fn pids(fleet: &Fleet) -> Result<BTreeMap<String, u64>> {
    let slots = fleet.slots().await?;
    let pid = |slot: Value| {
        slot["pid"]
            .as_u64()
            .with_context(|| format!("no pid: {slot}"))
    };
    slots
        .into_iter()
        .map(|(name, slot)| Ok((name, pid(slot)?)))
        .collect()
}

/// The objects that a command printed, one a line.
pub(crate) fn lines(printed: &str) -> Result<Vec<Value>> {
    let read = |line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
    printed.lines().map(read).collect()
}

/// The slots that did this, in order.
pub(crate) fn steps(lines: &[Value], step: &str) -> Vec<String> {
    let these = lines.iter().filter(|line| line["step"] == step);
    let slot = |line: &Value| line["slot"].as_str().unwrap_or_default().to_owned();
    these.map(slot).collect()
}
