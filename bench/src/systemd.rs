//! One worker on a socket that systemd's own program has bound, and the same under `poolwright up`.
//!
//! `systemd-socket-activate` binds the socket and becomes the worker with the first connection; it needs no systemd to run. What a
//! restart does to requests is for the service manager to decide, which has to be the machine's first process.

use std::path::Path;
use std::time::{Duration, Instant};

use acceptance::{Cell, Desk, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result};
use poolwright_testkit::{Process, process};
use serde::{Deserialize, Serialize};

use crate::client::{Connections, Until, ask};
use crate::managers::{Rate, health, rate};
use crate::report::say;
use crate::stacks::{CLIENTS, LISTED, get, post, shipped};

/// Debian's package is `systemd`.
pub(crate) const PROGRAM: &str = "/usr/bin/systemd-socket-activate";
/// From the command to the worker's readiness.
const READY: Duration = Duration::from_secs(60);

/// Every round of both; none where the program is missing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Systemd {
    pub(crate) activated: Vec<Serving>,
    pub(crate) poolwright: Vec<Serving>,
}

/// One worker that serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Serving {
    /// From the command to its first answer that it is ready; the databases are prepared.
    pub(crate) start_s: f64,
    pub(crate) health_fresh: Rate,
    pub(crate) health_kept: Rate,
    pub(crate) orders_kept: Rate,
}

/// Measures both, alternating.
pub(crate) async fn compare(rounds: usize) -> Result<Systemd> {
    let mut systemd = Systemd::default();
    if !Path::new(PROGRAM).exists() {
        say(&format!("{PROGRAM} is missing"));
        return Ok(systemd);
    }
    for _ in 0..rounds {
        let activated = activated().await?;
        let poolwright = under_poolwright().await?;
        for (name, serving) in [("activated", &activated), ("poolwright", &poolwright)] {
            say(&format!(
                "{name:<10} {:.2} s, {:.0}/s fresh, {:.0}/s kept, {:.0} reads/s",
                serving.start_s,
                serving.health_fresh.per_second,
                serving.health_kept.per_second,
                serving.orders_kept.per_second
            ));
        }
        systemd.activated.push(activated);
        systemd.poolwright.push(poolwright);
    }
    Ok(systemd)
}

async fn prepared() -> Result<Setup> {
    let setup = Setup::new(Stack::Axum).await?;
    let setup = setup.env("FULFIL_SLEEP_MS", "0").env("PM2_INSTANCES", "1");
    setup.prepared().await
}

async fn under_poolwright() -> Result<Serving> {
    let (stack, manager) = (Stack::Axum, Manager::Poolwright);
    let fleet = Fleet::from(Cell { stack, manager }, prepared().await?, 1).await?;
    let serving = serve(&fleet.setup, fleet.took).await?;
    fleet.stop().await?;
    Ok(serving)
}

async fn activated() -> Result<Serving> {
    let setup = prepared().await?;
    let (worker, arguments) = setup.stack.worker()?;
    let environment = setup.environment();
    let mut command = process::command(Path::new(PROGRAM), &setup.directory()?, environment.iter());
    command.args(["--listen", &format!("127.0.0.1:{}", setup.port)]);
    // It passes on what it is told to, by name: values would stand in its command line.
    for name in environment.keys() {
        command.args(["--setenv", name]);
    }
    command.arg(worker).args(arguments);
    let begin = Instant::now();
    let running = Process::spawn(command)?;
    let ready = Desk::new(setup.port)?.ready_workers(1, READY).await;
    ready.with_context(|| running.tail())?;
    let serving = serve(&setup, begin.elapsed()).await?;
    drop(running);
    setup.server.stop().await?;
    Ok(serving)
}

async fn serve(setup: &Setup, took: Duration) -> Result<Serving> {
    let port = setup.port;
    let until = Until::Requests(LISTED);
    ask(port, Connections::Kept, CLIENTS, until, post(), 202).await?;
    let mut admin = setup.server.connect("order_desk").await?;
    shipped(&mut admin, LISTED).await?;
    Ok(Serving {
        start_s: took.as_secs_f64(),
        health_fresh: rate(port, Connections::Fresh, health()).await?,
        health_kept: rate(port, Connections::Kept, health()).await?,
        orders_kept: rate(port, Connections::Kept, get()).await?,
    })
}
