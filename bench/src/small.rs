//! A fleet of small workers, which do what the channel asks for and open nothing: what is measured is the supervisor's own.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use acceptance::Poolwright;
use anyhow::{Context, Result, ensure};
use poolwright_embedded::Options;
use poolwright_testkit::{Process, TestServer, built};
use tempfile::TempDir;

/// How often a worker says how its pools are, as the real ones do.
const GAUGES: Duration = Duration::from_secs(1);
/// Half a second for each of 200 workers that are reloaded, and as much again.
const PATIENCE: Duration = Duration::from_secs(240);

/// One that serves, and that Postgres has been looked at for.
#[derive(Debug)]
pub(crate) struct Small {
    pub(crate) poolwright: Poolwright,
    pub(crate) supervisor: u32,
    /// From the command to all workers serving.
    pub(crate) start: Duration,
    /// Processor time of the supervisor until then.
    pub(crate) start_cpu_s: f64,
    up: Process,
    // After everything that stands in it.
    _directory: TempDir,
}

/// A server with room for so many: the workers open nothing, the plan wants to see that they could.
pub(crate) async fn server(workers: u32) -> Result<TestServer> {
    let room = u16::try_from(2 * workers + 100)?;
    TestServer::embedded(Options::test().max_connections(room)).await
}

impl Small {
    /// So many workers by the server of this URL, with these arguments to `up`.
    pub(crate) async fn start(url: String, workers: u32, arguments: &[&str]) -> Result<Self> {
        let directory = TempDir::new()?;
        let manifest = manifest(
            workers,
            &built::program("fake-worker")?.display().to_string(),
        );
        fs::write(directory.path().join("poolwright.toml"), manifest)?;
        let environment: BTreeMap<String, String> = [
            ("DATABASE_URL", url),
            ("FAKE_WORKER_GAUGES_MS", GAUGES.as_millis().to_string()),
            ("NO_COLOR", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let poolwright = Poolwright::new(directory.path().to_owned(), environment)?;

        let begin = Instant::now();
        let up = poolwright.start(&[&["up", "--no-prepare"], arguments].concat())?;
        let serve = |line: &str| line.contains("all workers serve");
        up.line("that all workers serve", PATIENCE, serve).await?;
        let start = begin.elapsed();
        let supervisor = up.pid().context("the supervisor has ended")?;
        let start_cpu_s = crate::process::cpu(supervisor)?;
        // What Postgres says of the fleet is a second's work, and not the start's.
        up.line("what Postgres shows", PATIENCE, |line| {
            line.starts_with("holds") || line.contains("violat")
        })
        .await?;
        Ok(Self {
            poolwright,
            supervisor,
            start,
            start_cpu_s,
            up,
            _directory: directory,
        })
    }

    /// How long a command takes, from its start to its end.
    pub(crate) async fn timed(&self, arguments: &[&str]) -> Result<f64> {
        let begin = Instant::now();
        ended(&mut self.poolwright.start(arguments)?).await?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// How long its stop takes; then it has ended.
    pub(crate) async fn stop(mut self) -> Result<f64> {
        let took = self.timed(&["stop"]).await?;
        ended(&mut self.up).await?;
        Ok(took)
    }
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
