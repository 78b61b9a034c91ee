//! What telemetry costs, in words.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::Spread;
use super::spread::mean_and_error;
use crate::stacks::{Figures, ORDERS, Turn};
use crate::telemetry::{
    Cost, EVERY_MS, ORDER_TURNS_BEFORE, Pair, READ_TURNS_BEFORE, READS_OF_A_TURN,
};

/// One line of each stack.
struct Line {
    name: &'static str,
    /// What it shows of a round.
    figure: fn(&Figures) -> f64,
    /// By how much it is more with everything on, of everything that is compared in itself.
    more: fn(&Cost) -> Vec<f64>,
}

const LINES: [Line; 5] = [
    Line {
        name: "`GET /api/orders`, requests/s",
        figure: |f| f.reads_per_second,
        more: |cost| of_pairs(&cost.reads, |turn| turn.per_second),
    },
    Line {
        name: "processor time of the workers for a request, µs",
        figure: |f| f.read_cpu_us,
        more: |cost| of_pairs(&cost.reads, |turn| turn.cpu_us),
    },
    Line {
        name: "completed orders/s",
        figure: |f| f.orders_per_second,
        more: |cost| of_pairs(&cost.orders, |turn| turn.per_second),
    },
    Line {
        name: "processor time of the workers for an order, µs",
        figure: |f| f.order_cpu_us,
        more: |cost| of_pairs(&cost.orders, |turn| turn.cpu_us),
    },
    Line {
        name: "memory per worker after load, MiB",
        figure: |f| f.loaded_mib,
        more: |cost| {
            let rounds = cost.off.iter().zip(&cost.on);
            rounds
                .map(|(off, on)| by(off.loaded_mib, on.loaded_mib))
                .collect()
        },
    },
];

fn of_pairs(pairs: &[Pair], figure: fn(&Turn) -> f64) -> Vec<f64> {
    let by = |pair: &Pair| by(figure(&pair.off), figure(&pair.on));
    pairs.iter().map(by).collect()
}

/// By how much the second is more, in percent.
fn by(off: f64, on: f64) -> f64 {
    (on / off - 1.0) * 100.0
}

/// By how much throughput is more for each pair of fleets, and for all of them: what differs between two fleets that run the same code is their processes, so as
/// many figures are independent of each other as there are pairs of fleets.
fn by_fleets(pairs: &[Pair], fleets: usize) -> Result<String> {
    let of_each = pairs.chunks(pairs.len().div_ceil(fleets.max(1)).max(1));
    let medians = of_each.map(|pairs| {
        let more = Spread::of(of_pairs(pairs, |turn| turn.per_second));
        Ok(more.context("nothing was measured")?.median)
    });
    let medians = medians.collect::<Result<Vec<_>>>()?;
    let (mean, error) =
        mean_and_error(&medians).context("a standard error needs two pairs of fleets")?;
    let each: Vec<_> = medians.iter().map(|more| format!("{more:+.1}")).collect();
    Ok(format!(
        "{mean:+.1} % ± {error:.1} (mean and standard error of the pairs of fleets: {})",
        each.join(", ")
    ))
}

pub(super) fn section(costs: &[Cost]) -> Result<String> {
    let mut table = String::new();
    let mut sent = String::new();
    let turns = |cost: &Cost| {
        format!(
            "{} (reads) and {} (orders)",
            cost.reads.len(),
            cost.orders.len()
        )
    };
    let first = costs.first().context("nothing was measured")?;
    let (pairs, fleets) = (turns(first), first.off.len());
    for cost in costs {
        for Line { name, figure, more } in LINES {
            let off = Spread::over(&cost.off, figure)?;
            let on = Spread::over(&cost.on, figure)?;
            let (stack, off, on) = (&cost.stack, off.cell(), on.cell());
            let more = Spread::of_middle_half(more(cost)).context("nothing was measured")?;
            let more = format!(
                "{:+.1} % ({:+.1} – {:+.1})",
                more.median, more.min, more.max
            );
            writeln!(table, "| {stack}: {name} | {off} | {on} | {more} |")?;
        }
        let Cost {
            stack,
            requests,
            spans,
            ..
        } = cost;
        for (what, pairs) in [("Reads", &cost.reads), ("Orders", &cost.orders)] {
            let by_fleets = by_fleets(pairs, cost.off.len())?;
            writeln!(
                sent,
                "- {what} of {stack} per second, with everything on: {by_fleets}."
            )?;
        }
        writeln!(
            sent,
            "- {stack} sent its collector {spans} spans in {requests} requests."
        )?;
    }
    Ok(format!(
        "\
## What telemetry costs

The same as above with everything on: traces as they are limited by default, metrics every {EVERY_MS} ms, the pool's metrics printed; and with nothing on. In
each round a fleet with everything on and one with nothing on take turns, the workers of the other one held (`SIGSTOP`): what the machine does besides meets both. Time
goes on while a fleet is held, and with it what is done by the minute: of work, it records and exports twice as much as one that is never held. They
are warm, after {READ_TURNS_BEFORE} turns of {READS_OF_A_TURN} reads and {ORDER_TURNS_BEFORE} turns of {ORDERS} orders that nobody measures: a process of Node is slower for its first
ten thousand requests, and more so with everything on. V8 is told not to take a held process for an idle one: it would collect everything and compile much again when the process goes on, and
cost a quarter more for some seconds. Then Postgres has vacuumed and analysed: until it has counted what is new, it reads orders in another way, and the fleet that was warmed up last was
a quarter slower for it. The last column is the median of {pairs} such pairs of turns in {fleets} pairs of fleets, each compared in itself, with what the middle half of them lies between; for memory, of the fleets.

| | off | on | on is more by |
| --- | ---: | ---: | ---: |
{table}
{sent}"
    ))
}
