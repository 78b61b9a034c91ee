//! Reload and restart: one slot at a time, the next only when this one serves. The next one's successor boots meanwhile.
//!
//! A reload stops at the first failure of a worker that it started, whether that is the slot whose turn
//! it is or one that was done: what fails is the release, and the others keep what they have. A failure
//! of a worker from before the reload is a crash like any other and does not stop it.
//!
//! Where the successor fails when its predecessor was asked to leave already, the slot is restarted as
//! after a crash, with pauses, until it serves or is parked: what the predecessor ran may be gone from the
//! disk, and a worker that comes back late serves users better than an empty slot.

use super::interface::{Action, Refusal, RollEnd, RollNews, Seen};
use super::policy::Policy;
use super::slot::{Beside, Slot, State, Turn};
use super::{Cause, Failure, Fleet, How, Moment, Phase};
use crate::tag::SlotId;
use std::time::Duration;

impl Fleet {
    /// Begins a reload or restart of those of `slots` that are there.
    pub(super) fn roll(&mut self, slots: &[SlotId], how: How, actions: &mut Vec<Action>) {
        let wanted = |slot: &Slot| slot.wanted && slots.contains(&slot.plan.slot);
        let refusal = match self.refusal() {
            Some(refusal) => Some(refusal),
            None if self.rolling.is_some() => Some(Refusal::Rolling),
            None if !self.slots.iter().any(wanted) => Some(Refusal::NoSuchSlot),
            None => None,
        };
        if let Some(refusal) = refusal {
            return actions.push(Action::Refused(refusal));
        }
        self.rolling = Some(how);
        for slot in self.slots.iter_mut().filter(|slot| wanted(slot)) {
            slot.turn = Turn::Waiting;
        }
    }

    /// Goes as far as it can without waiting.
    pub(super) fn advance_roll(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(how) = self.rolling else { return };
        loop {
            let current = self.slots.iter().position(|s| s.turn.is_under_way());
            let waiting = || self.slots.iter().position(|s| s.turn.is_to_come());
            let Some(at) = current.or_else(waiting) else {
                return self.end_roll(RollEnd::Done, now, actions);
            };
            if !self.step(at, how, now, actions) {
                return self.boot_ahead(how, now, actions);
            }
        }
    }

    /// While a new worker launches and is watched, the next slot's successor boots: it opens nothing, and the
    /// place of the predecessor that has left is free, so that a reload in which nothing fails runs one
    /// process more than the fleet has slots and never two.
    fn boot_ahead(&mut self, how: How, now: Moment, actions: &mut Vec<Action>) {
        let arriving = |slot: &Slot| matches!(slot.turn, Turn::Arriving | Turn::Settling { .. });
        if !self.slots.iter().any(arriving) {
            return;
        }
        let next = self.slots.iter_mut().find(|slot| slot.turn.is_to_come());
        if let Some(slot) = next
            && slot.turn == Turn::Waiting
            && slot.successor.is_none()
            && let Some(seat) = slot.seat_beside(how)
        {
            actions.push(Action::Roll(RollNews::Boots(slot.plan.slot.clone())));
            slot.start_beside(seat, now, actions);
            slot.turn = Turn::Ahead;
        }
    }

    /// One step of the slot whose turn it is; whether there was one to take.
    fn step(&mut self, at: usize, how: How, now: Moment, actions: &mut Vec<Action>) -> bool {
        let policy = &self.policy;
        let Some(slot) = self.slots.get_mut(at) else {
            return false;
        };
        let id = slot.plan.slot.clone();
        let next = match slot.turn {
            // Of an earlier reload, whose release it may be; it has the seat until it is gone.
            Turn::Waiting if slot.successor.is_some() => {
                slot.dismiss(now, policy, actions);
                return false;
            }
            Turn::Waiting => begin(slot, how, now, policy, actions),
            Turn::Ahead => {
                renew_patience(slot, now, policy);
                Turn::Succeeding
            }
            Turn::Succeeding => match (&slot.state, &slot.successor) {
                (State::Vanishing(_), _) => return false,
                (_, Some(successor)) if successor.state == Beside::Booted => {
                    actions.push(Action::Roll(RollNews::Drains(id)));
                    slot.drain(now, policy, actions);
                    Turn::Leaving
                }
                (_, Some(_)) => return false,
                // Its predecessor died meanwhile, and it has taken over.
                (_, None) => Turn::Arriving,
            },
            Turn::Leaving => match slot.state {
                State::Draining { .. } | State::Vanishing(_) => return false,
                _ => Turn::Arriving,
            },
            Turn::Arriving => match slot.state {
                State::Serving { .. } => {
                    actions.push(Action::Roll(RollNews::Serves(id)));
                    let until = now.saturating_add(policy.settle);
                    Turn::Settling { until }
                }
                _ => return false,
            },
            Turn::Settling { .. } | Turn::None | Turn::Done => return false,
        };
        slot.turn = next;
        true
    }

    /// Ends it, with nothing begun that a slot with an old worker does not need.
    pub(super) fn end_roll(&mut self, end: RollEnd, now: Moment, actions: &mut Vec<Action>) {
        if self.rolling.take().is_none() {
            return;
        }
        for slot in &mut self.slots {
            let beside = matches!(slot.turn, Turn::Ahead | Turn::Succeeding);
            if beside && matches!(slot.state, State::Serving { .. }) {
                slot.dismiss(now, &self.policy, actions);
            }
            slot.turn = Turn::None;
        }
        actions.push(Action::Roll(RollNews::Ended(end)));
    }

    /// The occupant of a slot failed: the end of a reload that started it.
    pub(super) fn roll_hears(
        &mut self,
        at: usize,
        failure: Failure,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slots.get(at) else {
            return;
        };
        let started = match slot.turn {
            Turn::Arriving | Turn::Settling { .. } | Turn::Done => true,
            // Its predecessor died, and it has taken over before its turn.
            Turn::Ahead => slot.successor.is_none(),
            Turn::None | Turn::Waiting | Turn::Succeeding | Turn::Leaving => false,
        };
        if started {
            self.end_roll(RollEnd::Failed(failure), now, actions);
        }
    }

    /// The process beside the occupant failed. While the occupant serves, that harms nobody.
    pub(super) fn successor_failed(
        &mut self,
        at: usize,
        cause: Cause,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if !matches!(self.phase, Phase::Starting | Phase::Running) {
            return;
        }
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let failure = Failure {
            slot: slot.plan.slot.clone(),
            cause,
        };
        slot.dismiss(now, &self.policy, actions);
        if !matches!(slot.state, State::Serving { .. }) {
            let served = Duration::ZERO;
            let then = slot.count_failure(served, now, &self.policy);
            let failure = failure.clone();
            actions.push(Action::Crashed { failure, then });
        }
        if slot.turn != Turn::None {
            self.end_roll(RollEnd::Failed(failure), now, actions);
        }
    }

    /// Postgres' word on a slot takes too long for whoever waits for it.
    pub(super) fn unconfirmed(
        &mut self,
        at: usize,
        seen: Seen,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slots.get(at) else {
            return;
        };
        let after = self.policy.confirm_patience;
        let failure = Failure {
            slot: slot.plan.slot.clone(),
            cause: Cause::Unconfirmed { after, seen },
        };
        if self.phase == Phase::Starting && !slot.served {
            actions.push(Action::Failed(failure.clone()));
            self.stop(super::Outcome::Failed(failure), now, actions);
        } else if !matches!(slot.turn, Turn::None | Turn::Waiting | Turn::Ahead) {
            self.end_roll(RollEnd::Failed(failure), now, actions);
        }
    }
}

/// The first step: beside the present worker where that can be, else in its place.
fn begin(
    slot: &mut Slot,
    how: How,
    now: Moment,
    policy: &Policy,
    actions: &mut Vec<Action>,
) -> Turn {
    let id = slot.plan.slot.clone();
    if let Some(seat) = slot.seat_beside(how) {
        actions.push(Action::Roll(RollNews::Boots(id)));
        slot.start_beside(seat, now, actions);
        return Turn::Succeeding;
    }
    slot.forgive();
    if matches!(slot.state, State::Resting { .. } | State::Parked) {
        slot.start(now, actions);
    } else if slot.state.seat().is_some() {
        actions.push(Action::Roll(RollNews::Drains(id)));
        slot.drain(now, policy, actions);
        return Turn::Leaving;
    }
    renew_patience(slot, now, policy);
    Turn::Arriving
}

/// Whoever waits for Postgres' word from now on is told anew when it takes too long.
fn renew_patience(slot: &mut Slot, now: Moment, policy: &Policy) {
    if let State::Vanishing(vanishing) = &mut slot.state {
        vanishing.patience = Some(now.saturating_add(policy.confirm_patience));
    }
}
