//! A fleet under the eyes of its people, in words.

use std::fmt::Write;

use anyhow::Result;

use super::Spread;
use crate::watched::{IDLE, Idle, WORKERS, Watched};

/// One line of the table.
type Line = (&'static str, fn(&Idle) -> f64);

const LINES: [Line; 5] = [
    ("processor time of the supervisor, % of a core", |i| {
        i.cores * 100.0
    }),
    ("memory of the supervisor, MiB", |i| i.memory_mib),
    ("round trips to Postgres in a second", |i| {
        i.trips_per_second
    }),
    ("events that came to the page in a second", |i| {
        i.events_per_second
    }),
    ("pictures that `top` drew in a second", |i| {
        i.frames_per_second
    }),
];

pub(super) fn section(watched: &Watched) -> Result<String> {
    let mut table = String::new();
    for (name, figure) in LINES {
        let by_nobody = Spread::over(&watched.by_nobody, figure)?.cell();
        let by_both = Spread::over(&watched.by_both, figure)?.cell();
        writeln!(table, "| {name} | {by_nobody} | {by_both} |")?;
    }
    Ok(format!(
        "\
## {WORKERS} workers and their onlookers

What a supervisor takes for {WORKERS} small workers that serve, while nothing happens: with nobody looking, and with [the page](observe.md) open in
a client and [`top`](top.md) on a terminal of 60 rows.

| | nobody looks | the page is open and `top` runs |
| --- | ---: | ---: |
{table}
- Each round is {idle} s, by turns on one fleet under `poolwright up --observe`. Processor time is that of all its threads, memory its
  proportional set size. The workers report their gauges every second.
- *Round trips to Postgres* are those of the fleet's whole network, counted between it and the server: the census, on the one connection that
  the supervisor holds.
",
        idle = IDLE.as_secs(),
    ))
}
