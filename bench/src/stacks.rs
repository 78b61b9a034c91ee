//! The two stacks: each measured alone, on an empty Postgres of its own.

use std::time::{Duration, Instant};

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use serde::Serialize;
use sqlx::PgConnection;

use crate::client::{Connections, Until, ask, per_second};
use crate::process::{self, own_cpu};
use crate::report::{Spread, say};

pub(crate) const CLIENTS: usize = 30;
pub(crate) const WORKERS: usize = 3;
/// A full page of the list.
pub(crate) const LISTED: usize = 50;
/// Node needs it to compile what is hot.
pub(crate) const WARM_UP: Duration = Duration::from_secs(3);
pub(crate) const READS: Duration = Duration::from_secs(6);
pub(crate) const ORDERS: usize = 1500;
/// All orders of the slower stack, several times over.
const COMPLETED: Duration = Duration::from_secs(180);

const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// Every round of both.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Stacks {
    pub(crate) axum: Vec<Figures>,
    pub(crate) sveltekit: Vec<Figures>,
}

/// Measures both, alternating, so that whatever else the machine does meets both.
pub(crate) async fn compare(rounds: usize) -> Result<Stacks> {
    let mut stacks = Stacks::default();
    for _ in 0..rounds {
        for stack in [Stack::Axum, Stack::Sveltekit] {
            let figures = measure(stack, &[]).await?;
            say(&format!(
                "{:<10} {:>8.0} reads/s {:>8.1} orders/s {:>7.1} MiB",
                stack.name(),
                figures.reads_per_second,
                figures.orders_per_second,
                figures.loaded_mib
            ));
            match stack {
                Stack::Axum => stacks.axum.push(figures),
                Stack::Sveltekit => stacks.sveltekit.push(figures),
            }
        }
    }
    Ok(stacks)
}

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
}

/// Starts the fleet with these variables, measures, stops it.
pub(crate) async fn measure(stack: Stack, variables: &[(&str, String)]) -> Result<Figures> {
    // The durable sleep is idle time by design; here it would only put off the last orders.
    let mut setup = Setup::new(stack)
        .await?
        .env("FULFIL_SLEEP_MS", "0")
        .env("NODE_ENV", "production");
    for (name, value) in variables {
        setup = setup.env(name, value);
    }
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
    let kept = Connections::Kept;
    let mut admin = fleet.setup.server.connect("order_desk").await?;
    let idle_mib = memory(&fleet)?;

    ask(port, kept, CLIENTS, Until::Requests(LISTED), post(), 202).await?;
    shipped(&mut admin, LISTED).await?;
    ask(port, kept, CLIENTS, Until::Time(WARM_UP), get(), 200).await?;
    let (generator, workers) = (own_cpu()?, workers_cpu(&fleet)?);
    let reads = ask(port, kept, CLIENTS, Until::Time(READS), get(), 200).await?;
    let generator_cores = (own_cpu()? - generator) / reads.elapsed.as_secs_f64();

    let read_cpu = workers_cpu(&fleet)? - workers;
    let read_cpu_us = read_cpu * 1e6 / f64::from(u32::try_from(reads.latencies.len())?);

    let begin = Instant::now();
    ask(port, kept, CLIENTS, Until::Requests(ORDERS), post(), 202).await?;
    shipped(&mut admin, LISTED + ORDERS).await?;
    let orders_per_second = per_second(ORDERS, begin.elapsed())?;

    let loaded_mib = memory(&fleet)?;
    drop(admin);
    fleet.stop().await?;
    Ok(Figures {
        reads_per_second: reads.per_second()?,
        read_p50_ms: reads.percentile_ms(50),
        read_p99_ms: reads.percentile_ms(99),
        read_cpu_us,
        orders_per_second,
        idle_mib,
        loaded_mib,
        generator_cores,
    })
}

pub(crate) fn get() -> String {
    format!("GET /api/orders HTTP/1.1\r\nhost: localhost\r\nx-tenant-id: {TENANT}\r\n\r\n")
}

pub(crate) fn post() -> String {
    let body = r#"{"item":"Espresso beans","quantity":2}"#;
    format!(
        "POST /api/orders HTTP/1.1\r\nhost: localhost\r\nx-tenant-id: {TENANT}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Waits until so many orders are shipped.
pub(crate) async fn shipped(admin: &mut PgConnection, orders: usize) -> Result<()> {
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
fn pids(fleet: &Fleet) -> Result<Vec<u32>> {
    let pid = |(slot, ready): (&String, &serde_json::Value)| {
        let pid = ready["pid"].as_u64();
        let pid = pid.with_context(|| format!("no pid of {slot}"))?;
        Ok(u32::try_from(pid)?)
    };
    fleet.ready.iter().map(pid).collect()
}

/// The median worker's.
fn memory(fleet: &Fleet) -> Result<f64> {
    let sizes = pids(fleet)?.into_iter().map(process::memory_mib);
    let sizes = sizes.collect::<Result<Vec<_>>>()?;
    Ok(Spread::of(sizes).context("no workers")?.median)
}

/// Of all workers.
fn workers_cpu(fleet: &Fleet) -> Result<f64> {
    pids(fleet)?.into_iter().map(process::cpu).sum()
}
