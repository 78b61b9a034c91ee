//! What telemetry costs, in words.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::Spread;
use crate::stacks::Figures;
use crate::telemetry::{Cost, EVERY_MS};

/// One line of each stack: its name, and what it shows.
type Line = (&'static str, fn(&Figures) -> f64);

const LINES: [Line; 5] = [
    ("`GET /api/orders`, requests/s", |f| f.reads_per_second),
    ("processor time of the workers for a request, µs", |f| {
        f.read_cpu_us
    }),
    ("completed orders/s", |f| f.orders_per_second),
    ("processor time of the workers for an order, µs", |f| {
        f.order_cpu_us
    }),
    ("memory per worker after load, MiB", |f| f.loaded_mib),
];

pub(super) fn section(costs: &[Cost]) -> Result<String> {
    let mut table = String::new();
    let mut sent = String::new();
    for cost in costs {
        for (name, figure) in LINES {
            let off = Spread::over(&cost.off, figure)?;
            let on = Spread::over(&cost.on, figure)?;
            let (stack, off, on) = (&cost.stack, off.cell(), on.cell());
            let more = more(cost, figure)?;
            writeln!(table, "| {stack}: {name} | {off} | {on} | {more} |")?;
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

The same as above with everything on: traces as they are limited by default, metrics every {EVERY_MS} ms, the pool's metrics printed; and with nothing on. In
each round a fleet with everything on and one with nothing on take turns, the workers of the other one held (`SIGSTOP`): what the machine does besides meets both. They
are warm: a process of Node is slower for its first thousands of requests, and more so with everything on. The
last column is the median of the rounds, each compared in itself.

| | off | on | on is more by |
| --- | ---: | ---: | ---: |
{table}
{sent}"
    ))
}

/// By how much a figure is more with everything on, of each round in itself, in percent.
fn more(cost: &Cost, figure: fn(&Figures) -> f64) -> Result<String> {
    let rounds = cost.off.iter().zip(&cost.on);
    let more = rounds.map(|(off, on)| (figure(on) / figure(off) - 1.0) * 100.0);
    let Spread { median, min, max } = Spread::of(more).context("nothing was measured")?;
    Ok(format!("{median:+.1} % ({min:+.1} – {max:+.1})"))
}
