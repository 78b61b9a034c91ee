//! The figures as a page and as data.

mod crowd;
mod doctor;
mod limits;
mod managers;
mod plot;
mod spread;
mod stacks;
mod sweep;
mod systemd;
mod telemetry;
mod tenants;
mod watched;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub(crate) use self::spread::Spread;
use self::spread::{not_ahead, number};
use crate::crowd::Figures;
use crate::doctor::Examined;
use crate::limits::Limits;
use crate::machine::Machine;
use crate::managers::Managers;
use crate::part::Part;
use crate::stacks::Stacks;
use crate::sweep::Step;
use crate::systemd::Systemd;
use crate::telemetry::Cost;
use crate::tenants::Tenants;
use crate::watched::Watched;

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    machine: Machine,
    #[serde(default = "three")]
    rounds: usize,
    /// Parts that were measured again after the run, by themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    alone: BTreeMap<Part, Alone>,
    stacks: Option<Stacks>,
    telemetry: Option<Vec<Cost>>,
    limits: Option<Limits>,
    tenants: Option<Tenants>,
    pools: Option<Vec<Step>>,
    workers: Option<Vec<Step>>,
    managers: Option<Managers>,
    systemd: Option<Systemd>,
    crowd: Option<Vec<Figures>>,
    watched: Option<Watched>,
    doctor: Option<Vec<Examined>>,
}

/// What a part was measured on that is not of the run.
#[derive(Debug, Serialize, Deserialize)]
struct Alone {
    rounds: usize,
    machine: Machine,
}

/// As often as records from before the number was recorded have it.
const fn three() -> usize {
    3
}

impl Report {
    pub(crate) fn new(machine: Machine, rounds: usize) -> Self {
        Self {
            machine,
            rounds,
            alone: BTreeMap::new(),
            stacks: None,
            telemetry: None,
            limits: None,
            tenants: None,
            pools: None,
            workers: None,
            managers: None,
            systemd: None,
            crowd: None,
            watched: None,
            doctor: None,
        }
    }

    /// What is recorded.
    pub(crate) fn read(docs: &Path) -> Result<Self> {
        let file = docs.join("benchmarks.json");
        let recorded = fs::read_to_string(&file);
        let recorded = recorded.with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&recorded)
            .with_context(|| format!("{} is none of this program's", file.display()))
    }

    /// What is recorded, into which `parts` will be measured on `machine`.
    pub(crate) fn with(
        docs: &Path,
        machine: Machine,
        rounds: usize,
        parts: &[Part],
    ) -> Result<Self> {
        if !docs.join("benchmarks.json").exists() {
            return Ok(Self::new(machine, rounds));
        }
        let mut report = Self::read(docs)?;
        for part in parts {
            let machine = machine.clone();
            report.alone.insert(*part, Alone { rounds, machine });
        }
        Ok(report)
    }

    /// Measures everything, and writes it after each part: what was measured is not lost with what fails later.
    pub(crate) async fn measure_all(&mut self, docs: &Path) -> Result<()> {
        for part in Part::ALL {
            match part {
                // Measured with the next, which needs the same once more.
                Part::Stacks => continue,
                part => self.measure(part, self.rounds).await?,
            }
            if part == Part::Telemetry {
                self.stacks = self.telemetry.as_deref().map(crate::telemetry::stacks);
            }
            self.write(docs)?;
        }
        Ok(())
    }

    /// Measures a part, in the place of what was there of it.
    pub(crate) async fn measure(&mut self, part: Part, rounds: usize) -> Result<()> {
        let begin = Instant::now();
        let measured = self.measure_one(part, rounds).await;
        measured.with_context(|| format!("measuring {}", part.name()))?;
        say(&format!("{} took {:.0?}", part.name(), begin.elapsed()));
        Ok(())
    }

    async fn measure_one(&mut self, part: Part, rounds: usize) -> Result<()> {
        match part {
            Part::Stacks => self.stacks = Some(crate::stacks::compare(rounds).await?),
            Part::Telemetry => self.telemetry = Some(crate::telemetry::compare(rounds).await?),
            Part::Limits => self.limits = Some(crate::limits::compare(rounds).await?),
            Part::Tenants => self.tenants = Some(crate::tenants::compare(rounds).await?),
            Part::Pools => self.pools = Some(crate::sweep::pools(rounds).await?),
            Part::Workers => self.workers = Some(crate::sweep::workers(rounds).await?),
            Part::Managers => self.managers = Some(crate::managers::compare(rounds).await?),
            Part::Systemd => self.systemd = Some(crate::systemd::compare(rounds).await?),
            Part::Crowd => self.crowd = Some(crate::crowd::grow().await?),
            Part::Watched => self.watched = Some(crate::watched::watch(rounds).await?),
            Part::Doctor => self.doctor = Some(crate::doctor::examine()?),
        }
        Ok(())
    }

    fn section(&self, part: Part) -> Result<Option<String>> {
        match part {
            Part::Stacks => self.stacks.as_ref().map(stacks::section),
            Part::Telemetry => self.telemetry.as_deref().map(telemetry::section),
            Part::Limits => self.limits.as_ref().map(limits::section),
            Part::Tenants => self.tenants.as_ref().map(tenants::section),
            Part::Pools => self.pools.as_deref().map(sweep::pools),
            Part::Workers => self.workers.as_deref().map(sweep::workers),
            Part::Managers => self.managers.as_ref().map(managers::section),
            Part::Systemd => self.systemd.as_ref().map(systemd::section),
            Part::Crowd => self.crowd.as_deref().map(crowd::section),
            Part::Watched => self.watched.as_ref().map(watched::section),
            Part::Doctor => self.doctor.as_deref().map(doctor::section),
        }
        .transpose()
    }

    /// The pictures of the page, by their names.
    fn pictures(&self) -> Result<Vec<(&'static str, String)>> {
        let mut pictures = Vec::new();
        if let Some(steps) = &self.pools {
            let title = "Reads per second by the size of the pool";
            let picture = sweep::picture(title, "connections of each ORM pool", steps)?;
            pictures.push(("pools.svg", picture));
        }
        if let Some(steps) = &self.workers {
            let title = "Reads per second by the number of workers";
            pictures.push(("workers.svg", sweep::picture(title, "workers", steps)?));
        }
        if let Some(managers) = &self.managers {
            pictures.push(("managers.svg", managers::picture(managers)?));
        }
        Ok(pictures)
    }

    /// Writes the page, its pictures and the data.
    pub(crate) fn write(&self, docs: &Path) -> Result<()> {
        let pictures = docs.join("benchmarks");
        fs::create_dir_all(&pictures)?;
        for (name, picture) in self.pictures()? {
            fs::write(pictures.join(name), picture)?;
        }
        let data = serde_json::to_string_pretty(self)?;
        fs::write(docs.join("benchmarks.json"), data + "\n")?;
        fs::write(docs.join("benchmarks.md"), self.page()?)?;
        Ok(())
    }

    fn page(&self) -> Result<String> {
        let mut page = self.head();
        for part in Part::ALL {
            let Some(section) = self.section(part)? else {
                continue;
            };
            write!(page, "\n{section}")?;
            if let Some(Alone { rounds, machine }) = self.alone.get(&part) {
                // It grows by sizes and has no rounds.
                let times = match part {
                    Part::Crowd => "once".to_owned(),
                    _ => format!("in {rounds} rounds"),
                };
                writeln!(
                    page,
                    "\nThis part was measured again by itself, {times}, on {}.",
                    machine.words()
                )?;
            }
        }
        Ok(page)
    }

    fn head(&self) -> String {
        format!(
            "\
# Benchmarks

Printed by `make bench`, which measures everything below in one run on one machine. A figure is the median of {rounds} rounds, with
the lowest and the highest in parentheses; every round stands in [benchmarks.json](benchmarks.json). What is compared
alternates, each time on an empty Postgres of its own. Ratios travel between machines better than the figures
themselves do.

Measured on {machine}. Load generator, workers and database share the {cores} cores. Where nothing else is said, the database flushes
nothing to disk (`fsync = off`): the disk would hide the differences.
",
            rounds = self.rounds,
            machine = self.machine.words(),
            cores = self.machine.cores,
        )
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
    use poolwright_testkit::built;

    use super::*;

    #[test]
    fn the_page_is_what_its_figures_say() {
        let docs = built::repository().join("docs");
        let report = Report::read(&docs).unwrap();
        let page = fs::read_to_string(docs.join("benchmarks.md")).unwrap();
        assert!(
            report.page().unwrap() == page,
            "docs/benchmarks.md is not made from docs/benchmarks.json"
        );
    }
}
