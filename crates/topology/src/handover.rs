//! The life of the fleet's slots: `(state, event, now) → (state, actions)`.
//!
//! The supervisor feeds [`Fleet::handle`] one event at a time and enacts the [`Action`]s that come
//! back, in their order. Nothing here starts a process, reads a clock or waits: time is an argument
//! ([`Moment`]), and [`Fleet::poll_timeout`] says when [`Event::Timeout`] is due.
//!
//! ```text
//! Vacant → Booting → Booted → Launching → Serving → Draining → Vacant
//!              └───── a foreign program ─────┘
//! ```
//!
//! What holds at every instant, whatever order events come in:
//!
//! - **One launch at a time.** At most one slot of the fleet is `Launching`: on a cold start the next
//!   worker opens its connections only when the one before it serves. Booting costs no connection and
//!   happens everywhere at once.
//! - **Nothing unasked.** A worker that opens its pools before it was told to, with other maxima than
//!   the plan's or under another executor id, is refused.
//! - **A clear end.** A worker that ends or times out before it was asked to stop ends the fleet, with
//!   the first such cause as the fleet's [`Outcome`]. Every stop ends: what does not leave within its
//!   drain timeout is killed.
//!
//! A program that never says `booted` is foreign: it opens its connections when it likes, so `launch`
//! is never sent to it, and its first sign of readiness makes it `Serving`.

mod exit;
mod failure;
mod interface;
#[cfg(test)]
mod tests;

pub use exit::Exit;
pub use failure::{Cause, Failure};
pub use interface::{Action, Event, Outcome, Readiness, SlotEvent, SlotPlan, SlotState};

use crate::channel::FromWorker;
use crate::tag::SlotId;
use std::collections::BTreeMap;
use std::time::Duration;

/// An instant, as the time since an epoch that the caller chooses and keeps to.
pub type Moment = Duration;

/// What a worker gets on top of its drain timeout before it is killed. The worker is told the timeout
/// and may use all of it for requests in flight; closing its pools and exiting come after that.
pub const KILL_GRACE: Duration = Duration::from_secs(1);

/// The fleet's slots and what is to become of them.
#[derive(Debug, Clone)]
pub struct Fleet {
    slots: Vec<Slot>,
    phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Nobody asked for it yet.
    Idle,
    /// On the way to all slots serving.
    Starting,
    /// All slots serve.
    Running,
    /// On the way to all slots vacant; the outcome is settled.
    Stopping(Outcome),
    /// Over.
    Ended,
}

#[derive(Debug, Clone)]
struct Slot {
    plan: SlotPlan,
    state: State,
}

/// What a slot's worker is doing, with what only matters while it does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Vacant,
    Booting { process: Process, until: Moment },
    Booted,
    Launching { started: bool, until: Moment },
    Serving,
    Draining { process: Process, end: End },
}

/// Whether the process that was asked for is there to be signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Asked,
    Running,
}

/// How a draining worker will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By itself, or by SIGKILL at this moment.
    By(Moment),
    /// SIGKILL is sent, or will be as soon as there is a process.
    Killed,
}

impl Fleet {
    /// A fleet of vacant slots.
    #[must_use]
    pub fn new(plans: Vec<SlotPlan>) -> Self {
        let slots = plans
            .into_iter()
            .map(|plan| Slot {
                plan,
                state: State::Vacant,
            })
            .collect();
        Self {
            slots,
            phase: Phase::Idle,
        }
    }

    /// Takes one event in and says what is to be done about it, in order.
    ///
    /// An event that means nothing in the present state, a worker's last words after its exit for
    /// instance, changes nothing.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Start => self.start(now, &mut actions),
            Event::Slot { slot, event } => {
                if let Some(at) = self.slots.iter().position(|s| s.plan.slot == slot) {
                    self.slot_event(at, event, now, &mut actions);
                }
            }
            Event::Timeout => self.expire(now, &mut actions),
            Event::Stop => self.stop(Outcome::Stopped, now, &mut actions),
            Event::Kill => self.kill(now, &mut actions),
        }
        self.launch_next(now, &mut actions);
        self.settle(&mut actions);
        actions
    }

    /// When [`Event::Timeout`] is due, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.slots
            .iter()
            .filter_map(|slot| slot.state.deadline())
            .min()
    }

    /// Every slot with its state, in the order of the plan.
    pub fn slots(&self) -> impl Iterator<Item = (&SlotId, SlotState)> {
        self.slots
            .iter()
            .map(|slot| (&slot.plan.slot, slot.state.shown()))
    }

    /// Cold start: everything boots at once.
    fn start(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.phase != Phase::Idle {
            return;
        }
        self.phase = Phase::Starting;
        for slot in &mut self.slots {
            let until = now.saturating_add(slot.plan.ready_timeout);
            slot.enter(
                State::Booting {
                    process: Process::Asked,
                    until,
                },
                actions,
            );
            actions.push(Action::Spawn(slot.plan.slot.clone()));
        }
    }

    fn slot_event(&mut self, at: usize, event: SlotEvent, now: Moment, actions: &mut Vec<Action>) {
        match event {
            SlotEvent::Spawned => self.spawned(at, actions),
            SlotEvent::SpawnFailed { reason } => {
                self.gone(at, Cause::NotStarted { reason }, now, actions);
            }
            SlotEvent::Said(FromWorker::Booted) => self.booted(at, actions),
            SlotEvent::Said(FromWorker::Started {
                executor_id, pools, ..
            }) => self.started(at, executor_id, pools, now, actions),
            SlotEvent::Said(FromWorker::Ready) => self.said_ready(at, now, actions),
            SlotEvent::SeenReady => self.seen_ready(at, actions),
            SlotEvent::Said(FromWorker::Draining) => self.drains(at, now, actions),
            // Gauges are for those who watch; they decide nothing.
            SlotEvent::Said(FromWorker::Gauges { .. }) => {}
            SlotEvent::Exited(exit) => {
                let state = self.slot(at).map_or(SlotState::Vacant, |s| s.state.shown());
                self.gone(at, Cause::Exited { state, exit }, now, actions);
            }
        }
    }

    /// `Asked` → `Running`; a stop that came in between is made up for here.
    fn spawned(&mut self, at: usize, actions: &mut Vec<Action>) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        match &mut slot.state {
            State::Booting { process, .. } => *process = Process::Running,
            State::Draining { process, end } if *process == Process::Asked => {
                *process = Process::Running;
                actions.push(match end {
                    End::By(_) => Action::Terminate(slot.plan.slot.clone()),
                    End::Killed => Action::Kill(slot.plan.slot.clone()),
                });
            }
            _ => {}
        }
    }

    /// `Booting` → `Booted`.
    fn booted(&mut self, at: usize, actions: &mut Vec<Action>) {
        if let Some(slot) = self.slots.get_mut(at)
            && matches!(slot.state, State::Booting { .. })
        {
            slot.enter(State::Booted, actions);
        }
    }

    /// `Booted` → `Launching`, for the first in the order of the plan and only when no other launches.
    fn launch_next(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let launching = |slot: &Slot| matches!(slot.state, State::Launching { .. });
        if self.phase != Phase::Starting || self.slots.iter().any(launching) {
            return;
        }
        if let Some(slot) = self.slots.iter_mut().find(|s| s.state == State::Booted) {
            let until = now.saturating_add(slot.plan.ready_timeout);
            slot.enter(
                State::Launching {
                    started: false,
                    until,
                },
                actions,
            );
            actions.push(Action::Launch(slot.plan.slot.clone()));
        }
    }

    /// Compares what a launching worker opened with what the plan says.
    fn started(
        &mut self,
        at: usize,
        executor_id: String,
        pools: BTreeMap<String, u32>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let state = slot.state.shown();
        let cause = match &mut slot.state {
            // Its last words crossed with the supervisor's SIGTERM, or with its own end.
            State::Vacant | State::Draining { .. } => return,
            State::Booting { .. } | State::Booted | State::Serving => Cause::OutOfTurn {
                said: "started",
                state,
                expected: "`booted`, then the supervisor's `launch`, then `started` once",
            },
            State::Launching { .. } if pools != slot.plan.pools => Cause::OtherPools {
                found: pools,
                expected: slot.plan.pools.clone(),
            },
            State::Launching { .. } if executor_id != slot.plan.slot.to_string() => {
                Cause::OtherExecutor {
                    found: executor_id,
                    expected: slot.plan.slot.clone(),
                }
            }
            State::Launching { started, .. } => {
                *started = true;
                return;
            }
        };
        self.fail(at, cause, now, actions);
    }

    /// `Launching` → `Serving` when `started` came first; `Booting` → `Serving` for a foreign program.
    fn said_ready(&mut self, at: usize, now: Moment, actions: &mut Vec<Action>) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let expected = match slot.state {
            State::Booting { .. } | State::Launching { started: true, .. } => {
                return slot.enter(State::Serving, actions);
            }
            State::Launching { .. } if slot.plan.readiness != Readiness::Channel => {
                return slot.enter(State::Serving, actions);
            }
            State::Launching { .. } => "`started` with its pools first",
            State::Booted => "nothing until the supervisor's `launch`",
            State::Vacant | State::Serving | State::Draining { .. } => return,
        };
        let cause = Cause::OutOfTurn {
            said: "ready",
            state: slot.state.shown(),
            expected,
        };
        self.fail(at, cause, now, actions);
    }

    /// `Booting` or `Launching` → `Serving`. A worker that waits for its turn is left waiting: a held
    /// socket may be seen listening long before anybody answers on it.
    fn seen_ready(&mut self, at: usize, actions: &mut Vec<Action>) {
        if let Some(slot) = self.slots.get_mut(at)
            && slot.plan.readiness != Readiness::Channel
            && matches!(slot.state, State::Booting { .. } | State::Launching { .. })
        {
            slot.enter(State::Serving, actions);
        }
    }

    /// Any → `Draining`, by the worker's own word: somebody else asked it to stop, or its channel
    /// broke. What that means for the fleet is decided when it is gone.
    fn drains(&mut self, at: usize, now: Moment, actions: &mut Vec<Action>) {
        if let Some(slot) = self.slots.get_mut(at)
            && !matches!(slot.state, State::Vacant | State::Draining { .. })
        {
            let end = End::By(slot.drain_deadline(now));
            slot.enter(
                State::Draining {
                    process: Process::Running,
                    end,
                },
                actions,
            );
        }
    }

    /// Any → `Vacant`; a failure of the fleet unless it was stopping already.
    fn gone(&mut self, at: usize, cause: Cause, now: Moment, actions: &mut Vec<Action>) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        if slot.state == State::Vacant {
            return;
        }
        slot.enter(State::Vacant, actions);
        self.fail(at, cause, now, actions);
    }

    /// The end of the fleet, with the first cause; nothing when it was ending already.
    fn fail(&mut self, at: usize, cause: Cause, now: Moment, actions: &mut Vec<Action>) {
        let Some(slot) = self.slot(at) else { return };
        let failure = Failure {
            slot: slot.plan.slot.clone(),
            cause,
        };
        if matches!(self.phase, Phase::Starting | Phase::Running) {
            actions.push(Action::Failed(failure.clone()));
        }
        self.stop(Outcome::Failed(failure), now, actions);
    }

    /// Every process → `Draining`. What was settled before stays settled.
    fn stop(&mut self, outcome: Outcome, now: Moment, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopping(_) | Phase::Ended => return,
            Phase::Idle | Phase::Starting | Phase::Running => {
                self.phase = Phase::Stopping(outcome);
            }
        }
        for slot in &mut self.slots {
            let end = End::By(slot.drain_deadline(now));
            slot.drain(end, actions);
        }
    }

    /// Every process → killed.
    fn kill(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.stop(Outcome::Stopped, now, actions);
        for slot in &mut self.slots {
            slot.kill(actions);
        }
    }

    /// What outstayed its deadline.
    fn expire(&mut self, now: Moment, actions: &mut Vec<Action>) {
        for at in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(at) else {
                return;
            };
            if slot.state.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let after = slot.plan.ready_timeout;
            match slot.state {
                State::Booting { .. } => self.fail(at, Cause::BootTimeout { after }, now, actions),
                State::Launching { .. } => {
                    self.fail(at, Cause::ReadyTimeout { after }, now, actions);
                }
                State::Draining { .. } => slot.kill(actions),
                State::Vacant | State::Booted | State::Serving => {}
            }
        }
    }

    /// Tells when the fleet has become what it was on its way to.
    fn settle(&mut self, actions: &mut Vec<Action>) {
        let all = |state: State| self.slots.iter().all(|slot| slot.state == state);
        match &self.phase {
            Phase::Starting if all(State::Serving) => {
                self.phase = Phase::Running;
                actions.push(Action::AllServing);
            }
            Phase::Stopping(outcome) if all(State::Vacant) => {
                actions.push(Action::Ended(outcome.clone()));
                self.phase = Phase::Ended;
            }
            _ => {}
        }
    }

    fn slot(&self, at: usize) -> Option<&Slot> {
        self.slots.get(at)
    }
}

impl Slot {
    /// The one door through which a slot's state changes to another that people see.
    fn enter(&mut self, state: State, actions: &mut Vec<Action>) {
        let from = self.state.shown();
        self.state = state;
        actions.push(Action::Moved {
            slot: self.plan.slot.clone(),
            from,
            to: self.state.shown(),
        });
    }

    /// When a worker that is told to drain now has to be gone.
    fn drain_deadline(&self, now: Moment) -> Moment {
        now.saturating_add(self.plan.drain_timeout)
            .saturating_add(KILL_GRACE)
    }

    /// Any state with a process → `Draining`.
    fn drain(&mut self, end: End, actions: &mut Vec<Action>) {
        let process = match self.state {
            State::Vacant | State::Draining { .. } => return,
            State::Booting { process, .. } => process,
            State::Booted | State::Launching { .. } | State::Serving => Process::Running,
        };
        self.enter(State::Draining { process, end }, actions);
        if process == Process::Running {
            actions.push(Action::Terminate(self.plan.slot.clone()));
        }
    }

    /// `Draining` → killed, once.
    fn kill(&mut self, actions: &mut Vec<Action>) {
        if let State::Draining { process, end } = &mut self.state
            && *end != End::Killed
        {
            *end = End::Killed;
            if *process == Process::Running {
                actions.push(Action::Kill(self.plan.slot.clone()));
            }
        }
    }
}

impl State {
    const fn shown(&self) -> SlotState {
        match self {
            Self::Vacant => SlotState::Vacant,
            Self::Booting { .. } => SlotState::Booting,
            Self::Booted => SlotState::Booted,
            Self::Launching { .. } => SlotState::Launching,
            Self::Serving => SlotState::Serving,
            Self::Draining { .. } => SlotState::Draining,
        }
    }

    const fn deadline(&self) -> Option<Moment> {
        match self {
            Self::Booting { until, .. } | Self::Launching { until, .. } => Some(*until),
            Self::Draining {
                end: End::By(moment),
                ..
            } => Some(*moment),
            Self::Vacant | Self::Booted | Self::Serving | Self::Draining { .. } => None,
        }
    }
}
