//! Both stacks, in words.

use std::fmt::Write;

use anyhow::Result;

use super::Spread;
use crate::stacks::{
    CLIENTS, Figures, LISTED, ORDER_TURNS, ORDERS, ORDERS_BEFORE, READ_TURNS, READS, READS_BEFORE,
    Stacks, WORKERS,
};

/// One line of the table.
struct Line {
    name: &'static str,
    figure: fn(&Figures) -> f64,
    /// Whether more is better.
    more: bool,
}

const LINES: [Line; 8] = [
    Line {
        name: "`GET /api/orders`, requests/s",
        figure: |f| f.reads_per_second,
        more: true,
    },
    Line {
        name: "their median time, ms",
        figure: |f| f.read_p50_ms,
        more: false,
    },
    Line {
        name: "their 99th percentile, ms",
        figure: |f| f.read_p99_ms,
        more: false,
    },
    Line {
        name: "processor time of the workers for one request, µs",
        figure: |f| f.read_cpu_us,
        more: false,
    },
    Line {
        name: "completed orders/s",
        figure: |f| f.orders_per_second,
        more: true,
    },
    Line {
        name: "processor time of the workers for one order, µs",
        figure: |f| f.order_cpu_us,
        more: false,
    },
    Line {
        name: "memory per worker when ready, MiB",
        figure: |f| f.idle_mib,
        more: false,
    },
    Line {
        name: "memory per worker after load, MiB",
        figure: |f| f.loaded_mib,
        more: false,
    },
];

pub(super) fn section(stacks: &Stacks) -> Result<String> {
    let mut table = String::new();
    for Line { name, figure, more } in LINES {
        let axum = Spread::over(&stacks.axum, figure)?;
        let sveltekit = Spread::over(&stacks.sveltekit, figure)?;
        let ratio = match more {
            true => axum.median / sveltekit.median,
            false => sveltekit.median / axum.median,
        };
        let (axum, sveltekit) = (axum.cell(), sveltekit.cell());
        writeln!(table, "| {name} | {axum} | {sveltekit} | {ratio:.1} × |")?;
    }
    let generator = |rounds: &[Figures]| Spread::over(rounds, |f| f.generator_cores);
    Ok(format!(
        "\
## The two stacks

{WORKERS} workers under `poolwright up`, 18 connections, {CLIENTS} clients. They keep their connections for reads, and open one for each order.

| | axum | SvelteKit | axum is better by |
| --- | ---: | ---: | ---: |
{table}
- *Reads*: {READ_TURNS} times {reads} s of `GET /api/orders` for one tenant, {LISTED} orders in each answer, after at least {READS_BEFORE} of
  them and {ORDERS_BEFORE} orders as a warm-up. Each is a transaction under row-level security. The generator took {axum:.2} of a core while it read from axum and
  {sveltekit:.2} while it read from SvelteKit.
- *Completed orders*: {ORDER_TURNS} times {ORDERS} orders are placed as fast as they are accepted; the clock stops when the last is
  shipped. Each is a durable workflow of three steps, without the pause that the demo makes in between.
- *Memory* is the proportional set size of the median worker (`/proc/<pid>/smaps_rollup`).
",
        reads = READS.as_secs_f64(),
        axum = generator(&stacks.axum)?.median,
        sveltekit = generator(&stacks.sveltekit)?.median,
    ))
}
