//! What one more worker costs a fleet of 25, and one of 200: small workers, so that the supervisor's own work shows.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::{cpu, memory_mib};
use crate::report::{Spread, say};
use crate::small::{self, Small};

pub(crate) const SIZES: [u32; 4] = [25, 50, 100, 200];
/// How long the supervisor is watched when nothing happens.
pub(crate) const IDLE: Duration = Duration::from_secs(4);
/// How often `status` is asked.
const LOOKS: usize = 9;

/// A fleet of one size.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// What of one core it takes while nothing happens: after the start, when workers that started together report together, and
    /// around the reload, when each reports at its own time and wakes the supervisor by itself.
    pub(crate) together_cores: f64,
    pub(crate) apart_cores: f64,
    pub(crate) memory_mib: f64,
}

impl Figures {
    /// Processor time of the reload of a whole fleet, in seconds, besides what the supervisor would have taken anyway.
    pub(crate) fn reload_besides_s(&self) -> f64 {
        self.reload_cpu_s - self.apart_cores * self.reload_s
    }
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
    let server = small::server(workers).await?;
    let fleet = Small::start(server.admin_url()?, workers, &[]).await?;
    let (start_s, start_cpu_s) = (fleet.start.as_secs_f64(), fleet.start_cpu_s);

    let mut looks = Vec::new();
    for _ in 0..LOOKS {
        looks.push(fleet.timed(&["status", "--json"]).await?);
    }
    let together_cores = idle(fleet.supervisor).await?;
    // Apart from here on.
    fleet.timed(&["reload"]).await?;
    let apart_before = idle(fleet.supervisor).await?;
    let before = cpu(fleet.supervisor)?;
    let reload_s = fleet.timed(&["reload"]).await?;
    let reload_cpu_s = cpu(fleet.supervisor)? - before;
    let apart_cores = f64::midpoint(apart_before, idle(fleet.supervisor).await?);
    let memory_mib = memory_mib(fleet.supervisor)?;
    let stop_s = fleet.stop().await?;
    server.stop().await?;
    Ok(Figures {
        workers,
        start_s,
        status_s: Spread::of(looks).context("no looks")?.median,
        reload_s,
        stop_s,
        start_cpu_s,
        reload_cpu_s,
        together_cores,
        apart_cores,
        memory_mib,
    })
}

/// What of one core the process takes.
async fn idle(pid: u32) -> Result<f64> {
    let before = cpu(pid)?;
    tokio::time::sleep(IDLE).await;
    Ok((cpu(pid)? - before) / IDLE.as_secs_f64())
}
