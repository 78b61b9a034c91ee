//! What telemetry costs: each stack with everything on, and with nothing on.

use acceptance::Stack;
use anyhow::Result;
use poolwright_testkit::Collector;
use serde::Serialize;

use crate::report::say;
use crate::stacks::{Figures, measure};

/// How often metrics are exported: sixty times as often as by default.
pub(crate) const EVERY_MS: u32 = 1_000;

/// Every round of one stack.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) stack: &'static str,
    pub(crate) off: Vec<Figures>,
    pub(crate) on: Vec<Figures>,
    /// What the collector was sent, in all rounds.
    pub(crate) requests: usize,
    pub(crate) spans: usize,
}

/// Measures both, on and off alternating, so that whatever else the machine does meets both.
pub(crate) async fn compare(rounds: usize) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for stack in [Stack::Axum, Stack::Sveltekit] {
        let mut cost = Cost {
            stack: stack.name(),
            off: Vec::new(),
            on: Vec::new(),
            requests: 0,
            spans: 0,
        };
        for _ in 0..rounds {
            cost.off.push(measured(stack, "off", &[]).await?);
            let collector = Collector::start().await?;
            let on = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url().to_owned()),
                ("OTEL_METRIC_EXPORT_INTERVAL", EVERY_MS.to_string()),
                ("PRINT_PRISMA_POOL_METRICS", "true".to_owned()),
            ];
            cost.on.push(measured(stack, "on", &on).await?);
            cost.requests += collector.requests();
            cost.spans += collector.spans().len();
        }
        costs.push(cost);
    }
    Ok(costs)
}

async fn measured(stack: Stack, word: &str, variables: &[(&str, String)]) -> Result<Figures> {
    let figures = measure(stack, variables).await?;
    say(&format!(
        "{:<10} telemetry {word:<3} {:>8.0} reads/s {:>6.0} µs {:>8.1} orders/s",
        stack.name(),
        figures.reads_per_second,
        figures.read_cpu_us,
        figures.orders_per_second
    ));
    Ok(figures)
}
