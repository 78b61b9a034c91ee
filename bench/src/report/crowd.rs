//! Fleets of growing size, in words.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::number;
use crate::crowd::{Figures, IDLE, SIZES};

/// One line: a figure per worker, in the unit that its name says.
type Line = (&'static str, fn(&Figures) -> f64);

const LINES: [Line; 10] = [
    ("start, ms", |f| f.start_s * 1e3),
    ("status, ms", |f| f.status_s * 1e3),
    ("reload, ms", |f| f.reload_s * 1e3),
    ("stop, ms", |f| f.stop_s * 1e3),
    ("processor time of the supervisor for the start, ms", |f| {
        f.start_cpu_s * 1e3
    }),
    ("– for the reload, ms", |f| f.reload_cpu_s * 1e3),
    ("– of that, what it takes besides idling, ms", |f| {
        f.reload_besides_s() * 1e3
    }),
    (
        "– for a second in which nothing happens, after the start, ms",
        |f| f.together_cores * 1e3,
    ),
    ("– the same, around the reload, ms", |f| {
        f.apart_cores * 1e3
    }),
    ("memory of the supervisor, KiB", |f| f.memory_mib * 1024.0),
];

pub(super) fn section(sizes: &[Figures]) -> Result<String> {
    let (first, last) = sizes
        .first()
        .zip(sizes.last())
        .context("nothing was measured")?;
    let mut head = "| of one worker |".to_owned();
    let mut rule = "| --- |".to_owned();
    for size in sizes {
        write!(head, " {} workers |", size.workers)?;
        rule.push_str(" ---: |");
    }
    let mut table = format!(
        "{head} {} against {} |\n{rule} ---: |\n",
        last.workers, first.workers
    );
    for (name, figure) in LINES {
        let each = |size: &Figures| figure(size) / f64::from(size.workers);
        write!(table, "| {name} |")?;
        for size in sizes {
            write!(table, " {} |", number(each(size)))?;
        }
        writeln!(table, " {:.2} × |", each(last) / each(first))?;
    }
    let in_all = |figure: f64| number(figure);
    Ok(format!(
        "\
## {largest} workers

What one worker costs in fleets of {sizes} small ones under `poolwright up`: each figure is that of the fleet, divided by its workers.
1 × or less in the last column says that one more costs the same however many there are; less, because what the fleet costs
once is shared by more of them.

{table}
In all, the {largest} start in {start} s, `status` takes {status} ms, `reload` replaces them one after the other in {reload} s, `stop` takes
{stop} s, and the supervisor has {memory} MiB and takes {together} to {apart} % of a core while it runs.

- The workers do what the channel asks for and open nothing: boot, launch, serve, report their gauges every second, drain. Each is a process
  that costs the machine some milliseconds to start, which is most of *start*.
- *Start* is from the command to `all workers serve`, the others are commands from their start to their end, `status` the median of nine.
- A *reload* watches each new worker for half a second before it goes on, which is most of its time; its processor time shows the rest. In that half
  second the whole fleet reports its gauges: the more workers, the more of it; the line below takes that off. Workers that started together report
  together and wake the supervisor once; one that was reloaded reports at its own time. So every fleet is reloaded once before, and what is taken off is
  what it takes before and after the reload that is measured.
- Nothing happens for {watched} s while processor time is read from `/proc/<pid>/task/*/schedstat`. Every size is measured once.
",
        largest = last.workers,
        sizes = SIZES.map(|size| size.to_string()).join(", "),
        start = in_all(last.start_s),
        status = in_all(last.status_s * 1e3),
        reload = in_all(last.reload_s),
        stop = in_all(last.stop_s),
        memory = in_all(last.memory_mib),
        together = in_all(last.together_cores * 100.0),
        apart = in_all(last.apart_cores * 100.0),
        watched = IDLE.as_secs(),
    ))
}
