//! What telemetry costs: each stack with everything on, and with nothing on.

use acceptance::Stack;
use anyhow::Result;
use poolwright_testkit::Collector;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::report::say;
use crate::stacks::{Figures, Measured, ORDERS, Stacks, Turn};

/// How often metrics are exported: six times as often as by default.
pub(crate) const EVERY_MS: u32 = 10_000;

/// Turns that nobody measures, more than go before in other parts: what telemetry costs is a few percent, and Node goes on compiling what is hot, for the
/// first ten thousand reads of a worker and thousand orders. After orders, it compiles what reads need again, so all reads come first.
pub(crate) const READ_TURNS_BEFORE: usize = 16;
pub(crate) const ORDER_TURNS_BEFORE: usize = 23;
/// Reads in one of them.
pub(crate) const READS_OF_A_TURN: usize = 3_000;
/// More than elsewhere: single turns scatter by several percent on a machine that is shared.
const READ_TURNS: usize = 24;
const ORDER_TURNS: usize = 24;

/// V8 takes a process that was held for an idle one. When it goes on, it collects everything, makes its heap small and compiles much again, and costs a
/// quarter more for some seconds, at another moment for each worker (`--trace-gc`: "Mark-Compact (reduce)"). A fleet that is at work all the time, as
/// those are that are compared, never does that, so it is told not to. It makes its young generation small as well, and for longer, so no fleet is held
/// for more than seconds once it has begun to be warm.
const NODE_OPTIONS: &str = "--import=data:text/javascript,\
    import{setFlagsFromString}from'node:v8';setFlagsFromString('--memory-reducer-gc-count=0')";

/// Every round of one stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) stack: String,
    pub(crate) off: Vec<Figures>,
    pub(crate) on: Vec<Figures>,
    /// Every turn of reads, and every one of orders.
    pub(crate) reads: Vec<Pair>,
    pub(crate) orders: Vec<Pair>,
    /// What the collector was sent, in all rounds.
    pub(crate) requests: usize,
    pub(crate) spans: usize,
}

/// Two turns, one right after the other.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) off: Turn,
    pub(crate) on: Turn,
}

impl Cost {
    fn of(stack: Stack) -> Self {
        Self {
            stack: stack.name().to_owned(),
            off: Vec::new(),
            on: Vec::new(),
            reads: Vec::new(),
            orders: Vec::new(),
            requests: 0,
            spans: 0,
        }
    }
}

/// The rounds with everything off: both stacks as they are compared with each other.
pub(crate) fn stacks(costs: &[Cost]) -> Stacks {
    let off = |stack: Stack| {
        let of_it = costs.iter().filter(|cost| cost.stack == stack.name());
        of_it.flat_map(|cost| cost.off.clone()).collect()
    };
    Stacks {
        axum: off(Stack::Axum),
        sveltekit: off(Stack::Sveltekit),
    }
}

/// Fleets of each kind for every round of the others: two processes of Node that run the same code differ by some percent for as long as they live.
const FLEETS: usize = 2;

/// Measures both. In each round the fleet with everything on and the one with everything off take turns, the other one held.
pub(crate) async fn compare(rounds: usize) -> Result<Vec<Cost>> {
    let mut costs = [Stack::Axum, Stack::Sveltekit].map(|stack| (stack, Cost::of(stack)));
    for round in 0..rounds * FLEETS {
        for (stack, cost) in &mut costs {
            let collector = Collector::start().await?;
            let on = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url().to_owned()),
                ("OTEL_METRIC_EXPORT_INTERVAL", EVERY_MS.to_string()),
                ("PRINT_PRISMA_POOL_METRICS", "true".to_owned()),
            ];
            // Whichever starts second has more of the machine's memory in use before it.
            let (off, on) = match round % 2 {
                0 => {
                    let off = held(*stack, &[]).await?;
                    (off, held(*stack, &on).await?)
                }
                _ => {
                    let on = held(*stack, &on).await?;
                    (held(*stack, &[]).await?, on)
                }
            };
            let (off, on) = turns(off, on, cost).await?;
            for (word, figures, all) in [("off", off, &mut cost.off), ("on", on, &mut cost.on)] {
                say(&format!(
                    "{:<10} telemetry {word:<3} {:>8.0} reads/s {:>6.0} µs {:>8.1} orders/s {:>6.0} µs",
                    stack.name(),
                    figures.reads_per_second,
                    figures.read_cpu_us,
                    figures.orders_per_second,
                    figures.order_cpu_us
                ));
                all.push(figures);
            }
            cost.requests += collector.requests();
            cost.spans += collector.spans().len();
        }
    }
    Ok(costs.map(|(_, cost)| cost).to_vec())
}

/// A fleet that has just started, and is held.
async fn held(stack: Stack, variables: &[(&str, String)]) -> Result<Measured> {
    let mut variables = variables.to_vec();
    variables.push(("NODE_OPTIONS", NODE_OPTIONS.to_owned()));
    let measured = Measured::start(stack, &variables).await?;
    measured.signal(Signal::STOP)?;
    Ok(measured)
}

/// Both are held before and go on after.
async fn turns(mut off: Measured, mut on: Measured, cost: &mut Cost) -> Result<(Figures, Figures)> {
    for _ in 0..READ_TURNS_BEFORE {
        before(&mut off, READS_OF_A_TURN, 0).await?;
        before(&mut on, READS_OF_A_TURN, 0).await?;
    }
    for turn in 0..READ_TURNS {
        cost.reads.push(pair(turn, &mut off, &mut on, true).await?);
    }
    for _ in 0..ORDER_TURNS_BEFORE {
        before(&mut off, 0, ORDERS).await?;
        before(&mut on, 0, ORDERS).await?;
    }
    for turn in 0..ORDER_TURNS {
        cost.orders
            .push(pair(turn, &mut off, &mut on, false).await?);
    }
    off.signal(Signal::CONT)?;
    on.signal(Signal::CONT)?;
    Ok((off.figures().await?, on.figures().await?))
}

/// A turn of each.
async fn pair(turn: usize, off: &mut Measured, on: &mut Measured, reads: bool) -> Result<Pair> {
    // Each of them goes first as often as the other.
    if turn.is_multiple_of(2) {
        let off = one(off, reads).await?;
        let on = one(on, reads).await?;
        Ok(Pair { off, on })
    } else {
        let on = one(on, reads).await?;
        let off = one(off, reads).await?;
        Ok(Pair { off, on })
    }
}

/// A turn of one that is held before and after.
async fn one(measured: &mut Measured, reads: bool) -> Result<Turn> {
    measured.signal(Signal::CONT)?;
    let turn = match reads {
        true => measured.read().await?,
        false => measured.ship().await?,
    };
    measured.signal(Signal::STOP)?;
    Ok(turn)
}

/// The same, and nobody measures.
async fn before(measured: &mut Measured, reads: usize, orders: usize) -> Result<()> {
    measured.signal(Signal::CONT)?;
    measured.warm(reads, orders).await?;
    measured.signal(Signal::STOP)
}
