//! One stack, measured once, on an empty Postgres of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use serde::Serialize;
use sqlx::PgConnection;

use crate::client::{Answers, Until, ask};

pub(crate) const CLIENTS: usize = 30;
pub(crate) const WORKERS: usize = 3;
/// A full page of the list.
pub(crate) const LISTED: usize = 50;
/// Node needs it to compile what is hot.
pub(crate) const WARM_UP: Duration = Duration::from_secs(3);
pub(crate) const READS: Duration = Duration::from_secs(8);
pub(crate) const ORDERS: usize = 1500;
/// All orders of the slower stack, several times over.
const COMPLETED: Duration = Duration::from_secs(180);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// Answers of `GET /api/orders` per second.
    pub(crate) reads_per_second: f64,
    /// Their median time.
    pub(crate) read_p50_ms: f64,
    /// The time that 99 of 100 did not exceed.
    pub(crate) read_p99_ms: f64,
    /// Processor time of the workers for one of them, in microseconds.
    pub(crate) read_cpu_us: f64,
    /// Orders placed and shipped per second: three steps, two transactions and more each.
    pub(crate) orders_per_second: f64,
    /// Proportional set size per worker when it was ready, the median of the workers.
    pub(crate) idle_mib: f64,
    /// The same after all load.
    pub(crate) loaded_mib: f64,
    /// What of one core the load generator itself took during the reads.
    pub(crate) generator_cores: f64,
    /// The server's version.
    pub(crate) postgres: String,
}

/// Starts the fleet, measures, stops it.
pub(crate) async fn measure(stack: Stack) -> Result<Figures> {
    // The durable sleep is idle time by design; here it would only put off the last orders.
    let setup = Setup::new(stack)
        .await?
        .env("FULFIL_SLEEP_MS", "0")
        .env("NODE_ENV", "production");
    let fleet = Fleet::from(
        Cell {
            stack,
            manager: Manager::Poolwright,
        },
        setup,
        WORKERS,
    )
    .await?;
    let port = fleet.setup.port;
    let mut admin = fleet.setup.server.connect("order_desk").await?;
    let postgres: String = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&mut admin)
        .await?;
    let idle_mib = memory(&fleet)?;

    ask(port, CLIENTS, Until::Requests(LISTED), post(), 202).await?;
    shipped(&mut admin, LISTED).await?;
    ask(port, CLIENTS, Until::Time(WARM_UP), get(), 200).await?;
    let (generator, workers) = (own_cpu()?, workers_cpu(&fleet)?);
    let reads = ask(port, CLIENTS, Until::Time(READS), get(), 200).await?;
    let generator_cores = (own_cpu()? - generator) / reads.elapsed.as_secs_f64();

    let read_cpu = workers_cpu(&fleet)? - workers;
    let read_cpu_us = read_cpu * 1e6 / f64::from(u32::try_from(reads.latencies.len())?);

    let begin = Instant::now();
    ask(port, CLIENTS, Until::Requests(ORDERS), post(), 202).await?;
    shipped(&mut admin, LISTED + ORDERS).await?;
    let orders_per_second = rate(ORDERS, begin.elapsed())?;

    let loaded_mib = memory(&fleet)?;
    drop(admin);
    fleet.stop().await?;
    Ok(Figures {
        reads_per_second: reads_per_second(&reads)?,
        read_p50_ms: reads.percentile_ms(50),
        read_p99_ms: reads.percentile_ms(99),
        read_cpu_us,
        orders_per_second,
        idle_mib,
        loaded_mib,
        generator_cores,
        postgres,
    })
}

fn reads_per_second(reads: &Answers) -> Result<f64> {
    rate(reads.latencies.len(), reads.elapsed)
}

fn rate(count: usize, time: Duration) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?) / time.as_secs_f64())
}

fn get() -> String {
    format!("GET /api/orders HTTP/1.1\r\nhost: localhost\r\nx-tenant-id: {TENANT}\r\n\r\n")
}

fn post() -> String {
    let body = r#"{"item":"Espresso beans","quantity":2}"#;
    format!(
        "POST /api/orders HTTP/1.1\r\nhost: localhost\r\nx-tenant-id: {TENANT}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Waits until so many orders are shipped.
async fn shipped(admin: &mut PgConnection, orders: usize) -> Result<()> {
    let wanted = i64::try_from(orders)?;
    let count = "SELECT count(*) FROM orders WHERE status = 'shipped'";
    wait_until(
        &format!("{orders} orders are shipped"),
        COMPLETED,
        async || match sqlx::query_scalar::<_, i64>(count)
            .fetch_one(&mut *admin)
            .await
        {
            Ok(count) if count >= wanted => Seen::Yes(()),
            other => Seen::NotYet(other),
        },
    )
    .await
}

/// The worker's processes, as they named themselves.
fn pids(fleet: &Fleet) -> Result<Vec<u64>> {
    let pid = |(slot, ready): (&String, &serde_json::Value)| {
        let pid = ready["pid"].as_u64();
        pid.with_context(|| format!("no pid of {slot}"))
    };
    fleet.ready.iter().map(pid).collect()
}

/// The median worker's proportional set size in MiB: pages that workers share count once in all.
fn memory(fleet: &Fleet) -> Result<f64> {
    let mut sizes = Vec::new();
    for pid in pids(fleet)? {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find(|line| line.starts_with("Pss:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: u32 = kib
            .with_context(|| format!("no Pss of process {pid}"))?
            .parse()?;
        sizes.push(f64::from(kib) / 1024.0);
    }
    median(sizes).context("no workers")
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Seconds of processor time that this process has used, all of it in its one thread.
fn own_cpu() -> Result<f64> {
    processor_time(Path::new("/proc/self"))
}

/// The same of all workers and their threads.
fn workers_cpu(fleet: &Fleet) -> Result<f64> {
    let mut seconds = 0.0;
    for pid in pids(fleet)? {
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            seconds += processor_time(&task?.path())?;
        }
    }
    Ok(seconds)
}

/// In nanoseconds in the file, whatever the kernel's tick is.
fn processor_time(directory: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(directory.join("schedstat"))?;
    let nanoseconds: u64 = text.split(' ').next().context("no schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}
