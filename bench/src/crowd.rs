//! What one more worker costs a fleet of 25, and one of 200: small workers, so that the supervisor's own work shows.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use acceptance::Poolwright;
use anyhow::{Context, Result, ensure};
use poolwright_embedded::Options;
use poolwright_testkit::{Process, TestServer, built};
use serde::Serialize;
use tempfile::TempDir;

use crate::process::{cpu, memory_mib};
use crate::report::{Spread, say};

pub(crate) const SIZES: [u32; 4] = [25, 50, 100, 200];
/// How often a worker says how its pools are, as the real ones do.
const GAUGES: Duration = Duration::from_secs(1);
/// How long the supervisor is watched when nothing happens.
pub(crate) const IDLE: Duration = Duration::from_secs(4);
/// How often `status` is asked.
const LOOKS: usize = 9;
/// Half a second for each of 200 workers that are reloaded, and as much again.
const PATIENCE: Duration = Duration::from_secs(240);

/// A fleet of one size.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) workers: u32,
    /// From `up` to all workers serving, the median of `status` from its command to its end, of `reload` and
    /// of `stop` the same.
    pub(crate) start_s: f64,
    pub(crate) status_s: f64,
    pub(crate) reload_s: f64,
    pub(crate) stop_s: f64,
    /// Processor time of the supervisor, all threads.
    pub(crate) start_cpu_s: f64,
    pub(crate) reload_cpu_s: f64,
    /// What of one core it takes while nothing happens.
    pub(crate) idle_cores: f64,
    pub(crate) memory_mib: f64,
}

/// Every size, once: what is compared is 25 times as much of the same against 200 times.
pub(crate) async fn grow() -> Result<Vec<Figures>> {
    let mut sizes = Vec::new();
    for workers in SIZES {
        let figures = measure(workers).await?;
        say(&format!("{figures:?}"));
        sizes.push(figures);
    }
    Ok(sizes)
}

async fn measure(workers: u32) -> Result<Figures> {
    // The workers open nothing; the plan wants to see that they could.
    let room = u16::try_from(2 * workers + 100)?;
    let server = TestServer::embedded(Options::test().max_connections(room)).await?;
    let directory = TempDir::new()?;
    let manifest = manifest(
        workers,
        &built::program("fake-worker")?.display().to_string(),
    );
    fs::write(directory.path().join("poolwright.toml"), manifest)?;
    let environment: BTreeMap<String, String> = [
        ("DATABASE_URL", server.admin_url()?),
        ("FAKE_WORKER_GAUGES_MS", GAUGES.as_millis().to_string()),
        ("NO_COLOR", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let poolwright = Poolwright::new(directory.path().to_owned(), environment)?;

    let begin = Instant::now();
    let mut up = poolwright.start(&["up", "--no-prepare"])?;
    let serve = |line: &str| line.contains("all workers serve");
    up.line("that all workers serve", PATIENCE, serve).await?;
    let start = begin.elapsed();
    let supervisor = up.pid().context("the supervisor has ended")?;
    let start_cpu_s = cpu(supervisor)?;
    // What Postgres says of the fleet is a second's work, and not the start's.
    up.line("what Postgres shows", PATIENCE, |line| {
        line.starts_with("holds") || line.contains("violat")
    })
    .await?;

    let mut looks = Vec::new();
    for _ in 0..LOOKS {
        looks.push(timed(&poolwright, &["status", "--json"]).await?);
    }
    let before = cpu(supervisor)?;
    tokio::time::sleep(IDLE).await;
    let idle_cores = (cpu(supervisor)? - before) / IDLE.as_secs_f64();

    let before = cpu(supervisor)?;
    let reload_s = timed(&poolwright, &["reload"]).await?;
    let reload_cpu_s = cpu(supervisor)? - before;
    let memory_mib = memory_mib(supervisor)?;
    let stop_s = timed(&poolwright, &["stop"]).await?;
    ended(&mut up).await?;
    server.stop().await?;
    Ok(Figures {
        workers,
        start_s: start.as_secs_f64(),
        status_s: Spread::of(looks).context("no looks")?.median,
        reload_s,
        stop_s,
        start_cpu_s,
        reload_cpu_s,
        idle_cores,
        memory_mib,
    })
}

async fn timed(poolwright: &Poolwright, arguments: &[&str]) -> Result<f64> {
    let begin = Instant::now();
    ended(&mut poolwright.start(arguments)?).await?;
    Ok(begin.elapsed().as_secs_f64())
}

async fn ended(process: &mut Process) -> Result<()> {
    let status = process.exited(PATIENCE).await?;
    ensure!(
        status.success(),
        "it ended with {status}: {}",
        process.tail()
    );
    Ok(())
}

fn manifest(workers: u32, program: &str) -> String {
    format!(
        r#"[apps.web]
command = [{program:?}]
instances = {workers}
ready = "channel"
ready_timeout = "60s"

[apps.web.pools.prisma]
max = {{ env = "PRISMA_POOL_MAX", default = 1 }}
url = {{ env = "DATABASE_URL" }}

[apps.web.pools.dbos]
max = {{ env = "DBOS_POOL_MAX", default = 1 }}
url = {{ env = "DATABASE_URL" }}
"#
    )
}
