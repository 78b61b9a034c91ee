//! What workers and Postgres say.

use super::Dispatcher;
use crate::attendant::Told;
use crate::backends::Answered;
use crate::event::Event;
use poolwright_topology::channel::FromWorker;
use poolwright_topology::handover::{self, Readiness, Seen, SlotState, WorkerEvent, WorkerId};
use poolwright_topology::tag::SlotId;

impl Dispatcher {
    /// Something from a worker: what is for the caller and for `status` is kept, the rest decided on.
    pub(super) async fn told(&mut self, worker: WorkerId, told: Told) {
        let slot = worker.slot.clone();
        let event = match told {
            Told::BadLine(error) => {
                let error = error.to_string();
                self.outbox_unless_full(Event::BadLine { slot, error });
                return;
            }
            Told::OutputDropped(lines) => {
                self.outbox.push_back(Event::OutputDropped { slot, lines });
                return;
            }
            Told::Status(words) => {
                if let Some(process) = self.roster.process(&worker) {
                    process.status = Some(words);
                }
                return;
            }
            Told::Stranger(pid) => {
                self.outbox_unless_full(Event::Stranger { slot, pid });
                return;
            }
            Told::Happened(event) => event,
        };
        self.note(&worker, &event);
        // The most frequent by far, and from every worker of the fleet: they decide nothing.
        if matches!(event, WorkerEvent::Said(FromWorker::Gauges { .. })) {
            return;
        }
        self.decide(handover::Event::Worker { worker, event }).await;
        self.roster.parted(&slot);
    }

    /// Whether a worker that becomes ready now has not said what its declaration lets expect; for the first one of its app.
    fn is_undeclared(&mut self, slot: &SlotId) -> bool {
        let mut apps = self.spec.apps.iter();
        let app = apps.find(|app| app.name == *slot.app());
        let speaks = app.is_some_and(|app| app.ready == Readiness::Channel);
        let mut slots = self.fleet.slots();
        let boots = slots.any(|view| view.slot == slot && view.state == SlotState::Booting);
        speaks && boots && self.undeclared.insert(slot.app().clone())
    }

    fn note(&mut self, id: &WorkerId, event: &WorkerEvent) {
        let slot = id.slot.clone();
        match event {
            WorkerEvent::Said(FromWorker::Started {
                pid,
                executor_id,
                pools,
            }) => {
                if let Some(process) = self.roster.process(id) {
                    process.executor_id = Some(executor_id.clone());
                }
                self.outbox_unless_full(Event::Started {
                    slot,
                    pid: *pid,
                    executor_id: executor_id.clone(),
                    pools: pools.clone(),
                });
            }
            WorkerEvent::Said(FromWorker::Ready) if self.is_undeclared(&slot) => {
                self.outbox.push_back(Event::OnlyReady { slot });
            }
            WorkerEvent::Said(FromWorker::Gauges { pools }) => {
                if let Some(process) = self.roster.process(id) {
                    process.gauges.clone_from(pools);
                }
                let pools = pools.clone();
                self.outbox_unless_full(Event::Gauges { slot, pools });
            }
            WorkerEvent::Exited(exit) => {
                if let Some(process) = self.roster.gone(id) {
                    self.outbox.push_back(Event::Exited {
                        slot,
                        pid: process.worker.pid,
                        exit: *exit,
                    });
                }
            }
            _ => {}
        }
    }

    /// What Postgres says.
    pub(super) async fn answered(&mut self, answered: Answered) {
        match answered {
            Answered::Census(slots, error) => {
                self.reached(error.map(|error| error.to_string()));
                for (slot, seen) in slots {
                    if let Seen::Remaining(count) = seen {
                        self.remaining.insert(slot.clone(), count);
                    }
                    self.decide(handover::Event::Backends { slot, seen }).await;
                }
            }
            Answered::Terminated(slot, Some(error)) => {
                let reason = error.to_string();
                self.outbox_unless_full(Event::NotTerminated { slot, reason });
            }
            Answered::Terminated(_, None) => {}
        }
    }

    /// Tells the beginning and the end of Postgres' silence.
    fn reached(&mut self, error: Option<String>) {
        let was = std::mem::replace(&mut self.reachable, error.is_none());
        match (was, error) {
            (true, Some(reason)) => self.outbox.push_back(Event::Unreachable { reason }),
            (false, None) => self.outbox.push_back(Event::Reachable),
            _ => {}
        }
    }
}
