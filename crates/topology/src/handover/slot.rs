//! One slot: its occupant, and during a handover the successor that boots beside it.
//!
//! That no successor is launched before Postgres has shown its predecessor's backends gone is a matter
//! of construction here. Only the occupant can be `Launching`. A process becomes the occupant in
//! [`Slot::cleared`] alone, on Postgres' word, or from `Resting`, `Parked` and `Vacant`, which are
//! entered from there alone (or when the fleet stops, after which nothing starts).

mod hear;

use super::failure::Cause;
use super::interface::{Action, Seat, Seen, SlotPlan, SlotState, SlotView, WorkerId};
use super::policy::{Consequence, Failures, Policy};
use super::{How, Moment};
use std::sync::Arc;
use std::time::Duration;

/// A slot and what is to become of it.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) plan: Arc<SlotPlan>,
    /// Not scaled away.
    pub(super) wanted: bool,
    /// A worker of it has served since the fleet started.
    pub(super) served: bool,
    /// The process that may have backends, or what it left.
    pub(super) state: State,
    /// The process that opens nothing until it is the occupant.
    pub(super) successor: Option<Successor>,
    pub(super) failures: Failures,
    /// What follows the last failure, once the backends are gone.
    pub(super) rest: Option<Rest>,
    pub(super) turn: Turn,
}

/// What a slot's occupant is doing, with what only matters while it does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
    Vacant,
    Vanishing(Vanishing),
    Resting {
        until: Moment,
    },
    Parked,
    Booting {
        seat: Seat,
        process: Process,
        until: Moment,
    },
    Booted {
        seat: Seat,
    },
    Launching {
        seat: Seat,
        started: bool,
        until: Moment,
    },
    Serving {
        seat: Seat,
        /// It said `booted` and waited: its successor may boot beside it.
        speaks: bool,
        since: Moment,
    },
    Draining {
        seat: Seat,
        process: Process,
        end: End,
        /// Nobody asked it to: its end is a failure.
        unasked: bool,
    },
}

/// The wait for Postgres' word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Vanishing {
    pub(super) ask: Ask,
    /// What Postgres showed last.
    pub(super) seen: Seen,
    /// When the remaining backends are terminated.
    pub(super) terminate: Moment,
    /// When somebody who waits is told that it takes too long; told once.
    pub(super) patience: Option<Moment>,
}

/// Whether Postgres has been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ask {
    /// It is to be asked now.
    Now,
    /// The answer is on its way.
    Asked,
    /// It is to be asked again then.
    Again(Moment),
}

/// What a failed slot waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Rest {
    Until(Moment),
    Parked,
}

/// Where a slot stands in a reload or restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Turn {
    /// It has no part in it.
    None,
    Waiting,
    /// Its successor boots beside it, before its turn.
    Ahead,
    /// Its successor boots beside it.
    Succeeding,
    /// Its predecessor is to leave.
    Leaving,
    /// Its new worker is to serve.
    Arriving,
    /// Its new worker serves and is watched.
    Settling {
        until: Moment,
    },
    Done,
}

impl Turn {
    /// Whether it is this slot's turn; it is one slot's at most.
    pub(super) const fn is_under_way(self) -> bool {
        matches!(
            self,
            Self::Succeeding | Self::Leaving | Self::Arriving | Self::Settling { .. }
        )
    }

    /// Whether its turn comes later.
    pub(super) const fn is_to_come(self) -> bool {
        matches!(self, Self::Waiting | Self::Ahead)
    }
}

/// A process beside the occupant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Successor {
    pub(super) seat: Seat,
    pub(super) state: Beside,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Beside {
    Booting {
        process: Process,
        until: Moment,
    },
    Booted,
    /// It failed, or is not needed any more.
    Leaving {
        process: Process,
        end: End,
    },
}

/// Whether the process that was asked for is there to be signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Process {
    Asked,
    Running,
}

/// How a leaving worker will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// By itself, or by SIGKILL at this moment.
    By(Moment),
    /// SIGKILL is sent, or will be as soon as there is a process.
    Killed,
}

/// What an event of one of its processes means beyond the slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// The occupant is refused.
    Failed(Cause),
    /// The occupant's process is gone; a failure if there is a cause.
    Left(Option<Cause>),
    /// The successor failed.
    SuccessorFailed(Cause),
}

impl Slot {
    pub(super) const fn new(plan: Arc<SlotPlan>) -> Self {
        Self {
            plan,
            wanted: true,
            served: false,
            state: State::Vacant,
            successor: None,
            failures: Failures::NONE,
            rest: None,
            turn: Turn::None,
        }
    }

    pub(super) fn view(&self) -> SlotView<'_> {
        SlotView {
            slot: &self.plan.slot,
            state: self.state.shown(),
            seat: self.state.seat(),
            successor: self.successor.as_ref().map(|successor| successor.seat),
            failures: self.failures.count(),
            leaving: !self.wanted,
        }
    }

    /// The one door through which a slot's state changes to another that people see.
    pub(super) fn enter(&mut self, state: State, actions: &mut Vec<Action>) {
        let from = self.state.shown();
        self.state = state;
        let to = self.state.shown();
        if from != to {
            let slot = self.plan.slot.clone();
            actions.push(Action::Moved { slot, from, to });
        }
    }

    /// `Vacant`, or the end of the occupant → `Vanishing`: whatever has its name in Postgres has to be
    /// gone before anything is opened here.
    pub(super) fn vanish(&mut self, now: Moment, policy: &Policy, actions: &mut Vec<Action>) {
        let vanishing = Vanishing {
            ask: Ask::Now,
            seen: Seen::Unreachable,
            terminate: now.saturating_add(policy.terminate_after),
            patience: Some(now.saturating_add(policy.confirm_patience)),
        };
        self.enter(State::Vanishing(vanishing), actions);
    }

    /// Postgres' word on the backends of a slot without a launched process.
    pub(super) fn seen(
        &mut self,
        seen: Seen,
        now: Moment,
        policy: &Policy,
        actions: &mut Vec<Action>,
    ) {
        let State::Vanishing(vanishing) = &mut self.state else {
            return;
        };
        vanishing.seen = seen;
        let pause = match seen {
            Seen::Gone => return self.cleared(now, actions),
            Seen::Remaining(_) => policy.confirm_every,
            Seen::Unreachable => policy.unreachable_every,
        };
        vanishing.ask = Ask::Again(now.saturating_add(pause));
    }

    /// `Vanishing` → whatever is next, now that the slot's share of the bound is free.
    fn cleared(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if !self.wanted {
            return self.enter(State::Vacant, actions);
        }
        if let Some(Successor { seat, state }) = &self.successor {
            let seat = *seat;
            let taken_over = match *state {
                Beside::Booting { process, until } => Some(State::Booting {
                    seat,
                    process,
                    until,
                }),
                Beside::Booted => Some(State::Booted { seat }),
                Beside::Leaving { .. } => None,
            };
            if let Some(state) = taken_over {
                self.successor = None;
                self.rest = None;
                return self.enter(state, actions);
            }
        }
        match self.rest {
            None => self.start(now, actions),
            Some(Rest::Until(until)) => self.enter(State::Resting { until }, actions),
            Some(Rest::Parked) => self.enter(State::Parked, actions),
        }
    }

    /// A slot whose backends are gone → `Booting`; of a foreign program, → `Vacant`, until its turn comes: to start it
    /// is to launch it.
    pub(super) fn start(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.rest = None;
        match self.plan.readiness.is_foreign() {
            true => self.enter(State::Vacant, actions),
            false => self.boot(now, actions),
        }
    }

    /// A slot whose backends are gone → `Booting`.
    fn boot(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let seat = match &self.successor {
            Some(successor) => successor.seat.other(),
            None => Seat::A,
        };
        let until = now.saturating_add(self.plan.ready_timeout);
        let process = Process::Asked;
        self.enter(
            State::Booting {
                seat,
                process,
                until,
            },
            actions,
        );
        actions.push(Action::Spawn(self.worker(seat)));
    }

    /// Starts a process beside a serving occupant.
    pub(super) fn start_beside(&mut self, seat: Seat, now: Moment, actions: &mut Vec<Action>) {
        self.successor = Some(Successor {
            seat,
            state: Beside::Booting {
                process: Process::Asked,
                until: now.saturating_add(self.plan.ready_timeout),
            },
        });
        actions.push(Action::Spawn(self.worker(seat)));
    }

    /// Whether it is about to open connections: one slot of the fleet at a time.
    pub(super) fn opens(&self) -> bool {
        match self.state {
            State::Launching { .. } => true,
            State::Booting { .. } => self.plan.readiness.is_foreign(),
            _ => false,
        }
    }

    /// Whether it waits for its turn to open connections.
    pub(super) fn waits(&self) -> bool {
        match self.state {
            State::Booted { .. } => true,
            State::Vacant => self.wanted && self.plan.readiness.is_foreign(),
            _ => false,
        }
    }

    /// Its turn has come: `Booted` → `Launching`, and of a foreign program `Vacant` → `Booting`.
    pub(super) fn launch(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let seat = match self.state {
            State::Booted { seat } => seat,
            State::Vacant => return self.boot(now, actions),
            _ => return,
        };
        self.enter(
            State::Launching {
                seat,
                started: false,
                until: now.saturating_add(self.plan.ready_timeout),
            },
            actions,
        );
        actions.push(Action::Launch(self.worker(seat)));
    }

    /// Any state with a process → `Draining`, asked for.
    pub(super) fn drain(&mut self, now: Moment, policy: &Policy, actions: &mut Vec<Action>) {
        if let State::Draining { unasked, .. } = &mut self.state {
            *unasked = false;
            return;
        }
        let Some(seat) = self.state.seat() else {
            return;
        };
        let process = match self.state {
            State::Booting { process, .. } => process,
            _ => Process::Running,
        };
        let end = End::By(self.drain_deadline(now, policy));
        self.enter(
            State::Draining {
                seat,
                process,
                end,
                unasked: false,
            },
            actions,
        );
        if process == Process::Running {
            actions.push(Action::Terminate(self.worker(seat)));
        }
    }

    /// A successor that is not needed leaves.
    pub(super) fn dismiss(&mut self, now: Moment, policy: &Policy, actions: &mut Vec<Action>) {
        let end = End::By(self.drain_deadline(now, policy));
        let Some(successor) = &mut self.successor else {
            return;
        };
        let process = match successor.state {
            Beside::Booting { process, .. } => process,
            Beside::Booted => Process::Running,
            Beside::Leaving { .. } => return,
        };
        successor.state = Beside::Leaving { process, end };
        let seat = successor.seat;
        if process == Process::Running {
            actions.push(Action::Terminate(self.worker(seat)));
        }
    }

    /// `Draining` → killed, once.
    pub(super) fn kill(&mut self, actions: &mut Vec<Action>) {
        let killed = match &mut self.state {
            State::Draining {
                seat, process, end, ..
            } => end.kill(*process).then_some(*seat),
            _ => None,
        };
        let worker = killed.map(|seat| self.worker(seat));
        actions.extend(worker.map(Action::Kill));
    }

    /// A leaving successor → killed, once.
    pub(super) fn kill_successor(&mut self, actions: &mut Vec<Action>) {
        let killed = match &mut self.successor {
            Some(Successor {
                seat,
                state: Beside::Leaving { process, end },
            }) => end.kill(*process).then_some(*seat),
            _ => None,
        };
        let worker = killed.map(|seat| self.worker(seat));
        actions.extend(worker.map(Action::Kill));
    }

    /// Counts a failure and says what follows for the slot.
    pub(super) fn count_failure(
        &mut self,
        served: Duration,
        now: Moment,
        policy: &Policy,
    ) -> Consequence {
        let salt = u64::from(self.plan.slot.index());
        let then = self.failures.add(served, salt, policy);
        self.rest = Some(match then {
            Consequence::Restart { after } => Rest::Until(now.saturating_add(after)),
            Consequence::Park { .. } => Rest::Parked,
        });
        then
    }

    /// Forgets its failures: somebody wants it tried again now.
    pub(super) fn forgive(&mut self) {
        self.failures = Failures::NONE;
        self.rest = None;
    }

    /// How long the occupant has served.
    pub(super) const fn served_for(&self, now: Moment) -> Duration {
        match self.state {
            State::Serving { since, .. } => now.saturating_sub(since),
            _ => Duration::ZERO,
        }
    }

    /// Whether nothing of it runs.
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self.state, State::Vacant) && self.successor.is_none()
    }

    /// Where its next worker can boot beside the present one, if it can.
    pub(super) const fn seat_beside(&self, how: How) -> Option<Seat> {
        match (how, &self.state) {
            (
                How::Warm,
                State::Serving {
                    seat, speaks: true, ..
                },
            ) => Some(seat.other()),
            _ => None,
        }
    }

    /// When a worker that is told to drain now has to be gone.
    fn drain_deadline(&self, now: Moment, policy: &Policy) -> Moment {
        now.saturating_add(self.plan.drain_timeout)
            .saturating_add(policy.kill_grace)
    }

    fn worker(&self, seat: Seat) -> WorkerId {
        WorkerId {
            slot: self.plan.slot.clone(),
            seat,
        }
    }
}

impl End {
    const fn signal(self, worker: WorkerId) -> Action {
        match self {
            Self::By(_) => Action::Terminate(worker),
            Self::Killed => Action::Kill(worker),
        }
    }

    /// Whether SIGKILL is to be sent now.
    fn kill(&mut self, process: Process) -> bool {
        let first = *self != Self::Killed;
        *self = Self::Killed;
        first && process == Process::Running
    }
}

impl State {
    pub(super) const fn shown(&self) -> SlotState {
        match self {
            Self::Vacant => SlotState::Vacant,
            Self::Vanishing(_) => SlotState::Vanishing,
            Self::Resting { .. } => SlotState::Resting,
            Self::Parked => SlotState::Parked,
            Self::Booting { .. } => SlotState::Booting,
            Self::Booted { .. } => SlotState::Booted,
            Self::Launching { .. } => SlotState::Launching,
            Self::Serving { .. } => SlotState::Serving,
            Self::Draining { .. } => SlotState::Draining,
        }
    }

    /// Where its process is, if it has one.
    pub(super) const fn seat(&self) -> Option<Seat> {
        match self {
            Self::Vacant | Self::Vanishing(_) | Self::Resting { .. } | Self::Parked => None,
            Self::Booting { seat, .. }
            | Self::Booted { seat }
            | Self::Launching { seat, .. }
            | Self::Serving { seat, .. }
            | Self::Draining { seat, .. } => Some(*seat),
        }
    }

    pub(super) const fn is_draining(&self) -> bool {
        matches!(self, Self::Draining { .. })
    }
}
