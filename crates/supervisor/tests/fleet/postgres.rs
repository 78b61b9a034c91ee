//! A stand-in for Postgres: what it shows of each slot is set by the test.

use async_trait::async_trait;
use poolwright_supervisor::{Backends, NotAdmitted, Unreachable};
use poolwright_topology::tag::{Name, SlotId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// What Postgres shows, and what was asked of it.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    state: Mutex<State>,
    asked: Notify,
    relinquished: Notify,
}

#[derive(Debug, Default)]
struct State {
    remaining: BTreeMap<SlotId, u32>,
    silent: bool,
    most: Option<u32>,
    censuses: usize,
    relinquished: Vec<u32>,
}

impl Shown {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The slot has this many backends, until they are terminated or set to 0.
    pub(crate) fn remain(&self, slot: &str, count: u32) {
        let mut state = self.state.lock().unwrap();
        state.remaining.insert(slot.parse().unwrap(), count);
    }

    /// Whether it answers.
    pub(crate) fn silence(&self, silent: bool) {
        self.state.lock().unwrap().silent = silent;
    }

    /// The budget allows no more workers than this.
    pub(crate) fn allow(&self, most: u32) {
        self.state.lock().unwrap().most = Some(most);
    }

    /// Until the fleet has given something back, and to how many workers it came down each time.
    pub(crate) async fn given_back(&self) -> Vec<u32> {
        self.relinquished.notified().await;
        self.state.lock().unwrap().relinquished.clone()
    }

    /// How often it has been asked.
    pub(crate) fn censuses(&self) -> usize {
        self.state.lock().unwrap().censuses
    }

    /// Until it has been asked `times` more often.
    pub(crate) async fn asked(&self, times: usize) {
        for _ in 0..times {
            self.asked.notified().await;
        }
    }
}

#[async_trait]
impl Backends for Shown {
    async fn remaining(
        &self,
        _slots: &BTreeSet<SlotId>,
    ) -> Result<BTreeMap<SlotId, u32>, Unreachable> {
        self.asked.notify_one();
        let mut state = self.state.lock().unwrap();
        state.censuses += 1;
        match state.silent {
            true => Err(Unreachable("nobody answers".into())),
            false => Ok(state.remaining.clone()),
        }
    }

    async fn terminate(&self, slot: &SlotId) -> Result<(), Unreachable> {
        self.state.lock().unwrap().remaining.remove(slot);
        Ok(())
    }

    async fn admit(&self, workers: &BTreeMap<Name, u32>) -> Result<(), NotAdmitted> {
        let wanted: u32 = workers.values().sum();
        match self.state.lock().unwrap().most {
            Some(most) if wanted > most => {
                Err(NotAdmitted::DoesNotFit(format!("{wanted} do not fit")))
            }
            _ => Ok(()),
        }
    }

    async fn relinquish(&self, workers: &BTreeMap<Name, u32>) -> Result<(), Unreachable> {
        let left: u32 = workers.values().sum();
        self.state.lock().unwrap().relinquished.push(left);
        self.relinquished.notify_one();
        Ok(())
    }
}
