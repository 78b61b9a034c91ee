//! What a slot makes of what its processes do and say.

use super::{Beside, End, Heard, Process, Slot, State};
use crate::channel::FromWorker;
use crate::handover::Moment;
use crate::handover::failure::Cause;
use crate::handover::interface::{Action, Readiness, Seat, SlotState, WorkerEvent};
use crate::handover::policy::Policy;
use std::collections::BTreeMap;

impl Slot {
    /// An event of the process in `seat`; of one that is not there, nothing.
    pub(in crate::handover) fn hear(
        &mut self,
        seat: Seat,
        event: WorkerEvent,
        now: Moment,
        policy: &Policy,
        actions: &mut Vec<Action>,
    ) -> Heard {
        if self.state.seat() == Some(seat) {
            return self.hear_occupant(event, now, policy, actions);
        }
        if self.successor.as_ref().is_some_and(|s| s.seat == seat) {
            let cause = self.hear_successor(event, actions);
            return cause.map_or(Heard::Nothing, Heard::SuccessorFailed);
        }
        Heard::Nothing
    }

    fn hear_occupant(
        &mut self,
        event: WorkerEvent,
        now: Moment,
        policy: &Policy,
        actions: &mut Vec<Action>,
    ) -> Heard {
        let state = self.state.shown();
        let refused = match event {
            WorkerEvent::Spawned => self.spawned(actions),
            WorkerEvent::Said(FromWorker::Booted) => self.said_booted(actions),
            WorkerEvent::Said(FromWorker::Started {
                executor_id, pools, ..
            }) => self.started(executor_id, pools),
            WorkerEvent::Said(FromWorker::Ready) => self.said_ready(now, actions),
            WorkerEvent::SeenReady => self.seen_ready(now, actions),
            WorkerEvent::Said(FromWorker::Draining) => self.drains(now, policy, actions),
            // Gauges are for those who watch; they decide nothing.
            WorkerEvent::Said(FromWorker::Gauges { .. }) => None,
            WorkerEvent::SpawnFailed { reason } => {
                return self.left(Cause::NotStarted { reason });
            }
            WorkerEvent::Exited(exit) => return self.left(Cause::Exited { state, exit }),
        };
        refused.map_or(Heard::Nothing, Heard::Failed)
    }

    /// Its process is gone; whether it was asked to go decides whether that is a failure.
    fn left(&self, cause: Cause) -> Heard {
        let asked = matches!(self.state, State::Draining { unasked: false, .. });
        Heard::Left((!asked).then_some(cause))
    }

    /// `Asked` → `Running`; a stop that came in between is made up for here.
    fn spawned(&mut self, actions: &mut Vec<Action>) -> Option<Cause> {
        match &mut self.state {
            State::Booting { process, .. } => *process = Process::Running,
            State::Draining {
                process, end, seat, ..
            } if *process == Process::Asked => {
                *process = Process::Running;
                let (end, seat) = (*end, *seat);
                actions.push(end.signal(self.worker(seat)));
            }
            _ => {}
        }
        None
    }

    /// `Booting` → `Booted`. A program that was declared foreign holds its executor id since before it ran: a successor
    /// beside it would wait for that in vain, so it is not taken for one that speaks.
    fn said_booted(&mut self, actions: &mut Vec<Action>) -> Option<Cause> {
        let State::Booting { seat, .. } = self.state else {
            return None;
        };
        if self.plan.readiness.is_foreign() {
            return Some(Cause::OutOfTurn {
                said: "booted",
                state: self.state.shown(),
                expected: "ready = \"channel\" of an app whose program waits for `launch`",
            });
        }
        self.enter(State::Booted { seat }, actions);
        None
    }

    /// Compares what a launching worker opened with what the plan says.
    fn started(&mut self, executor_id: String, pools: BTreeMap<String, u32>) -> Option<Cause> {
        let state = self.state.shown();
        match &mut self.state {
            State::Booting { .. } | State::Booted { .. } | State::Serving { .. } => {
                Some(Cause::OutOfTurn {
                    said: "started",
                    state,
                    expected: "`booted`, then the supervisor's `launch`, then `started` once",
                })
            }
            State::Launching { .. } if pools != self.plan.pools => Some(Cause::OtherPools {
                found: pools,
                expected: self.plan.pools.clone(),
            }),
            State::Launching { .. } if executor_id != self.plan.slot.to_string() => {
                Some(Cause::OtherExecutor {
                    found: executor_id,
                    expected: self.plan.slot.clone(),
                })
            }
            State::Launching { started, .. } => {
                *started = true;
                None
            }
            // Its last words crossed with the supervisor's SIGTERM.
            State::Draining { .. }
            | State::Vacant
            | State::Vanishing(_)
            | State::Resting { .. }
            | State::Parked => None,
        }
    }

    /// `Launching` → `Serving` when `started` came first; `Booting` → `Serving` for a foreign program.
    fn said_ready(&mut self, now: Moment, actions: &mut Vec<Action>) -> Option<Cause> {
        let expected = match self.state {
            State::Booting { .. } | State::Launching { started: true, .. } => {
                self.serve(now, actions);
                return None;
            }
            State::Launching { .. } => "`started` with its pools first",
            State::Booted { .. } => "nothing until the supervisor's `launch`",
            _ => return None,
        };
        Some(Cause::OutOfTurn {
            said: "ready",
            state: self.state.shown(),
            expected,
        })
    }

    /// `Booting` → `Serving`, of a foreign program.
    fn seen_ready(&mut self, now: Moment, actions: &mut Vec<Action>) -> Option<Cause> {
        let seen = match self.plan.readiness {
            // They say it, and nothing else counts.
            Readiness::Channel | Readiness::Pm2 => false,
            Readiness::Notify | Readiness::Listening | Readiness::Accepting => true,
        };
        if seen && matches!(self.state, State::Booting { .. }) {
            self.serve(now, actions);
        }
        None
    }

    fn serve(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let (seat, speaks) = match self.state {
            State::Booting { seat, .. } => (seat, false),
            State::Launching { seat, .. } => (seat, true),
            _ => return,
        };
        self.served = true;
        let since = now;
        self.enter(
            State::Serving {
                seat,
                speaks,
                since,
            },
            actions,
        );
    }

    /// Any process → `Draining`, by the worker's own word: somebody else asked it to stop, or its channel
    /// broke. What that means is decided when it is gone.
    fn drains(&mut self, now: Moment, policy: &Policy, actions: &mut Vec<Action>) -> Option<Cause> {
        if let Some(seat) = self.state.seat()
            && !self.state.is_draining()
        {
            self.enter(
                State::Draining {
                    seat,
                    process: Process::Running,
                    end: End::By(self.drain_deadline(now, policy)),
                    unasked: true,
                },
                actions,
            );
        }
        None
    }

    fn hear_successor(&mut self, event: WorkerEvent, actions: &mut Vec<Action>) -> Option<Cause> {
        let successor = self.successor.as_mut()?;
        let seat = successor.seat;
        let state = match successor.state {
            Beside::Booting { .. } => SlotState::Booting,
            Beside::Booted | Beside::Leaving { .. } => SlotState::Booted,
        };
        let leaving = matches!(successor.state, Beside::Leaving { .. });
        let refuse = |said| {
            (!leaving).then_some(Cause::OutOfTurn {
                said,
                state,
                expected: "`booted`, and nothing until the supervisor's `launch`",
            })
        };
        match event {
            WorkerEvent::Spawned => {
                match &mut successor.state {
                    Beside::Booting { process, .. } => *process = Process::Running,
                    Beside::Leaving { process, end } if *process == Process::Asked => {
                        *process = Process::Running;
                        let end = *end;
                        actions.push(end.signal(self.worker(seat)));
                    }
                    Beside::Booted | Beside::Leaving { .. } => {}
                }
                None
            }
            WorkerEvent::Said(FromWorker::Booted) => {
                if !leaving {
                    successor.state = Beside::Booted;
                }
                None
            }
            WorkerEvent::Said(FromWorker::Started { .. }) => refuse("started"),
            WorkerEvent::Said(FromWorker::Ready) => refuse("ready"),
            WorkerEvent::Said(FromWorker::Draining) => refuse("draining"),
            WorkerEvent::Said(FromWorker::Gauges { .. }) | WorkerEvent::SeenReady => None,
            WorkerEvent::SpawnFailed { reason } => {
                self.successor = None;
                (!leaving).then_some(Cause::NotStarted { reason })
            }
            WorkerEvent::Exited(exit) => {
                self.successor = None;
                (!leaving).then_some(Cause::Exited { state, exit })
            }
        }
    }
}
