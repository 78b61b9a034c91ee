//! How far more connections help, and how far more workers do: both stacks with pools of every size, and in fleets of every size.

use std::time::Duration;

use acceptance::{Cell, Fleet, Manager, Setup, Stack};
use anyhow::{Context, Result};
use poolwright_topology::knee::{self, Point};
use serde::{Deserialize, Serialize};

use crate::client::{Connections, Until, ask};
use crate::report::{Spread, say};
use crate::stacks::{LISTED, WORKERS, get, post, shipped};

/// Of the ORM's pool, for each worker.
const POOLS: [u32; 7] = [2, 3, 4, 6, 8, 12, 16];
const FLEETS: [u32; 6] = [1, 2, 3, 4, 6, 8];
/// More than the largest fleet has connections: every one of them could be used.
pub(crate) const CLIENTS: usize = 60;
pub(crate) const ASKED: Duration = Duration::from_millis(1500);
/// Node needs it to compile what is hot.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// What is made larger.
#[derive(Debug, Clone, Copy)]
enum Swept {
    Pool,
    Fleet,
}

/// One size and what was reached with it, reads per second in every round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) size: u32,
    pub(crate) axum: Vec<f64>,
    pub(crate) sveltekit: Vec<f64>,
}

/// The size from which on more is not worth having, by the median rates.
pub(crate) fn knee(steps: &[Step], rates: fn(&Step) -> &Vec<f64>) -> Option<u32> {
    let point = |step: &Step| {
        let rate = Spread::of(rates(step).iter().copied())?.median;
        let size = step.size;
        Some(Point { size, rate })
    };
    knee::knee(&steps.iter().filter_map(point).collect::<Vec<_>>())
}

/// Every size of the ORM's pool.
pub(crate) async fn pools(rounds: usize) -> Result<Vec<Step>> {
    sweep(Swept::Pool, &POOLS, rounds).await
}

/// Every number of workers.
pub(crate) async fn workers(rounds: usize) -> Result<Vec<Step>> {
    sweep(Swept::Fleet, &FLEETS, rounds).await
}

/// Each stack on one server of its own, by turns.
async fn sweep(swept: Swept, sizes: &[u32], rounds: usize) -> Result<Vec<Step>> {
    let mut axum = prepared(Stack::Axum).await?;
    let mut sveltekit = prepared(Stack::Sveltekit).await?;
    let step = |size: &u32| Step {
        size: *size,
        axum: Vec::new(),
        sveltekit: Vec::new(),
    };
    let mut steps: Vec<Step> = sizes.iter().map(step).collect();
    for _ in 0..rounds {
        for step in &mut steps {
            let (rate, setup) = measure(swept, step.size, axum).await?;
            axum = setup;
            step.axum.push(rate);
            let (rate, setup) = measure(swept, step.size, sveltekit).await?;
            sveltekit = setup;
            step.sveltekit.push(rate);
            say(&format!("{swept:?} {step:?}"));
        }
    }
    axum.server.stop().await?;
    sveltekit.server.stop().await?;
    Ok(steps)
}

/// With a full page of orders.
async fn prepared(stack: Stack) -> Result<Setup> {
    let setup = Setup::new(stack)
        .await?
        .env("FULFIL_SLEEP_MS", "0")
        .env("NODE_ENV", "production")
        .prepared()
        .await?;
    let manager = Manager::Poolwright;
    let fleet = Fleet::from(Cell { stack, manager }, setup, WORKERS).await?;
    let until = Until::Requests(LISTED);
    let kept = Connections::Kept;
    ask(fleet.setup.port, kept, LISTED, until, post(), 202).await?;
    shipped(&mut fleet.setup.server.connect("order_desk").await?, LISTED).await?;
    fleet.halted().await
}

async fn measure(swept: Swept, size: u32, setup: Setup) -> Result<(f64, Setup)> {
    let (variable, workers) = match swept {
        Swept::Pool => ("PRISMA_POOL_MAX", WORKERS),
        Swept::Fleet => ("PM2_INSTANCES", usize::try_from(size)?),
    };
    let (stack, manager) = (setup.stack, Manager::Poolwright);
    let setup = setup.env(variable, size.to_string());
    let fleet = Fleet::from(Cell { stack, manager }, setup, workers)
        .await
        .with_context(|| format!("{swept:?} of {size}"))?;
    let (port, kept) = (fleet.setup.port, Connections::Kept);
    ask(port, kept, CLIENTS, Until::Time(WARM_UP), get(), 200).await?;
    let answers = ask(port, kept, CLIENTS, Until::Time(ASKED), get(), 200).await?;
    Ok((answers.per_second()?, fleet.halted().await?))
}
