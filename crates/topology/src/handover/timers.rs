//! What falls due, and when. Each deadline has a name here and one place where it is armed, so that it
//! can be asked for, and fired, alone.

use super::interface::{Action, Seen};
use super::slot::{Ask, Beside, End, State, Successor, Turn};
use super::{Cause, Fleet, Moment};
use std::time::Duration;

/// A deadline of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Timer {
    /// The occupant boots, launches or drains for too long, or has rested long enough.
    Occupant,
    /// The successor boots for too long, or does not leave.
    Successor,
    /// Postgres is to be asked again.
    Ask,
    /// The backends have outlived their process for too long.
    Terminate,
    /// Whoever waits for Postgres' word is told that it takes too long.
    Patience,
    /// The new worker has served long enough for the reload to go on.
    Settle,
}

impl Timer {
    pub(super) const ALL: [Self; 6] = [
        Self::Occupant,
        Self::Successor,
        Self::Ask,
        Self::Terminate,
        Self::Patience,
        Self::Settle,
    ];
}

impl Fleet {
    /// When [`super::Event::Timeout`] is due, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        (0..self.slots.len())
            .flat_map(|at| {
                Timer::ALL
                    .into_iter()
                    .filter_map(move |timer| self.armed(at, timer))
            })
            .min()
    }

    /// When a deadline is due, if it is armed.
    pub(super) fn armed(&self, at: usize, timer: Timer) -> Option<Moment> {
        let slot = self.slots.get(at)?;
        let vanishing = match &slot.state {
            State::Vanishing(vanishing) => Some(vanishing),
            _ => None,
        };
        match timer {
            Timer::Occupant => match slot.state {
                State::Booting { until, .. }
                | State::Launching { until, .. }
                | State::Resting { until } => Some(until),
                State::Draining {
                    end: End::By(moment),
                    ..
                } => Some(moment),
                _ => None,
            },
            Timer::Successor => match &slot.successor {
                Some(Successor {
                    state: Beside::Booting { until, .. },
                    ..
                }) => Some(*until),
                Some(Successor {
                    state:
                        Beside::Leaving {
                            end: End::By(moment),
                            ..
                        },
                    ..
                }) => Some(*moment),
                _ => None,
            },
            Timer::Ask => match vanishing?.ask {
                Ask::Again(moment) => Some(moment),
                Ask::Now | Ask::Asked => None,
            },
            Timer::Terminate => {
                let vanishing = vanishing?;
                matches!(vanishing.seen, Seen::Remaining(_)).then_some(vanishing.terminate)
            }
            Timer::Patience => vanishing?.patience,
            Timer::Settle => match slot.turn {
                Turn::Settling { until } => Some(until),
                _ => None,
            },
        }
    }

    /// Fires what is due.
    pub(super) fn expire(&mut self, now: Moment, actions: &mut Vec<Action>) {
        for at in 0..self.slots.len() {
            for timer in Timer::ALL {
                if self.armed(at, timer).is_some_and(|due| due <= now) {
                    self.fire(at, timer, now, actions);
                }
            }
        }
    }

    /// One deadline has come.
    pub(super) fn fire(&mut self, at: usize, timer: Timer, now: Moment, actions: &mut Vec<Action>) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let after = slot.plan.ready_timeout;
        match timer {
            Timer::Occupant => match slot.state {
                State::Booting { .. } => {
                    let cause = Cause::BootTimeout { after };
                    self.failed(at, cause, Duration::ZERO, now, actions);
                }
                State::Launching { .. } => {
                    let cause = Cause::ReadyTimeout { after };
                    self.failed(at, cause, Duration::ZERO, now, actions);
                }
                State::Resting { .. } => slot.start(now, actions),
                State::Draining { .. } => slot.kill(actions),
                _ => {}
            },
            Timer::Successor => match &slot.successor {
                Some(Successor {
                    state: Beside::Booting { .. },
                    ..
                }) => self.successor_failed(at, Cause::BootTimeout { after }, now, actions),
                _ => slot.kill_successor(actions),
            },
            Timer::Ask => {
                if let State::Vanishing(vanishing) = &mut slot.state {
                    vanishing.ask = Ask::Now;
                }
            }
            Timer::Terminate => {
                if let State::Vanishing(vanishing) = &mut slot.state {
                    vanishing.terminate = now.saturating_add(self.policy.terminate_after);
                    actions.push(Action::TerminateBackends(slot.plan.slot.clone()));
                }
            }
            Timer::Patience => {
                if let State::Vanishing(vanishing) = &mut slot.state {
                    vanishing.patience = None;
                    let seen = vanishing.seen;
                    self.unconfirmed(at, seen, now, actions);
                }
            }
            Timer::Settle => slot.turn = Turn::Done,
        }
    }
}
