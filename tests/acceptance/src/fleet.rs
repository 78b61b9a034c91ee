//! A running fleet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use poolwright_testkit::sampler::{self, Backend};
use poolwright_testkit::wait::Seen;
use poolwright_testkit::{Process, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use sqlx::Connection;

use crate::pm2::Pm2;
use crate::{Cell, Desk, Manager, Setup};

/// From the start of the manager to the last worker's readiness, on two busy cores.
const READY: Duration = Duration::from_secs(60);
/// From a worker's word to its manager's repeating it.
const SAID: Duration = Duration::from_secs(20);
/// From the order to stop to the end of the last process; drains may take 30 s.
const STOPPED: Duration = Duration::from_secs(45);

/// Workers under a manager, all of them ready. Everything ends when this is dropped.
#[derive(Debug)]
pub struct Fleet {
    /// What runs.
    pub cell: Cell,
    /// Its HTTP face.
    pub desk: Desk,
    /// What each worker said of itself when it was ready, by slot.
    pub ready: BTreeMap<String, Value>,
    /// From the manager's command to that.
    pub took: Duration,
    manager: Running,
    /// What it was started from. Dropped last, so that the server outlives its clients.
    pub setup: Setup,
}

#[derive(Debug)]
enum Running {
    Pm2(Pm2),
    Poolwright(Process),
}

impl Fleet {
    /// Three workers on an empty server.
    pub async fn start(cell: Cell) -> Result<Self> {
        Self::from(cell, Setup::new(cell.stack).await?, 3).await
    }

    /// `workers` workers as set up; ready when every one of them has answered that it is.
    pub async fn from(cell: Cell, setup: Setup, workers: usize) -> Result<Self> {
        // PM2 starts all workers at once; the database has to stand before (H1).
        let setup = match cell.manager {
            Manager::Pm2 if !setup.is_prepared() => setup.prepared().await?,
            _ => setup,
        };
        let begin = Instant::now();
        let mut manager = match cell.manager {
            Manager::Poolwright => {
                let arguments: &[&str] = match setup.is_prepared() {
                    true => &["up", "--no-prepare"],
                    false => &["up"],
                };
                Running::Poolwright(setup.poolwright()?.start(arguments)?)
            }
            Manager::Pm2 => Running::Pm2(Pm2::start(&setup).await?),
        };
        let desk = Desk::new(setup.port)?;
        let ready = match desk.ready_workers(workers, READY).await {
            Ok(ready) => ready,
            Err(error) => {
                let said = manager.said();
                return Err(error.context(format!("{}: {said}", cell.name())));
            }
        };
        let took = begin.elapsed();
        ensure!(
            !manager.ended()?,
            "{}: the manager ended: {}",
            cell.name(),
            manager.said()
        );
        Ok(Self {
            cell,
            desk,
            ready,
            took,
            manager,
            setup,
        })
    }

    /// The last lines of the manager and its workers, for errors.
    #[must_use]
    pub fn said(&self) -> String {
        self.manager.said()
    }

    /// Every JSON object that a worker printed on a line of its own, in order per worker.
    pub fn worker_lines(&self) -> Result<Vec<Value>> {
        let lines = match &self.manager {
            Running::Pm2(pm2) => pm2.lines()?,
            Running::Poolwright(process) => process.lines(),
        };
        // Managers may put a name before the line.
        let object = |line: &String| serde_json::from_str(line.get(line.find('{')?..)?).ok();
        Ok(lines.iter().filter_map(object).collect())
    }

    /// The start-up line of every worker (S6). Waits for one of each: a worker answers that it is ready before its manager
    /// has passed the line on.
    pub async fn start_up_lines(&self) -> Result<Vec<Value>> {
        wait_until("a start-up line of every worker", SAID, async || {
            let lines = self.worker_lines().map(|mut lines| {
                lines.retain(|line| line["msg"] == "worker started");
                lines
            });
            match lines {
                Ok(lines) if lines.len() >= self.ready.len() => Seen::Yes(lines),
                other => Seen::NotYet(other),
            }
        })
        .await
    }

    /// What `poolwright status` says of each slot, by its name.
    pub async fn slots(&self) -> Result<BTreeMap<String, Value>> {
        let status = self.setup.poolwright()?.json(&["status"]).await?;
        let slots = status["apps"][0]["slots"].as_array();
        let slots = slots.with_context(|| format!("no slots: {status}"))?;
        let named = |slot: &Value| Some((slot["slot"].as_str()?.to_owned(), slot.clone()));
        Ok(slots.iter().filter_map(named).collect())
    }

    /// The fleet's backends now, in Postgres's own words.
    pub async fn backends(&self) -> Result<Vec<Backend>> {
        sampler::backends(&self.setup.server.admin_url()?).await
    }

    /// Has Postgres give these workers' backends up, as its keepalives make it do 90 seconds after their network has forgotten them.
    pub async fn given_up(&self, backends: &[Backend]) -> Result<()> {
        let workers = backends
            .iter()
            .filter(|backend| backend.name.starts_with("web-"));
        let pids: Vec<i32> = workers.map(|backend| backend.pid).collect();
        let mut admin = self.setup.server.connect("postgres").await?;
        let given_up =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY ($1)";
        sqlx::query(given_up).bind(pids).execute(&mut admin).await?;
        Ok(())
    }

    /// `pm2 reload`, to its end.
    pub async fn pm2_reload(&self) -> Result<()> {
        match &self.manager {
            Running::Pm2(pm2) => pm2.reload().await,
            Running::Poolwright(_) => bail!("{} has no PM2", self.cell.name()),
        }
    }

    /// A reload by whichever manager it is, to its end.
    pub async fn reload(&self) -> Result<()> {
        match &self.manager {
            Running::Pm2(pm2) => pm2.reload().await,
            Running::Poolwright(_) => {
                let reload = self.setup.poolwright()?.run(&["reload"]).await?;
                reload.expect(0).map(drop)
            }
        }
    }

    /// Another number of workers, by whichever manager it is, to its end.
    pub async fn scale(&self, workers: usize) -> Result<()> {
        match &self.manager {
            Running::Pm2(pm2) => pm2.scale(workers).await,
            Running::Poolwright(_) => {
                let wanted = format!("web={workers}");
                let scaled = self.setup.poolwright()?.run(&["scale", &wanted]).await?;
                scaled.expect(0).map(drop)
            }
        }
    }

    /// Has three reads of a tenant wait for a lock, and so keep three connections of the ORM busy, for as long as `look` takes. Three is what
    /// one pool holds: whoever gets them, all of them hold a connection. Answers with what was seen, when all were answered.
    pub async fn while_three_wait<T>(
        &self,
        tenant: &str,
        look: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut admin = self.setup.server.connect("order_desk").await?;
        let mut lock = admin.begin().await?;
        sqlx::raw_sql("LOCK TABLE orders")
            .execute(&mut *lock)
            .await?;
        let reads = join_all((0..3).map(|_| self.desk.get("/api/orders", Some(tenant))));
        let look = async {
            let seen = look().await;
            lock.rollback().await?;
            seen
        };
        let (answers, seen) = tokio::join!(reads, look);
        let seen = seen?;
        for answer in answers {
            ensure!(answer?.status == 200, "a read that had to wait failed");
        }
        Ok(seen)
    }

    /// Waits for a line of the supervisor's.
    pub async fn line(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl FnMut(&str) -> bool,
    ) -> Result<String> {
        match &self.manager {
            Running::Pm2(_) => bail!("{} has no supervisor", self.cell.name()),
            Running::Poolwright(process) => process.line(what, limit, wanted).await,
        }
    }

    /// The process that manages the workers.
    pub fn manager_pid(&self) -> Result<u32> {
        match &self.manager {
            Running::Pm2(pm2) => pm2.pid(),
            Running::Poolwright(process) => process.pid().context("the supervisor has ended"),
        }
    }

    /// Kills the supervisor, and with it its workers; what it was started from is left.
    pub async fn killed(self) -> Result<Setup> {
        match self.manager {
            Running::Pm2(_) => bail!("{} has no supervisor", self.cell.name()),
            Running::Poolwright(mut process) => {
                process.signal(Signal::KILL)?;
                process.exited(STOPPED).await?;
            }
        }
        Ok(self.setup)
    }

    /// Kills the supervisor, and with it its workers, and has `up` start `workers` of them again at once.
    pub async fn killed_and_started_again(&mut self, workers: usize) -> Result<()> {
        let Running::Poolwright(process) = &mut self.manager else {
            bail!("{} has no supervisor", self.cell.name());
        };
        process.signal(Signal::KILL)?;
        process.exited(STOPPED).await?;
        let arguments: &[&str] = &["up", "--no-prepare"];
        *process = self.setup.poolwright()?.start(arguments)?;
        let ready = self.desk.ready_workers(workers, READY).await;
        self.ready = ready.with_context(|| self.manager.said())?;
        Ok(())
    }

    /// Stops everything in order and waits until Postgres shows nothing of the fleet any more.
    pub async fn stop(self) -> Result<()> {
        self.halted().await?.server.stop().await
    }

    /// The same, with the server left running: another fleet can be started from what this one was.
    pub async fn halted(self) -> Result<Setup> {
        let name = self.cell.name();
        match self.manager {
            Running::Pm2(pm2) => pm2.kill()?,
            Running::Poolwright(mut process) => {
                self.setup.poolwright()?.run(&["stop"]).await?.expect(0)?;
                let status = process.exited(STOPPED).await?;
                ensure!(
                    status.success(),
                    "{name}: `up` ended with {status}: {}",
                    process.tail()
                );
            }
        }
        let url = self.setup.server.admin_url()?;
        wait_until(
            "no backend of the fleet is left",
            STOPPED,
            async || match sampler::backends(&url).await {
                Ok(backends) if backends.is_empty() => Seen::Yes(()),
                other => Seen::NotYet(other),
            },
        )
        .await
        .with_context(|| name)?;
        Ok(self.setup)
    }
}

impl Running {
    fn said(&self) -> String {
        match self {
            Self::Poolwright(process) => process.tail(),
            Self::Pm2(pm2) => {
                let lines = pm2.lines().unwrap_or_default();
                let errors = pm2.errors().unwrap_or_default();
                format!(
                    "stdout:\n{}\nstderr:\n{}",
                    lines.join("\n"),
                    errors.join("\n")
                )
            }
        }
    }

    fn ended(&mut self) -> Result<bool> {
        match self {
            Self::Poolwright(process) => Ok(process.ended()?.is_some()),
            Self::Pm2(_) => Ok(false),
        }
    }
}
