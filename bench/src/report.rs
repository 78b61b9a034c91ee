//! The figures as a page and as data.

mod crowd;
mod doctor;
mod managers;
mod stacks;
mod telemetry;

use anyhow::{Context, Result};
use poolwright_testkit::built;
use serde::Serialize;

use crate::crowd::Figures;
use crate::doctor::Examined;
use crate::machine::Machine;
use crate::managers::Managers;
use crate::stacks::Stacks;
use crate::telemetry::Cost;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    pub(crate) stacks: Stacks,
    pub(crate) telemetry: Vec<Cost>,
    pub(crate) managers: Managers,
    pub(crate) crowd: Vec<Figures>,
    pub(crate) doctor: Vec<Examined>,
}

/// The middle of the rounds and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// None of no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            min: *values.first()?,
            max: *values.last()?,
        })
    }

    /// Of one figure of every round.
    fn over<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> Result<Self> {
        Self::of(rounds.iter().map(figure)).context("nothing was measured")
    }

    /// As it stands in a table.
    fn cell(self) -> String {
        let [median, min, max] = [self.median, self.min, self.max].map(number);
        if min == max {
            median
        } else {
            format!("{median} ({min}–{max})")
        }
    }
}

fn number(value: f64) -> String {
    if value == value.trunc() || value >= 100.0 {
        format!("{value:.0}")
    } else if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            stacks: Stacks::default(),
            telemetry: Vec::new(),
            managers: Managers::default(),
            crowd: Vec::new(),
            doctor: Vec::new(),
        }
    }

    /// What was measured so far, as data.
    pub(crate) fn print(&self) -> Result<()> {
        say(&serde_json::to_string_pretty(self)?);
        Ok(())
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
        let Self {
            machine,
            stacks,
            telemetry,
            managers,
            crowd,
            doctor,
        } = self;
        Ok(format!(
            "\
# Benchmarks

Printed by `make bench`, which measures everything below in one run on one machine. A figure is the median of {rounds} rounds, with
the lowest and the highest in parentheses; every round stands in [benchmarks.json](benchmarks.json). What is compared
alternates, each time on an empty Postgres of its own. Ratios travel between machines better than the figures
themselves do.

Measured on {processor}, {cores} cores, {memory} GiB, {kernel}, with a load average of {load:.1} before; {rustc}, Node {node},
PostgreSQL {postgres}. Load generator, workers and database share the {cores} cores. The database flushes nothing to
disk (`fsync = off`): the disk would hide the differences.

{stacks}
{telemetry}
{managers}
{crowd}
{doctor}",
            rounds = stacks.axum.len(),
            processor = machine.processor,
            cores = machine.cores,
            memory = machine.memory_gib,
            kernel = machine.kernel,
            load = machine.load_before,
            rustc = machine.rustc,
            node = machine.node,
            postgres = machine.postgres,
            stacks = stacks::section(stacks)?,
            telemetry = telemetry::section(telemetry)?,
            managers = managers::section(managers)?,
            crowd = crowd::section(crowd)?,
            doctor = doctor::section(doctor)?,
        ))
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the measurements are what this program is for"
)]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_shows_the_median_and_how_far_the_rounds_lie_apart() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied()).unwrap().cell();
        assert_eq!(spread(&[1200.4, 1100.0, 1300.0]), "1200 (1100–1300)");
        assert_eq!(spread(&[18.0, 18.0, 18.0]), "18");
        assert_eq!(spread(&[2.345]), "2.35");
        assert!(Spread::of([]).is_none());
    }
}
