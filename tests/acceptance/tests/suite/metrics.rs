//! The pool's own counters, in Prisma's shape, against Postgres's (S7).

use std::collections::BTreeMap;
use std::time::Duration;

use acceptance::desk::Answer;
use acceptance::{Cell, Fleet, Setup};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::sampler::Backend;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use serde_json::Value;

acceptance::matrix!(
    the_gauges_of_every_worker_agree_with_postgres_at_rest_and_at_work,
    the_metrics_line_is_printed_when_it_is_asked_for,
);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const LIMIT: Duration = Duration::from_secs(30);

/// Open, busy, idle.
type Counts = (usize, usize, usize);

async fn the_gauges_of_every_worker_agree_with_postgres_at_rest_and_at_work(
    cell: Cell,
) -> Result<()> {
    // A step that takes its time keeps its transaction open: a connection is then busy for long
    // enough to be seen from both sides.
    let setup = Setup::new(cell.stack).await?.env("FULFIL_STEP_MS", "3000");
    let fleet = Fleet::from(cell, setup, 3).await?;
    agree(&fleet, "no connection is busy", |busy| busy == 0).await?;

    let metrics = fleet.desk.get("/metrics?format=json", None).await?;
    shaped_as_prisma_does(&metrics.body)?;
    let text = fleet.desk.get("/metrics", None).await?;
    let text = text.body.as_str().context("the metrics are no text")?;
    ensure!(text.contains("prisma_pool_connections_open"), "{text}");

    for _ in 0..6 {
        fleet.desk.placed("Espresso beans", TENANT).await?;
    }
    agree(&fleet, "some connection is busy", |busy| busy > 0).await?;
    fleet.stop().await
}

/// Looks at both sides until they agree and show what is wanted: between two looks a step may end.
async fn agree(fleet: &Fleet, what: &str, wanted: impl Fn(usize) -> bool) -> Result<()> {
    wait_until(
        &format!("pools and Postgres agree, and {what}"),
        LIMIT,
        async || {
            let looked = async {
                let said = said(fleet).await?;
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

/// What the workers say.
async fn said(fleet: &Fleet) -> Result<BTreeMap<String, Counts>> {
    let answers = fleet
        .desk
        .from_every_worker("/metrics?format=json", 3, LIMIT)
        .await?;
    let counts = answers.into_iter().map(|(slot, metrics)| {
        let gauge = |name: &str| gauge(&metrics, &format!("prisma_pool_connections_{name}"));
        Ok((slot, (gauge("open")?, gauge("busy")?, gauge("idle")?)))
    });
    counts.collect()
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
