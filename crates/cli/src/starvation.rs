//! What is done about starved pools: each is told once, and its worker is replaced where the manifest says so.

use crate::narrator::Narrator;
use crate::style::{self, paint};
use poolwright_supervisor::control::{Inquirer, SlotFailure};
use poolwright_topology::declare::{OnStarved, Topology};
use poolwright_topology::finding::{Finding, Kind, Severity};
use poolwright_topology::tag::SlotId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How soon after it was replaced a worker is not replaced again. What starves it again at once is no accident, and a worker that is
/// always restarting serves nobody.
const PAUSE: Duration = Duration::from_secs(5 * 60);

type Place = (SlotId, String);

/// The starved pools of a running fleet.
pub(crate) struct Starvation<'a> {
    narrator: &'a Narrator,
    inquirer: Inquirer,
    /// The pools whose worker is to be replaced: app and pool.
    cured: BTreeSet<(String, String)>,
    told: BTreeMap<Place, Told>,
    replaced: BTreeMap<SlotId, Instant>,
    under_way: JoinSet<(SlotId, Result<Option<SlotFailure>, String>)>,
    /// Those in it.
    replacing: BTreeSet<SlotId>,
    /// Why the last restart did not happen, of those that are still to be.
    refused: BTreeMap<SlotId, String>,
}

/// What was said of a starved pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// That it is, or may be, starved.
    Found(Severity),
    /// And that it is not cured, so soon after it was.
    Left,
}

impl<'a> Starvation<'a> {
    /// For a fleet that was declared so.
    pub(crate) fn new(topology: &Topology, narrator: &'a Narrator, inquirer: Inquirer) -> Self {
        let cured = topology
            .pools()
            .filter(|(_, pool)| pool.on_starved == OnStarved::Restart)
            .map(|(app, pool)| (app.name.to_string(), pool.name.to_string()));
        Self {
            narrator,
            inquirer,
            cured: cured.collect(),
            told: BTreeMap::new(),
            replaced: BTreeMap::new(),
            under_way: JoinSet::new(),
            replacing: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Takes in what a look at the fleet found. Needs a tokio runtime.
    pub(crate) fn look(&mut self, findings: &[Finding]) {
        self.settle();
        let mut now = BTreeSet::new();
        for finding in findings
            .iter()
            .filter(|found| found.kind == Kind::PoolStarved)
        {
            let (Some(slot), Some(pool)) = (&finding.slot, &finding.pool) else {
                continue;
            };
            let place = (slot.clone(), pool.clone());
            now.insert(place.clone());
            self.tell(&place, finding);
            let certain = finding.severity == Severity::Error;
            if certain && self.cured.contains(&(slot.app().to_string(), pool.clone())) {
                self.cure(&place);
            }
        }
        let over = |place: &&Place| !now.contains(*place);
        let over: Vec<Place> = self.told.keys().filter(over).cloned().collect();
        for place in over {
            self.told.remove(&place);
            let (slot, pool) = &place;
            if !self.replacing.contains(slot) {
                let words = format!("its pool {pool} moves again");
                self.narrator.announce(Some(slot), words);
            }
        }
    }

    fn tell(&mut self, place: &Place, finding: &Finding) {
        match self.told.get(place) {
            Some(Told::Left) => return,
            Some(Told::Found(severity)) if *severity >= finding.severity => return,
            Some(Told::Found(_)) | None => {}
        }
        let (mark, word) = match finding.severity {
            Severity::Error => (style::BAD, "error:"),
            Severity::Warning | Severity::Info => (style::WARN, "warning:"),
        };
        let (message, cure) = (&finding.message, paint(style::QUIET, &finding.cure));
        let words = format!("{} {message}", paint(mark, word));
        self.narrator.announce(Some(&place.0), words);
        self.narrator.announce(Some(&place.0), cure);
        self.told
            .insert(place.clone(), Told::Found(finding.severity));
    }

    fn cure(&mut self, place: &Place) {
        let (slot, pool) = place;
        if self.replacing.contains(slot) {
            return;
        }
        let last = self.replaced.get(slot);
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            if self.told.insert(place.clone(), Told::Left) != Some(Told::Left) {
                let words = format!(
                    "is not restarted again within {} min of the last time: what it runs starves its pool {pool} by itself",
                    PAUSE.as_secs() / 60
                );
                self.narrator.announce(Some(slot), words);
            }
            return;
        }
        if !self.refused.contains_key(slot) {
            let words = format!("is restarted, because its pool {pool} is starved");
            self.narrator.announce(Some(slot), words);
        }
        self.replacing.insert(slot.clone());
        let (inquirer, slot) = (self.inquirer.clone(), slot.clone());
        self.under_way.spawn(async move {
            let outcome = inquirer.restart(slot.clone()).await;
            (slot, outcome)
        });
    }

    /// Takes in what became of the restarts.
    fn settle(&mut self) {
        while let Some(ended) = self.under_way.try_join_next() {
            let Ok((slot, outcome)) = ended else {
                continue;
            };
            self.replacing.remove(&slot);
            match outcome {
                // Of a new worker that failed the supervisor tells itself.
                Ok(_) => {
                    self.refused.remove(&slot);
                    self.replaced.insert(slot, Instant::now());
                }
                // It is tried again as long as it is starved.
                Err(reason) if self.refused.get(&slot) == Some(&reason) => {}
                Err(reason) => {
                    let words = format!("could not be restarted yet: {reason}");
                    self.narrator.announce(Some(&slot), words);
                    self.refused.insert(slot, reason);
                }
            }
        }
    }
}
