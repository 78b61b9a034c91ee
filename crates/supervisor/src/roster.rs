//! What is known of each slot beyond the handover's state: its processes, and what they said.

use crate::attendant::Worker;
use crate::spec::AppSpec;
use poolwright_topology::channel::Gauge;
use poolwright_topology::handover::{Failure, Seat, SlotView, WorkerId};
use poolwright_topology::status::{EARLIER_STEPS, SlotStatus, Step, StepTaken};
use poolwright_topology::tag::SlotId;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Every slot there is.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    slots: BTreeMap<SlotId, Known>,
}

/// One slot.
#[derive(Debug)]
struct Known {
    since: SystemTime,
    processes: BTreeMap<Seat, Process>,
    /// Of the process whose end is being dealt with.
    parting_words: Option<Vec<String>>,
    crashed: bool,
    restarts: u32,
    last_failure: Option<String>,
    last_step: Option<StepTaken>,
    earlier_steps: Vec<StepTaken>,
}

/// One process of a slot.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) worker: Worker,
    pub(crate) executor_id: Option<String>,
    pub(crate) gauges: BTreeMap<String, Gauge>,
    /// What it says it is doing.
    pub(crate) status: Option<String>,
    generation: u32,
}

impl Roster {
    /// Slots that are new start empty; the others stay as they are.
    pub(crate) fn add(&mut self, slots: impl Iterator<Item = SlotId>) {
        for slot in slots {
            self.slots.entry(slot).or_insert_with(Known::vacant);
        }
    }

    pub(crate) fn remove(&mut self, slot: &SlotId) {
        self.slots.remove(slot);
    }

    pub(crate) fn moved(&mut self, slot: &SlotId) {
        if let Some(known) = self.slots.get_mut(slot) {
            known.since = SystemTime::now();
        }
    }

    pub(crate) fn process(&mut self, id: &WorkerId) -> Option<&mut Process> {
        self.slots.get_mut(&id.slot)?.processes.get_mut(&id.seat)
    }

    /// A process runs.
    pub(crate) fn seated(&mut self, id: &WorkerId, worker: Worker, generation: u32) {
        let Some(known) = self.slots.get_mut(&id.slot) else {
            return;
        };
        known.restarts += u32::from(known.crashed);
        known.crashed = false;
        known.processes.insert(
            id.seat,
            Process {
                worker,
                executor_id: None,
                gauges: BTreeMap::new(),
                status: None,
                generation,
            },
        );
    }

    /// A process is gone. Its last words are kept until [`Roster::parted`].
    pub(crate) fn gone(&mut self, id: &WorkerId) -> Option<Process> {
        let known = self.slots.get_mut(&id.slot)?;
        let process = known.processes.remove(&id.seat)?;
        known.parting_words = Some(process.worker.last_words());
        Some(process)
    }

    /// The end of a process has been dealt with.
    pub(crate) fn parted(&mut self, slot: &SlotId) {
        if let Some(known) = self.slots.get_mut(slot) {
            known.parting_words = None;
        }
    }

    /// The slot's next process is a restart.
    pub(crate) fn crashed(&mut self, failure: &Failure) {
        if let Some(known) = self.slots.get_mut(&failure.slot) {
            known.crashed = true;
            known.last_failure = Some(failure.to_string());
        }
    }

    /// A reload or restart has come to this step with the slot.
    pub(crate) fn stepped(&mut self, slot: &SlotId, step: Step) {
        if let Some(known) = self.slots.get_mut(slot) {
            let at_unix_ms = unix_ms(SystemTime::now());
            let before = known.last_step.replace(StepTaken { step, at_unix_ms });
            known.earlier_steps.extend(before);
            let too_many = known.earlier_steps.len().saturating_sub(EARLIER_STEPS);
            known.earlier_steps.drain(..too_many);
        }
    }

    /// The last lines on standard error of whom a failure is about: the process that is just gone, else
    /// the younger one.
    pub(crate) fn last_words(&self, view: Option<SlotView<'_>>) -> Vec<String> {
        let Some((view, known)) = view.and_then(|v| Some((v, self.slots.get(v.slot)?))) else {
            return Vec::new();
        };
        if let Some(words) = &known.parting_words {
            return words.clone();
        }
        let seat = view.successor.or(view.seat);
        let process = seat.and_then(|seat| known.processes.get(&seat));
        process.map(|p| p.worker.last_words()).unwrap_or_default()
    }

    pub(crate) fn status(&self, view: SlotView<'_>, app: &AppSpec) -> Option<SlotStatus> {
        let known = self.slots.get(view.slot)?;
        let at = |seat: Option<Seat>| known.processes.get(&seat?);
        let process = at(view.seat);
        // It was given one and reports none; the shim holds it.
        let given = || app.ready.is_foreign().then(|| view.slot.to_string());
        Some(SlotStatus {
            slot: view.slot.clone(),
            state: view.state,
            since_unix_ms: unix_ms(known.since),
            last_step: known.last_step,
            earlier_steps: known.earlier_steps.clone(),
            pid: process.map(|p| p.worker.pid),
            successor_pid: at(view.successor).map(|p| p.worker.pid),
            generation: process.map(|p| p.generation),
            restarts: known.restarts,
            failures: view.failures,
            last_failure: known.last_failure.clone(),
            executor_id: process
                .and_then(|p| p.executor_id.clone().or_else(given))
                .filter(|_| app.executor),
            pools: app.pools.clone(),
            says: process.and_then(|p| p.status.clone()),
            gauges: process.map(|p| p.gauges.clone()).unwrap_or_default(),
        })
    }
}

impl Known {
    fn vacant() -> Self {
        Self {
            since: SystemTime::now(),
            processes: BTreeMap::new(),
            parting_words: None,
            crashed: false,
            restarts: 0,
            last_failure: None,
            last_step: None,
            earlier_steps: Vec::new(),
        }
    }
}

pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
