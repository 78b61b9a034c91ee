//! Both stacks side by side, and each against what limits it, all on this machine and by turns.
//!
//! Writes `docs/benchmarks.md`, its plots, and the raw figures (`docs/benchmarks.json`). With names of parts as arguments (`Part`
//! has them) it measures only those, and puts them in the place of what is recorded of them; with `page` it measures nothing, and
//! writes the page of what is recorded.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `BENCH_ROUNDS` | how often what is compared is measured (default 3) |
//! | `BENCH_DOCS` | a folder to write to instead of `docs` |

mod client;
mod crowd;
mod doctor;
mod limits;
mod machine;
mod managers;
mod meter;
mod network;
mod part;
mod pgbench;
mod process;
mod report;
mod small;
mod stacks;
mod sweep;
mod systemd;
mod telemetry;
mod tenants;
mod watched;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::built;

use crate::part::Part;
use crate::report::Report;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let elsewhere = std::env::var_os("BENCH_DOCS");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measures = arguments != ["page"];
    ensure!(
        !measures || !cfg!(debug_assertions) || elsewhere.is_some(),
        "a debug build measures the compiler; run `make bench`, or give BENCH_DOCS to try this program itself"
    );
    let rounds = rounds()?;
    let docs = elsewhere.map_or_else(|| built::repository().join("docs"), PathBuf::from);
    if !measures {
        return Report::read(&docs)?.write(&docs);
    }
    let only = Part::wanted(&arguments)?;
    let machine = machine::describe().await?;
    let Some(parts) = only else {
        return Report::new(machine, rounds).measure_all(&docs).await;
    };
    let mut report = Report::with(&docs, machine, rounds, &parts)?;
    for part in parts {
        report.measure(part, rounds).await?;
        report.write(&docs)?;
    }
    Ok(())
}

fn rounds() -> Result<usize> {
    let Ok(given) = std::env::var("BENCH_ROUNDS") else {
        return Ok(3);
    };
    let rounds = given.parse().ok().filter(|rounds| *rounds > 0);
    rounds.with_context(|| format!("BENCH_ROUNDS: found {given:?}, expected a number from 1"))
}
