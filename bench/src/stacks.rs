//! The two stacks: each measured alone, on an empty Postgres of its own.

use std::time::{Duration, Instant};

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::client::{Answers, Connections, Until, ask, per_second};
use crate::process::{self, own_cpu};
use crate::report::{Spread, say};

pub(crate) const CLIENTS: usize = 30;
pub(crate) const WORKERS: usize = 3;
/// A full page of the list.
pub(crate) const LISTED: usize = 50;
/// How many reads and orders go before, while nobody measures. Node needs them to compile what is hot: a worker is slower for its first thousands, and
/// the more so the more code it runs.
pub(crate) const READS_BEFORE: usize = 12_000;
pub(crate) const ORDERS_BEFORE: usize = 450;
/// How often a fleet is asked, and for what each time. Short: a machine that is shared is not the same for long, and two fleets that are
/// compared take turns.
pub(crate) const READ_TURNS: usize = 12;
pub(crate) const READS: Duration = Duration::from_secs(1);
pub(crate) const ORDER_TURNS: usize = 6;
pub(crate) const ORDERS: usize = 150;
/// All orders of the slower stack, several times over.
const COMPLETED: Duration = Duration::from_secs(180);

pub(crate) const TENANT: &str = "11111111-1111-4111-8111-111111111111";

/// Every round of both.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stacks {
    pub(crate) axum: Vec<Figures>,
    pub(crate) sveltekit: Vec<Figures>,
}

/// Measures both, alternating, so that whatever else the machine does meets both.
pub(crate) async fn compare(rounds: usize) -> Result<Stacks> {
    let mut stacks = Stacks::default();
    for _ in 0..rounds {
        for stack in [Stack::Axum, Stack::Sveltekit] {
            let figures = measure(stack).await?;
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Processor time of the workers for one of them, in microseconds.
    pub(crate) order_cpu_us: f64,
    /// Proportional set size per worker when it was ready, the median of the workers.
    pub(crate) idle_mib: f64,
    /// The same after all load.
    pub(crate) loaded_mib: f64,
    /// What of one core the load generator itself took during the reads.
    pub(crate) generator_cores: f64,
}

/// What was measured in one turn: reads, or orders that were completed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) per_second: f64,
    /// Processor time of the workers for one, in microseconds.
    pub(crate) cpu_us: f64,
}

/// A fleet to be measured: asked in slices, so that two of them can take turns.
pub(crate) struct Measured {
    fleet: Fleet,
    admin: PgConnection,
    placed: usize,
    idle_mib: f64,
    reads: Answers,
    shipped: usize,
    orders: Duration,
    /// What reads and orders took of processors, in seconds: the workers', and the generator's for reads.
    reads_cpu: f64,
    orders_cpu: f64,
    generator_cpu: f64,
}

impl Measured {
    /// Starts it with these variables. There is a page of orders to be listed; nothing else has been done yet.
    pub(crate) async fn start(stack: Stack, variables: &[(&str, String)]) -> Result<Self> {
        // The durable sleep is idle time by design; here it would only put off the last orders.
        let mut setup = Setup::new(stack)
            .await?
            .env("FULFIL_SLEEP_MS", "0")
            .env("NODE_ENV", "production");
        for (name, value) in variables {
            setup = setup.env(name, value);
        }
        let manager = Manager::Poolwright;
        let fleet = Fleet::from(Cell { stack, manager }, setup, WORKERS).await?;
        let mut admin = fleet.setup.server.connect("order_desk").await?;
        let idle_mib = memory(&fleet)?;
        let port = fleet.setup.port;
        place(port, LISTED).await?;
        shipped(&mut admin, LISTED).await?;
        Ok(Self {
            fleet,
            admin,
            placed: LISTED,
            idle_mib,
            reads: Answers::default(),
            shipped: 0,
            orders: Duration::ZERO,
            reads_cpu: 0.0,
            orders_cpu: 0.0,
            generator_cpu: 0.0,
        })
    }

    /// So many reads and orders that nobody measures.
    pub(crate) async fn warm(&mut self, reads: usize, orders: usize) -> Result<()> {
        let port = self.fleet.setup.port;
        if reads > 0 {
            warm(port, reads).await?;
        }
        if orders > 0 {
            place(port, orders).await?;
        }
        self.placed += orders;
        shipped(&mut self.admin, self.placed).await?;
        settle(&self.fleet, &mut self.admin).await
    }

    /// One turn of reads.
    pub(crate) async fn read(&mut self) -> Result<Turn> {
        let (port, kept) = (self.fleet.setup.port, Connections::Kept);
        let (generator, workers) = (own_cpu()?, workers_cpu(&self.fleet)?);
        let answers = ask(port, kept, CLIENTS, Until::Time(READS), get(), 200).await?;
        self.generator_cpu += own_cpu()? - generator;
        let cpu = workers_cpu(&self.fleet)? - workers;
        self.reads_cpu += cpu;
        let turn = Turn {
            per_second: answers.per_second()?,
            cpu_us: each_us(cpu, answers.latencies.len())?,
        };
        self.reads.add(answers);
        Ok(turn)
    }

    /// One turn of orders, until all are shipped.
    pub(crate) async fn ship(&mut self) -> Result<Turn> {
        let (begin, workers) = (Instant::now(), workers_cpu(&self.fleet)?);
        place(self.fleet.setup.port, ORDERS).await?;
        self.placed += ORDERS;
        self.shipped += ORDERS;
        shipped(&mut self.admin, self.placed).await?;
        let (time, cpu) = (begin.elapsed(), workers_cpu(&self.fleet)? - workers);
        self.orders += time;
        self.orders_cpu += cpu;
        Ok(Turn {
            per_second: per_second(ORDERS, time)?,
            cpu_us: each_us(cpu, ORDERS)?,
        })
    }

    /// Sends its workers a signal: another fleet's turn is not to be disturbed by what this one does without being asked.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        for pid in pids(&self.fleet)? {
            let pid = Pid::from_raw(i32::try_from(pid)?).context("no process")?;
            kill_process(pid, signal)?;
        }
        Ok(())
    }

    /// Stops it.
    pub(crate) async fn figures(self) -> Result<Figures> {
        let loaded_mib = memory(&self.fleet)?;
        drop(self.admin);
        self.fleet.stop().await?;
        let (reads, orders) = (&self.reads, self.shipped);
        Ok(Figures {
            reads_per_second: reads.per_second()?,
            read_p50_ms: reads.percentile_ms(50),
            read_p99_ms: reads.percentile_ms(99),
            read_cpu_us: each_us(self.reads_cpu, reads.latencies.len())?,
            orders_per_second: per_second(orders, self.orders)?,
            order_cpu_us: each_us(self.orders_cpu, orders)?,
            idle_mib: self.idle_mib,
            loaded_mib,
            generator_cores: self.generator_cpu / reads.elapsed.as_secs_f64(),
        })
    }
}

/// Starts the fleet, measures, stops it.
async fn measure(stack: Stack) -> Result<Figures> {
    let mut measured = Measured::start(stack, &[]).await?;
    measured.warm(READS_BEFORE, ORDERS_BEFORE).await?;
    for _ in 0..READ_TURNS {
        measured.read().await?;
    }
    for _ in 0..ORDER_TURNS {
        measured.ship().await?;
    }
    measured.figures().await
}

async fn warm(port: u16, reads: usize) -> Result<()> {
    let before = Until::Requests(reads);
    ask(port, Connections::Kept, CLIENTS, before, get(), 200).await?;
    Ok(())
}

/// Has Postgres do what it would come to by itself within a minute or two: until it knows how many orders there are now, it reads them in another way, and
/// a fleet that was warmed up later than another would be the slower one.
async fn settle(fleet: &Fleet, admin: &mut PgConnection) -> Result<()> {
    let mut dbos = fleet.setup.server.connect("order_desk_dbos").await?;
    for database in [admin, &mut dbos] {
        sqlx::query("VACUUM (ANALYZE)").execute(database).await?;
    }
    Ok(())
}

fn each_us(seconds: f64, count: usize) -> Result<f64> {
    Ok(seconds * 1e6 / f64::from(u32::try_from(count)?))
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

/// Places so many orders, over a connection for each: the worker that takes it runs the order's workflow, and over connections that
/// are kept a worker that happened to take more of them would have more to do to the end.
pub(crate) async fn place(port: u16, orders: usize) -> Result<()> {
    let until = Until::Requests(orders);
    ask(port, Connections::Fresh, CLIENTS, until, post(), 202).await?;
    Ok(())
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
pub(crate) fn pids(fleet: &Fleet) -> Result<Vec<u32>> {
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
