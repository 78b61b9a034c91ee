//! What is true whatever happens, seen from outside of the fleet.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::sampler::{Limits, Report, Sampler};
use serde_json::{Value, json};
use std::time::Duration;

use super::plan::MOST_WORKERS;
use crate::Setup;
use crate::bound::{declared, held};

const PERIOD: Duration = Duration::from_millis(10);

/// Of each pool.
const MAX: usize = 3;

/// What a supervisor may hold more than when it was first looked at, beside what each further slot takes.
const MORE_DESCRIPTORS: usize = 12;
const OF_EACH_SLOT: usize = 8;
const MORE_KIB: usize = 8 * 1024;

/// Counts the sessions in Postgres while an episode lasts.
pub(super) struct Witness(Sampler);

impl Witness {
    pub(super) async fn start(setup: &Setup) -> Result<Self> {
        let limits = Limits {
            names: known(),
            fleet: None,
        };
        let sampler = Sampler::start(&setup.server.admin_url()?, PERIOD, limits).await?;
        Ok(Self(sampler))
    }

    pub(super) async fn finish(self) -> Result<Report> {
        self.0.finish().await
    }
}

/// The most sessions of each name: of every pool of every slot that there may be, and the supervisor's own.
fn known() -> BTreeMap<String, usize> {
    let mut known = declared(MOST_WORKERS, MAX, MAX);
    known.insert("web:poolwright".to_owned(), 1);
    known
}

/// The bound was held.
pub(super) fn within_bound(seen: &Report) -> Result<()> {
    held(seen, &known())
}

/// What the supervisor takes, which does not grow however long it runs.
#[derive(Debug, Default)]
pub(super) struct Cost {
    first: Option<Look>,
    most: Look,
    supervisors: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Look {
    pid: u32,
    slots: usize,
    descriptors: usize,
    kib: usize,
}

impl Cost {
    /// The next look at the supervisor, when the fleet is whole.
    pub(super) fn look(&mut self, pid: u32, slots: usize) -> Result<()> {
        let look = Look {
            pid,
            slots,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            kib: resident_kib(pid)?,
        };
        let first = match self.first {
            Some(first) if first.pid == pid => first,
            _ => {
                self.supervisors += 1;
                *self.first.insert(look)
            }
        };
        self.most.descriptors = self.most.descriptors.max(look.descriptors);
        self.most.kib = self.most.kib.max(look.kib);
        let more_slots = slots.saturating_sub(first.slots);
        let descriptors = first.descriptors + MORE_DESCRIPTORS + OF_EACH_SLOT * more_slots;
        ensure!(
            look.descriptors <= descriptors && look.kib <= first.kib + MORE_KIB,
            "the supervisor grows: {look:?} after {first:?}"
        );
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "processes": self.supervisors,
            "most_descriptors": self.most.descriptors,
            "most_resident_kib": self.most.kib,
        })
    }
}

fn resident_kib(pid: u32) -> Result<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}
