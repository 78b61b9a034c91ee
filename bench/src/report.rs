//! The figures as a page and as data.

use std::fmt::Write;

use acceptance::Stack;
use anyhow::{Context, Result};
use poolwright_testkit::built;
use serde::Serialize;

use crate::machine::Machine;
use crate::round::{CLIENTS, Figures, LISTED, ORDERS, READS, WARM_UP, WORKERS, median};

/// Every round of both stacks.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    axum: Vec<Figures>,
    sveltekit: Vec<Figures>,
}

/// One line of the table.
struct Line {
    name: &'static str,
    figure: fn(&Figures) -> f64,
    /// Whether more is better.
    more: bool,
}

const LINES: [Line; 7] = [
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
        name: "processor time of the workers for one, µs",
        figure: |f| f.read_cpu_us,
        more: false,
    },
    Line {
        name: "completed orders/s",
        figure: |f| f.orders_per_second,
        more: true,
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

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            axum: Vec::new(),
            sveltekit: Vec::new(),
        }
    }

    /// Takes a round in, and says so.
    pub(crate) fn add(&mut self, stack: Stack, figures: Figures) {
        say(&format!(
            "{:<10} {:>8.0} reads/s {:>8.1} orders/s {:>7.1} MiB",
            stack.name(),
            figures.reads_per_second,
            figures.orders_per_second,
            figures.loaded_mib
        ));
        self.machine.postgres.clone_from(&figures.postgres);
        match stack {
            Stack::Axum => self.axum.push(figures),
            Stack::Sveltekit => self.sveltekit.push(figures),
        }
    }

    /// Writes both files.
    pub(crate) fn write(&self) -> Result<()> {
        let docs = built::repository().join("docs");
        std::fs::create_dir_all(&docs)?;
        let data = serde_json::to_string_pretty(self)?;
        std::fs::write(docs.join("benchmarks.json"), data + "\n")?;
        let page = self.page()?;
        say(&page);
        std::fs::write(docs.join("benchmarks.md"), page)?;
        Ok(())
    }

    fn page(&self) -> Result<String> {
        let Self { machine, .. } = self;
        let rounds = self.axum.len();
        let mut table = String::new();
        for Line { name, figure, more } in LINES {
            let of = |rounds: &[Figures]| median(rounds.iter().map(figure).collect());
            let (axum, sveltekit) = of(&self.axum)
                .zip(of(&self.sveltekit))
                .context("nothing was measured")?;
            let ratio = if more {
                axum / sveltekit
            } else {
                sveltekit / axum
            };
            let (axum, sveltekit) = (number(axum), number(sveltekit));
            writeln!(table, "| {name} | {axum} | {sveltekit} | {ratio:.1} × |")?;
        }
        let generator =
            |rounds: &[Figures]| median(rounds.iter().map(|f| f.generator_cores).collect());
        let (axum, sveltekit) = generator(&self.axum)
            .zip(generator(&self.sveltekit))
            .context("nothing was measured")?;
        Ok(format!(
            "\
# Benchmarks

Both stacks in one run, alternating, each on an empty Postgres of its own: {WORKERS} workers under
`poolwright up`, 18 connections, {CLIENTS} clients that keep their connections. Medians of {rounds} rounds. Printed
by `make bench`; every round stands in [benchmarks.json](benchmarks.json).

| | axum | SvelteKit | axum is better by |
| --- | ---: | ---: | ---: |
{table}
Measured on {processor}, {cores} cores, {memory} GiB, {kernel}; {rustc}, Node {node},
PostgreSQL {postgres}.

## How

- *Reads*: {reads} s of `GET /api/orders` for one tenant, {listed} orders in each answer, after {warm_up} s of
  warm-up. Each is a transaction under row-level security.
- *Completed orders*: {ORDERS} orders are placed as fast as they are accepted; the clock stops when the last is
  shipped. Each is a durable workflow of three steps, without the pause that the demo makes in between.
- *Memory* is the proportional set size of the median worker (`/proc/<pid>/smaps_rollup`).
- The database flushes nothing to disk (`fsync = off`): the disk would hide the difference between the stacks.
- Load generator, workers, and database share the {cores} cores. The generator took {axum:.2} of a core
  while it read from axum and {sveltekit:.2} while it read from SvelteKit.

Ratios travel between machines better than the figures themselves do.
",
            processor = machine.processor,
            cores = machine.cores,
            memory = machine.memory_gib,
            kernel = machine.kernel,
            rustc = machine.rustc,
            node = machine.node,
            postgres = machine.postgres,
            reads = READS.as_secs(),
            warm_up = WARM_UP.as_secs(),
            listed = LISTED,
        ))
    }
}

fn number(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the measurements are what this program is for"
)]
fn say(text: &str) {
    println!("{text}");
}
