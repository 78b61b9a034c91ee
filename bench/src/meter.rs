//! Where the processors' time goes while something is measured.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::process::{cpu, own_cpu};

/// How often processes are looked at: what one takes after the last look at it, before its end, is not seen.
const LOOK: Duration = Duration::from_millis(100);

/// Who had the processors, in cores.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Shares {
    /// The programs that were asked to work.
    pub(crate) programs: f64,
    /// Postgres, all its processes.
    pub(crate) postgres: f64,
    /// This program, which asks them.
    pub(crate) generator: f64,
    /// Everything else that the machine did: its kernel for the disk and the network, the supervisor.
    pub(crate) others: f64,
    /// Nobody.
    pub(crate) idle: f64,
}

/// Does the work, and says who had the processors meanwhile. `programs` are the processes that do it.
pub(crate) async fn shares<T>(
    admin: &mut PgConnection,
    programs: &[u32],
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Shares)> {
    let postmaster = postmaster(admin).await?;
    let mut programs = Tally::of(programs.iter().copied());
    let mut postgres = Tally::of(children(postmaster)?);
    let (own, machine, begin) = (own_cpu()?, Machine::now()?, Instant::now());
    let mut work = Box::pin(work);
    let done = loop {
        let look = tokio::time::timeout(LOOK, &mut work).await;
        programs.look();
        postgres.find(children(postmaster)?);
        postgres.look();
        if let Ok(done) = look {
            break done?;
        }
    };
    let seconds = begin.elapsed().as_secs_f64();
    let cores = f64::from(u32::try_from(std::thread::available_parallelism()?.get())?);
    let idle = Machine::now()?.idle_since(&machine) * cores;
    let [programs, postgres, generator] =
        [programs.taken(), postgres.taken(), own_cpu()? - own].map(|taken| taken / seconds);
    let others = (cores - idle - programs - postgres - generator).max(0.0);
    let shares = Shares {
        programs,
        postgres,
        generator,
        others,
        idle,
    };
    Ok((done, shares))
}

/// Processor time of processes that may come and go.
struct Tally(BTreeMap<u32, Seen>);

struct Seen {
    /// When it was seen first; nothing for one that came later.
    before: f64,
    last: f64,
}

impl Tally {
    fn of(processes: impl IntoIterator<Item = u32>) -> Self {
        let seen = processes.into_iter().filter_map(|pid| {
            let before = cpu(pid).ok()?;
            let last = before;
            Some((pid, Seen { before, last }))
        });
        Self(seen.collect())
    }

    fn find(&mut self, processes: BTreeSet<u32>) {
        for pid in processes {
            let (before, last) = (0.0, 0.0);
            self.0.entry(pid).or_insert(Seen { before, last });
        }
    }

    fn look(&mut self) {
        for (pid, seen) in &mut self.0 {
            // Of one that has ended, the last look stands.
            if let Ok(now) = cpu(*pid) {
                seen.last = seen.last.max(now);
            }
        }
    }

    fn taken(&self) -> f64 {
        self.0.values().map(|seen| seen.last - seen.before).sum()
    }
}

/// The server's first process, by one of its backends.
async fn postmaster(admin: &mut PgConnection) -> Result<u32> {
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(admin)
        .await?;
    let status = fs::read_to_string(format!("/proc/{backend}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    Ok(parent.context("no parent of a backend")?.trim().parse()?)
}

fn children(postmaster: u32) -> Result<BTreeSet<u32>> {
    let path = format!("/proc/{postmaster}/task/{postmaster}/children");
    let children = fs::read_to_string(path)?;
    let children = children.split_whitespace().map(str::parse);
    Ok(children.collect::<Result<_, _>>()?)
}

/// What all processors together did since the machine was started, in ticks.
struct Machine {
    idle: f64,
    all: f64,
}

impl Machine {
    fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().context("/proc/stat is empty")?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in the first two.
        let ticks = line.split_whitespace().skip(1).take(8).map(str::parse);
        let ticks = ticks.collect::<Result<Vec<f64>, _>>()?;
        Ok(Self {
            idle: ticks.iter().skip(3).take(2).sum(),
            all: ticks.iter().sum(),
        })
    }

    fn idle_since(&self, before: &Self) -> f64 {
        (self.idle - before.idle) / (self.all - before.all)
    }
}
