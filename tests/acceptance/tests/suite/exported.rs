//! What is exported is true, and nobody notices a collector that is not there.

use std::collections::BTreeMap;
use std::time::Duration;

use acceptance::{Fleet, Setup, Stack};
use anyhow::{Context, Result, ensure};
use poolwright_testkit::collector::Point;
use poolwright_testkit::sampler::Backend;
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Collector, ports, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::collected::{
    Bare, ENDPOINT, ITEM, SOON, TENANT, exporting, latest, placed_in_the_trace, settings,
    whole_trace,
};
use crate::reload::under_poolwright;

acceptance::both_stacks!(
    the_exported_pools_agree_with_postgres_at_rest_and_at_work,
    a_collector_is_trusted_by_the_certificate_that_is_named_and_only_then,
    a_collector_that_is_down_costs_one_line,
    a_collector_that_never_answers_holds_no_request_and_no_drain_up,
    without_an_endpoint_nothing_is_exported_and_nothing_of_it_is_there,
);

/// What a drain pauses for idle connections, what it gives the last telemetry, and a busy machine on top.
const DRAINED: Duration = Duration::from_secs(9);

const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// As `metrics`' claim of the same shape, seen from the collector.
async fn the_exported_pools_agree_with_postgres_at_rest_and_at_work(stack: Stack) -> Result<()> {
    let collector = Collector::start().await?;
    let setup = settings(Setup::new(stack).await?, collector.url());
    let fleet = Fleet::from(under_poolwright(stack), setup, 3).await?;
    agree(&fleet, &collector, 0).await?;
    for (slot, pool) in slots_and_pools() {
        for metric in ["db.client.connection.max", "db.client.connection.idle.max"] {
            let max = latest(&collector, metric, &slot, pool, None);
            ensure!(max == Some(3.0), "{metric} of {slot}:{pool} is {max:?}");
        }
    }

    fleet
        .while_three_wait(TENANT, async || agree(&fleet, &collector, 3).await)
        .await?;
    agree(&fleet, &collector, 0).await?;
    for metric in [
        "db.client.connection.wait_time",
        "db.client.connection.use_time",
    ] {
        wait_until(&format!("{metric} was recorded"), SOON, async || {
            let points = collector.points().into_iter();
            let recorded: Vec<Point> = points.filter(|point| point.metric == metric).collect();
            match recorded.iter().any(|p| p.count > 0 && p.unit == "s") {
                true => Seen::Yes(()),
                false => Seen::NotYet(recorded),
            }
        })
        .await?;
    }
    fleet.stop().await
}

async fn a_collector_is_trusted_by_the_certificate_that_is_named_and_only_then(
    stack: Stack,
) -> Result<()> {
    let (collector, certificate) = Collector::secured().await?;
    let directory = TempDir::new()?;
    let file = directory.path().join("collector.pem");
    std::fs::write(&file, certificate)?;
    let setup = exporting(stack, collector.url()).await?;

    let bare = Bare::start(&setup, &[]).await?;
    let complains = |line: &str| is_complaint(line);
    bare.worker
        .line("that it trusts nobody", SOON, complains)
        .await?;
    bare.stop().await?;
    ensure!(collector.requests() == 0, "it was sent something");

    let trusted = [(CERTIFICATE, file.to_str())];
    let bare = Bare::start(&setup, &trusted).await?;
    let order = placed_in_the_trace(&bare.desk).await?;
    bare.desk.shipped(&order, TENANT, SOON).await?;
    whole_trace(&collector).await?;
    let lines = bare.stop().await?;
    ensure!(!collector.points().is_empty(), "no metrics: {lines:#?}");
    ensure!(!lines.iter().any(|line| is_complaint(line)), "{lines:#?}");
    setup.server.stop().await
}

async fn a_collector_that_is_down_costs_one_line(stack: Stack) -> Result<()> {
    let nobody = format!("http://127.0.0.1:{}", ports::free_port()?);
    let setup = exporting(stack, &nobody).await?;
    let bare = Bare::start(&setup, &[]).await?;
    let complains = |line: &str| is_complaint(line);
    bare.worker
        .line("that it cannot deliver", SOON, complains)
        .await?;
    let order = bare.desk.placed(ITEM, TENANT).await?;
    bare.desk.shipped(&order, TENANT, SOON).await?;
    let lines = bare.stop().await?;
    let said = lines.iter().filter(|line| is_complaint(line)).count();
    ensure!(said == 1, "said {said} times: {lines:#?}");
    ensure!(
        !lines.iter().any(|line| line.contains("panicked")),
        "{lines:#?}"
    );
    setup.server.stop().await
}

/// The worst collector: it takes the connection, and nothing comes back.
async fn a_collector_that_never_answers_holds_no_request_and_no_drain_up(
    stack: Stack,
) -> Result<()> {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await?;
    let setup = exporting(stack, &format!("http://{}", silent.local_addr()?)).await?;
    let bare = Bare::start(&setup, &[]).await?;
    let order = bare.desk.placed(ITEM, TENANT).await?;
    bare.desk.shipped(&order, TENANT, SOON).await?;
    let begun = Instant::now();
    let lines = bare.stop().await?;
    ensure!(
        begun.elapsed() < DRAINED,
        "it took {:?} to stop: {lines:#?}",
        begun.elapsed()
    );
    let said = lines.iter().filter(|line| is_complaint(line)).count();
    ensure!(said <= 1, "said {said} times: {lines:#?}");
    setup.server.stop().await
}

async fn without_an_endpoint_nothing_is_exported_and_nothing_of_it_is_there(
    stack: Stack,
) -> Result<()> {
    let collector = Collector::start().await?;
    let setup = exporting(stack, collector.url()).await?;
    let loaded = TempDir::new()?;
    let script = loaded.path().join("loaded.cjs");
    std::fs::write(
        &script,
        "process.on('exit', () => { const all = Object.keys(require.cache); \
         console.log(JSON.stringify({ loaded: all.length, telemetry: all.filter((file) => /opentelemetry/.test(file)) })); });\n",
    )?;
    let options = format!("--require={}", script.display());
    for changes in [
        [(ENDPOINT, None), ("NODE_OPTIONS", Some(options.as_str()))],
        [
            ("OTEL_SDK_DISABLED", Some("true")),
            ("NODE_OPTIONS", Some(options.as_str())),
        ],
    ] {
        let bare = Bare::start(&setup, &changes).await?;
        let order = placed_in_the_trace(&bare.desk).await?;
        bare.desk.shipped(&order, TENANT, SOON).await?;
        let pid = bare.worker.pid().context("the worker has ended")?;
        let threads = threads(pid)?;
        ensure!(
            !threads.iter().any(|name| name.starts_with("OpenTelemetry")),
            "{threads:?}"
        );
        let lines = bare.stop().await?;
        ensure!(
            !lines.iter().any(|line| line.contains("trace_id")),
            "{lines:#?}"
        );
        if stack == Stack::Sveltekit {
            let said = lines.iter().find_map(|line| {
                serde_json::from_str::<Value>(line)
                    .ok()
                    .filter(|line| line["loaded"].is_u64())
            });
            let said = said.with_context(|| format!("nothing was said of modules: {lines:#?}"))?;
            ensure!(
                said["loaded"].as_u64() > Some(0) && said["telemetry"] == json!([]),
                "{said:#}"
            );
        }
    }
    ensure!(
        collector.requests() == 0,
        "the collector was sent {} requests",
        collector.requests()
    );
    setup.server.stop().await
}

fn is_complaint(line: &str) -> bool {
    line.contains("the telemetry collector does not take what it is sent")
}

fn slots_and_pools() -> impl Iterator<Item = (String, &'static str)> {
    let slots = (0..3).map(|index| format!("web-{index}"));
    slots.flat_map(|slot| ["prisma", "dbos"].map(|pool| (slot.clone(), pool)))
}

/// Looks at both sides until the newest numbers of every worker are Postgres' own and so many of the ORM's connections are used.
async fn agree(fleet: &Fleet, collector: &Collector, used: usize) -> Result<()> {
    wait_until(
        &format!("the exported pools are Postgres' own, {used} connections used"),
        SOON,
        async || {
            let shown = match fleet.backends().await {
                Ok(backends) => shown(&backends),
                Err(error) => return Seen::NotYet(error.to_string()),
            };
            let said = said(collector);
            let busy: usize = shown
                .iter()
                .filter(|((name, state), _)| name.ends_with(":prisma") && *state == "used")
                .map(|(_, count)| count)
                .sum();
            if said == shown && busy == used {
                Seen::Yes(())
            } else {
                Seen::NotYet(format!("{said:?} and {shown:?}"))
            }
        },
    )
    .await
}

/// Connections by name and state. Of the DBOS pool the sum alone: what LISTEN pins is used to one side and idle to the other.
type Counts = BTreeMap<(String, &'static str), usize>;

fn shown(backends: &[Backend]) -> Counts {
    let mut counts = Counts::new();
    for (slot, pool) in slots_and_pools() {
        let name = format!("{slot}:{pool}");
        for state in states(pool) {
            let of_state = |backend: &&Backend| {
                backend.name == name
                    && match *state {
                        "idle" => backend.state == "idle",
                        "used" => backend.state != "idle",
                        _ => true,
                    }
            };
            let count = backends.iter().filter(of_state).count();
            counts.insert((name.clone(), *state), count);
        }
    }
    counts
}

fn said(collector: &Collector) -> Counts {
    let mut counts = Counts::new();
    for (slot, pool) in slots_and_pools() {
        let count = |state| {
            latest(
                collector,
                "db.client.connection.count",
                &slot,
                pool,
                Some(state),
            )
        };
        for state in states(pool) {
            let number = match *state {
                "open" => count("idle")
                    .zip(count("used"))
                    .map(|(idle, used)| idle + used),
                state => count(state),
            };
            // What was not exported yet is no number of connections.
            let number = number.map_or(usize::MAX, whole);
            counts.insert((format!("{slot}:{pool}"), *state), number);
        }
    }
    counts
}

fn states(pool: &str) -> &'static [&'static str] {
    match pool {
        "dbos" => &["open"],
        _ => &["idle", "used"],
    }
}

#[expect(
    clippy::as_conversions,
    reason = "a count of connections, sent as a whole number"
)]
fn whole(number: f64) -> usize {
    number as usize
}

/// The names of a process's threads.
fn threads(pid: u32) -> Result<Vec<String>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task?.path().join("comm"))?;
        Ok(name.trim_end().to_owned())
    };
    tasks.map(name).collect()
}
