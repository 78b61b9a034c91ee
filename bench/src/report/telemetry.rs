//! What telemetry costs, in words.

use std::fmt::Write;

use anyhow::Result;

use super::Spread;
use crate::stacks::Figures;
use crate::telemetry::{Cost, EVERY_MS};

/// One line of each stack: its name, and what it shows.
type Line = (&'static str, fn(&Figures) -> f64);

const LINES: [Line; 4] = [
    ("`GET /api/orders`, requests/s", |f| f.reads_per_second),
    ("processor time of the workers for one, µs", |f| {
        f.read_cpu_us
    }),
    ("completed orders/s", |f| f.orders_per_second),
    ("memory per worker after load, MiB", |f| f.loaded_mib),
];

pub(super) fn section(costs: &[Cost]) -> Result<String> {
    let mut table = String::new();
    let mut sent = String::new();
    for cost in costs {
        for (name, figure) in LINES {
            let off = Spread::over(&cost.off, figure)?;
            let on = Spread::over(&cost.on, figure)?;
            let more = (on.median / off.median - 1.0) * 100.0;
            let (stack, off, on) = (cost.stack, off.cell(), on.cell());
            writeln!(table, "| {stack}: {name} | {off} | {on} | {more:+.1} % |")?;
        }
        let Cost {
            stack,
            requests,
            spans,
            ..
        } = cost;
        writeln!(
            sent,
            "- {stack} sent its collector {spans} spans in {requests} requests."
        )?;
    }
    Ok(format!(
        "\
## What telemetry costs

The same as above with everything on: traces as they are limited by default, metrics every {EVERY_MS} ms, the pool's metrics printed; and with nothing on.

| | off | on | on is more by |
| --- | ---: | ---: | ---: |
{table}
{sent}"
    ))
}
