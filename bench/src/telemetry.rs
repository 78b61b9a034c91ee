//! What telemetry costs: each stack with everything on, and with nothing on.

use acceptance::Stack;
use anyhow::Result;
use poolwright_testkit::Collector;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::report::say;
use crate::stacks::{Figures, Measured, Stacks, TURNS};

/// How often metrics are exported: sixty times as often as by default.
pub(crate) const EVERY_MS: u32 = 1_000;

/// Every round of one stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) stack: String,
    pub(crate) off: Vec<Figures>,
    pub(crate) on: Vec<Figures>,
    /// What the collector was sent, in all rounds.
    pub(crate) requests: usize,
    pub(crate) spans: usize,
}

impl Cost {
    fn of(stack: Stack) -> Self {
        Self {
            stack: stack.name().to_owned(),
            off: Vec::new(),
            on: Vec::new(),
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

/// Measures both. In each round the fleet with everything on and the one with everything off take turns, the other one held.
pub(crate) async fn compare(rounds: usize) -> Result<Vec<Cost>> {
    let mut costs = [Stack::Axum, Stack::Sveltekit].map(|stack| (stack, Cost::of(stack)));
    for _ in 0..rounds {
        for (stack, cost) in &mut costs {
            let collector = Collector::start().await?;
            let on = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url().to_owned()),
                ("OTEL_METRIC_EXPORT_INTERVAL", EVERY_MS.to_string()),
                ("PRINT_PRISMA_POOL_METRICS", "true".to_owned()),
            ];
            let off = Measured::start(*stack, &[]).await?;
            off.signal(Signal::STOP)?;
            let on = Measured::start(*stack, &on).await?;
            on.signal(Signal::STOP)?;
            let (off, on) = turns(off, on).await?;
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

/// Both are held before and go on after.
async fn turns(mut off: Measured, mut on: Measured) -> Result<(Figures, Figures)> {
    for turn in 0..2 * TURNS {
        let (first, second) = match turn % 2 {
            0 => (&mut off, &mut on),
            _ => (&mut on, &mut off),
        };
        for measured in [first, second] {
            measured.signal(Signal::CONT)?;
            match turn < TURNS {
                true => measured.read().await?,
                false => measured.ship().await?,
            }
            measured.signal(Signal::STOP)?;
        }
    }
    off.signal(Signal::CONT)?;
    on.signal(Signal::CONT)?;
    Ok((off.figures().await?, on.figures().await?))
}
