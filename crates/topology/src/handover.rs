//! The life of the fleet's slots: `(state, event, now) → (state, actions)`.
//!
//! The supervisor feeds [`Fleet::handle`] one event at a time and enacts the [`Action`]s that come
//! back, in their order. Nothing here starts a process, asks Postgres, reads a clock, draws a number or
//! waits: time is an argument ([`Moment`]), chance is one ([`Policy::seed`]), and [`Fleet::poll_timeout`]
//! says when [`Event::Timeout`] is due.
//!
//! ```text
//!     ┌──────────────────── Postgres shows none of its backends ───────────────────┐
//!     ↓                                                                            │
//! Booting → Booted → Launching → Serving → Draining → (process gone) → Vanishing ──┤
//!     │                              ↑                                             ├→ Resting → Booting
//!     └────── a foreign program ─────┘                                             └→ Parked
//! ```
//!
//! What holds at every instant, whatever order events come in:
//!
//! - **Confirmed handover.** A slot's worker opens its connections only after Postgres has shown none of
//!   the slot's backends, asked after the last process that could have had any was gone. This includes
//!   the first worker of a slot: a supervisor that was killed may have left backends.
//! - **Bound, identity.** Of a slot's processes only one has been launched and lives.
//! - **One launch at a time.** At most one slot of the fleet is `Launching`, or starts a program that is known to be
//!   foreign: on a cold start the next worker opens its connections only when the one before it serves. Booting costs a
//!   worker that waits for `launch` no connection and happens everywhere at once.
//! - **Nothing unasked.** A worker that opens its pools before it was told to, with other maxima than
//!   the plan's or under another executor id, is refused.
//! - **A clear end.** A worker that fails before its slot has ever served, on the fleet's start, ends the fleet,
//!   with the first such cause as the fleet's [`Outcome`]. Every stop ends: what does not leave within
//!   its drain timeout is killed.
//! - **No worker lost for good.** After that, one that fails is restarted with growing pauses, and parked
//!   when it keeps failing; the others go on.
//!
//! A program that never says `booted` is foreign: it opens its connections when it likes, so `launch`
//! is never sent to it, its first sign of readiness makes it `Serving`, and it is replaced by
//! stop-then-start: it is only started where Postgres has shown its slot empty.
//!
//! | part | owns |
//! | --- | --- |
//! | `interface` | what goes in and what comes out |
//! | `slot` | one slot's processes and their transitions |
//! | `roll` | reload and restart, one slot after the other |
//! | `timers` | what falls due |
//! | `policy` | how patient all this is, pauses and parking |
//! | `failure`, `exit` | causes, in words |

mod exit;
mod failure;
mod interface;
#[cfg(test)]
mod model;
mod policy;
mod roll;
mod slot;
#[cfg(test)]
mod tests;
mod timers;

pub use exit::Exit;
pub use failure::{Cause, Failure};
pub use interface::{
    Action, Event, How, Outcome, Readiness, Refusal, RollEnd, RollNews, Seat, Seen, SlotPlan,
    SlotState, SlotView, WorkerEvent, WorkerId,
};
pub use policy::{Consequence, Policy};

use crate::tag::Name;
use slot::{Ask, Beside, Heard, Slot, State, Turn};
use std::sync::Arc;
use std::time::Duration;

/// An instant, as the time since an epoch that the caller chooses and keeps to.
pub type Moment = Duration;

/// [`Policy::kill_grace`] unless somebody says otherwise.
pub const KILL_GRACE: Duration = Duration::from_secs(1);

/// The fleet's slots and what is to become of them.
#[derive(Debug, Clone)]
pub struct Fleet {
    policy: Arc<Policy>,
    slots: Vec<Slot>,
    phase: Phase,
    /// The reload or restart under way; each slot knows its turn.
    rolling: Option<How>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    /// Nobody asked for it yet.
    Idle,
    /// On the way to all slots serving.
    Starting,
    /// All slots have served.
    Running,
    /// On the way to all slots vacant; the outcome is settled.
    Stopping(Outcome),
    /// Over.
    Ended,
}

impl Fleet {
    /// A fleet of vacant slots.
    #[must_use]
    pub fn new(plans: Vec<SlotPlan>, policy: Policy) -> Self {
        let slots = plans.into_iter().map(|plan| Slot::new(Arc::new(plan)));
        Self {
            policy: Arc::new(policy),
            slots: slots.collect(),
            phase: Phase::Idle,
            rolling: None,
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
            Event::Worker { worker, event } => self.heard(&worker, event, now, &mut actions),
            Event::Backends { slot, seen } => {
                if let Some(slot) = self.slots.iter_mut().find(|s| s.plan.slot == slot) {
                    slot.seen(seen, now, &self.policy, &mut actions);
                }
            }
            Event::Roll { slots, how } => self.roll(&slots, how, &mut actions),
            Event::Scale { app, plans } => self.scale(&app, plans, now, &mut actions),
            Event::Timeout => self.expire(now, &mut actions),
            Event::Stop => self.stop(Outcome::Stopped, now, &mut actions),
            Event::Kill => self.kill(now, &mut actions),
        }
        self.advance(now, &mut actions);
        actions
    }

    /// Every slot as it stands, in the order of the plan.
    pub fn slots(&self) -> impl Iterator<Item = SlotView<'_>> {
        self.slots.iter().map(Slot::view)
    }

    /// Whether a reload or restart is under way.
    #[must_use]
    pub const fn is_rolling(&self) -> bool {
        self.rolling.is_some()
    }

    /// Cold start: whatever a former supervisor left has to be gone, then everything boots at once that opens nothing by it.
    fn start(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.phase != Phase::Idle {
            return;
        }
        self.phase = Phase::Starting;
        for slot in &mut self.slots {
            slot.vanish(now, &self.policy, actions);
        }
    }

    fn heard(
        &mut self,
        worker: &WorkerId,
        event: WorkerEvent,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let at = self
            .slots
            .iter()
            .position(|slot| slot.plan.slot == worker.slot);
        let Some((at, slot)) = at.and_then(|at| Some((at, self.slots.get_mut(at)?))) else {
            return;
        };
        let served = slot.served_for(now);
        match slot.hear(worker.seat, event, now, &self.policy, actions) {
            Heard::Nothing => {}
            Heard::Failed(cause) => self.failed(at, cause, served, now, actions),
            Heard::SuccessorFailed(cause) => self.successor_failed(at, cause, now, actions),
            Heard::Left(cause) => {
                match self.phase {
                    Phase::Stopping(_) | Phase::Ended => slot.enter(State::Vacant, actions),
                    Phase::Idle | Phase::Starting | Phase::Running => {
                        slot.vanish(now, &self.policy, actions);
                    }
                }
                if let Some(cause) = cause {
                    self.failed(at, cause, served, now, actions);
                }
            }
        }
    }

    /// The occupant of a slot failed: the end of a fleet whose slot never served, else a restart.
    fn failed(
        &mut self,
        at: usize,
        cause: Cause,
        served: Duration,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let failure = Failure {
            slot: slot.plan.slot.clone(),
            cause,
        };
        match self.phase {
            Phase::Idle | Phase::Stopping(_) | Phase::Ended => return,
            Phase::Starting if !slot.served => {
                actions.push(Action::Failed(failure.clone()));
                return self.stop(Outcome::Failed(failure), now, actions);
            }
            Phase::Starting | Phase::Running => {}
        }
        let replaced = slot
            .successor
            .as_ref()
            .is_some_and(|successor| !matches!(successor.state, Beside::Leaving { .. }));
        let then = if replaced {
            let after = Duration::ZERO;
            Consequence::Restart { after }
        } else {
            slot.count_failure(served, now, &self.policy)
        };
        slot.drain(now, &self.policy, actions);
        actions.push(Action::Crashed {
            failure: failure.clone(),
            then,
        });
        self.roll_hears(at, failure, now, actions);
    }

    /// The slots of an app from now on.
    fn scale(&mut self, app: &Name, plans: Vec<SlotPlan>, now: Moment, actions: &mut Vec<Action>) {
        if let Some(refusal) = self.refusal() {
            return actions.push(Action::Refused(refusal));
        }
        for slot in self.slots.iter_mut().filter(|s| s.plan.slot.app() == app) {
            let wanted = plans.iter().any(|plan| plan.slot == slot.plan.slot);
            if wanted && !slot.wanted {
                // It comes back before it had left: a new slot, whose failures are not the old one's.
                slot.forgive();
            }
            slot.wanted = wanted;
            if slot.wanted {
                continue;
            }
            slot.turn = Turn::None;
            slot.dismiss(now, &self.policy, actions);
            match slot.state {
                State::Resting { .. } | State::Parked => slot.enter(State::Vacant, actions),
                _ => slot.drain(now, &self.policy, actions),
            }
        }
        for plan in plans {
            if self.slots.iter().any(|slot| slot.plan.slot == plan.slot) {
                continue;
            }
            // Between its neighbours: one with a higher number may not have left yet.
            let lower = |slot: &Slot| {
                slot.plan.slot.app() == app && slot.plan.slot.index() < plan.slot.index()
            };
            let at = self.slots.iter().rposition(lower).map_or(0, |at| at + 1);
            let mut slot = Slot::new(Arc::new(plan));
            slot.vanish(now, &self.policy, actions);
            self.slots.insert(at, slot);
        }
    }

    /// Why nothing can be asked of the fleet now, if so.
    const fn refusal(&self) -> Option<Refusal> {
        match self.phase {
            Phase::Idle | Phase::Starting => Some(Refusal::Starting),
            Phase::Stopping(_) | Phase::Ended => Some(Refusal::Stopping),
            Phase::Running => None,
        }
    }

    /// Every process → `Draining`. What was settled before stays settled.
    fn stop(&mut self, outcome: Outcome, now: Moment, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopping(_) | Phase::Ended => return,
            Phase::Idle | Phase::Starting | Phase::Running => {
                self.phase = Phase::Stopping(outcome);
            }
        }
        self.end_roll(RollEnd::Stopped, now, actions);
        for slot in &mut self.slots {
            slot.dismiss(now, &self.policy, actions);
            match slot.state {
                State::Vanishing(_) | State::Resting { .. } | State::Parked => {
                    slot.enter(State::Vacant, actions);
                }
                _ => slot.drain(now, &self.policy, actions),
            }
        }
    }

    /// Every process → killed.
    fn kill(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.stop(Outcome::Stopped, now, actions);
        for slot in &mut self.slots {
            slot.kill(actions);
            slot.kill_successor(actions);
        }
    }

    /// Whatever can happen now without waiting for anything.
    fn advance(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Starting | Phase::Running) {
            self.slots.retain(|slot| {
                let stays = slot.wanted || !slot.is_empty();
                if !stays {
                    actions.push(Action::Removed(slot.plan.slot.clone()));
                }
                stays
            });
            // Wanted again before it had left.
            for slot in &mut self.slots {
                if slot.wanted && slot.state == State::Vacant {
                    slot.start(now, actions);
                }
            }
            self.advance_roll(now, actions);
            self.launch_next(now, actions);
            for slot in &mut self.slots {
                if let State::Vanishing(vanishing) = &mut slot.state
                    && vanishing.ask == Ask::Now
                {
                    vanishing.ask = Ask::Asked;
                    actions.push(Action::Confirm(slot.plan.slot.clone()));
                }
            }
        }
        self.settle(actions);
    }

    /// Launches the first that waits for it, in the order of the plan and only when no other launches.
    fn launch_next(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.slots.iter().any(Slot::opens) {
            return;
        }
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.waits()) {
            slot.launch(now, actions);
        }
    }

    /// Tells when the fleet has become what it was on its way to.
    fn settle(&mut self, actions: &mut Vec<Action>) {
        match &self.phase {
            Phase::Starting => {
                let serves = |slot: &Slot| matches!(slot.state, State::Serving { .. });
                // One that served and was parked since does not keep the others from being reloaded.
                let arrived = |slot: &Slot| serves(slot) || slot.state == State::Parked;
                if self.slots.iter().all(arrived) {
                    self.phase = Phase::Running;
                    if self.slots.iter().all(serves) {
                        actions.push(Action::AllServing);
                    }
                }
            }
            Phase::Stopping(outcome) if self.slots.iter().all(Slot::is_empty) => {
                actions.push(Action::Ended(outcome.clone()));
                self.phase = Phase::Ended;
            }
            _ => {}
        }
    }
}
