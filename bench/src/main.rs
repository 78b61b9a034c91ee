//! Both stacks side by side in one run: 3 workers, 18 connections, 30 clients, under `poolwright up`.
//!
//! Writes `docs/benchmarks.md` and the raw figures, `docs/benchmarks.json`. Takes about three minutes.
//! `BENCH_ROUNDS` (default 3) says how often each stack is measured.

mod client;
mod machine;
mod report;
mod round;

use acceptance::Stack;
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
    let mut report = Report::new(machine::describe()?);
    // Alternating, so that whatever else the machine does meets both.
    for _ in 0..rounds {
        for stack in [Stack::Axum, Stack::Sveltekit] {
            let figures = round::measure(stack).await?;
            report.add(stack, figures);
        }
    }
    report.write()
}
