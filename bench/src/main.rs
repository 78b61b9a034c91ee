//! Five comparisons in one run, all on this machine: the two stacks, each with telemetry and without, the two process managers, a fleet of 25 workers
//! with one of 200, and `doctor` on 5,000 files with it on 10,000.
//!
//! Writes `docs/benchmarks.md` and the raw figures, `docs/benchmarks.json`. Takes about seventeen minutes.
//! `BENCH_ROUNDS` (default 3) says how often stacks and managers are measured. With the name of a comparison as its argument (`stacks`,
//! `telemetry`, `managers`, `crowd`, `doctor`) it measures only that one, prints what it found and writes nothing.

mod client;
mod crowd;
mod doctor;
mod machine;
mod managers;
mod process;
mod report;
mod stacks;
mod telemetry;

use anyhow::{Context, Result, ensure};

use crate::report::Report;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    ensure!(
        !cfg!(debug_assertions),
        "a debug build measures the compiler; run `make bench`"
    );
    let rounds = match std::env::var("BENCH_ROUNDS") {
        Ok(given) => given
            .parse()
            .with_context(|| format!("BENCH_ROUNDS: found {given:?}"))?,
        Err(_) => 3,
    };
    let only = std::env::args().nth(1);
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let mut report = Report::new(machine::describe().await?);
    if wanted("stacks") {
        report.stacks = stacks::compare(rounds).await?;
    }
    if wanted("telemetry") {
        report.telemetry = telemetry::compare(rounds).await?;
    }
    if wanted("managers") {
        report.managers = managers::compare(rounds).await?;
    }
    if wanted("crowd") {
        report.crowd = crowd::grow().await?;
    }
    if wanted("doctor") {
        report.doctor = doctor::examine()?;
    }
    match only {
        Some(_) => report.print(),
        None => report.write(),
    }
}
