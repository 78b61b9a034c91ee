//! The pool's own counters, in Prisma's shape, against Postgres's (S7).

use std::collections::BTreeMap;
use std::time::Duration;

use acceptance::desk::Answer;
use acceptance::{Cell, Desk, Fleet, Setup};
use anyhow::{Context, Result, bail, ensure};
use poolwright_testkit::sampler::Backend;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use serde_json::Value;

acceptance::matrix!(
    the_gauges_of_every_worker_agree_with_postgres_at_rest_and_at_work,
    the_metrics_line_is_printed_when_it_is_asked_for,
);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
/// So many requests in a row reach every worker, whoever spreads them.
const REQUESTS: usize = 60;
const LIMIT: Duration = Duration::from_secs(30);

/// Open, busy, idle.
type Counts = (usize, usize, usize);

/// Requests that wait for a lock keep their connections busy for as long as the test holds the lock.
async fn the_gauges_of_every_worker_agree_with_postgres_at_rest_and_at_work(
    cell: Cell,
) -> Result<()> {
    let fleet = Fleet::start(cell).await?;
    agree(&fleet, "no connection is busy", |busy| busy == 0).await?;
    shaped_as_prisma_does(&fleet.desk.get("/metrics?format=json", None).await?.body)?;
    let text = fleet.desk.get("/metrics", None).await?;
    let text = text.body.as_str().context("the metrics are no text")?;
    ensure!(text.contains("prisma_pool_connections_open"), "{text}");

    fleet
        .while_three_wait(TENANT, async || {
            agree(&fleet, "three are busy", |busy| busy == 3).await
        })
        .await?;
    agree(&fleet, "no connection is busy", |busy| busy == 0).await?;
    fleet.stop().await
}

/// Looks at both sides until they agree and show what is wanted: between two looks a request may end.
async fn agree(fleet: &Fleet, what: &str, wanted: impl Fn(usize) -> bool) -> Result<()> {
    wait_until(
        &format!("pools and Postgres agree, and {what}"),
        LIMIT,
        async || {
            let looked = async {
                let said = said(&fleet.desk).await?;
                Ok::<_, anyhow::Error>((said, shown(&fleet.backends().await?)))
            };
            match looked.await {
                Ok((said, shown))
                    if said == shown && wanted(said.values().map(|(_, busy, _)| busy).sum()) =>
                {
                    Seen::Yes(())
                }
                other => Seen::NotYet(other),
            }
        },
    )
    .await
}

/// What the workers say, one after the other: each answer may itself borrow a connection for a moment.
async fn said(desk: &Desk) -> Result<BTreeMap<String, Counts>> {
    let mut said = BTreeMap::new();
    for _ in 0..REQUESTS {
        let Answer { worker, body, .. } = desk.get("/metrics?format=json", None).await?;
        let gauge = |name: &str| gauge(&body, &format!("prisma_pool_connections_{name}"));
        said.insert(worker, (gauge("open")?, gauge("busy")?, gauge("idle")?));
        if said.len() == 3 {
            return Ok(said);
        }
    }
    bail!("only {:?} answered {REQUESTS} requests", said.keys())
}

/// What Postgres shows.
fn shown(backends: &[Backend]) -> BTreeMap<String, Counts> {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for backend in backends {
        let Some(slot) = backend.name.strip_suffix(":prisma") else {
            continue;
        };
        let (open, busy, idle) = counts.entry(slot.to_owned()).or_default();
        *open += 1;
        *(if backend.state == "idle" { idle } else { busy }) += 1;
    }
    counts
}

fn gauge(metrics: &Value, key: &str) -> Result<usize> {
    let gauges = metrics["gauges"]
        .as_array()
        .with_context(|| format!("no gauges: {metrics}"))?;
    let gauge = gauges.iter().find(|gauge| gauge["key"] == key);
    let value = gauge.and_then(|gauge| gauge["value"].as_u64());
    Ok(usize::try_from(
        value.with_context(|| format!("no {key}: {metrics}"))?,
    )?)
}

fn shaped_as_prisma_does(metrics: &Value) -> Result<()> {
    for kind in ["counters", "gauges", "histograms"] {
        let metrics = metrics[kind]
            .as_array()
            .with_context(|| format!("no {kind}: {metrics}"))?;
        for metric in metrics {
            ensure!(
                metric["key"].is_string() && metric["description"].is_string(),
                "{metric}"
            );
            ensure!(
                metric["labels"].is_object() && !metric["value"].is_null(),
                "{metric}"
            );
        }
    }
    Ok(())
}

async fn the_metrics_line_is_printed_when_it_is_asked_for(cell: Cell) -> Result<()> {
    let setup = Setup::new(cell.stack)
        .await?
        .env("PRINT_PRISMA_POOL_METRICS", "true");
    let fleet = Fleet::from(cell, setup, 3).await?;
    let lines = wait_until(
        "every worker has printed its pool metrics",
        LIMIT,
        async || {
            let lines = fleet.worker_lines().unwrap_or_default();
            let printed = lines
                .into_iter()
                .filter(|line| line["msg"] == "prisma pool metrics");
            let printed: Vec<Value> = printed.collect();
            if printed.len() >= 3 {
                Seen::Yes(printed)
            } else {
                Seen::NotYet(printed)
            }
        },
    )
    .await?;
    for line in lines {
        ensure!(line["prisma_pool_connections_open"] == 3, "{line}");
        let (busy, idle) = (
            &line["prisma_pool_connections_busy"],
            &line["prisma_pool_connections_idle"],
        );
        ensure!(
            busy.as_u64()
                .zip(idle.as_u64())
                .is_some_and(|(b, i)| b + i == 3),
            "{line}"
        );
        shaped_as_prisma_does(&line["metrics"])?;
    }
    let Answer { status, .. } = fleet.desk.get("/healthz", None).await?;
    ensure!(status == 200, "/healthz: {status}");
    fleet.stop().await
}
