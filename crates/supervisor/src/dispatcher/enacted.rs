//! What the handover decided, done.

use super::Dispatcher;
use crate::attendant::Worker;
use crate::control::Step;
use crate::event::{Event, Outcome};
use crate::spec::StopSignal;
use poolwright_topology::channel::ToWorker;
use poolwright_topology::handover::{
    self, Action, Failure, RollEnd, RollNews, WorkerEvent, WorkerId,
};
use poolwright_topology::tag::SlotId;
use rustix::process::Signal;

impl Dispatcher {
    pub(super) async fn enact(&mut self, action: Action) -> Option<handover::Event> {
        match action {
            Action::Spawn(worker) => {
                let event = self.spawn(&worker).await;
                return Some(handover::Event::Worker { worker, event });
            }
            Action::Launch(worker) => {
                if let Some(process) = self.roster.process(&worker) {
                    process.worker.send(ToWorker::Launch);
                }
            }
            Action::Terminate(worker) => {
                let signal = self.stop_signal(&worker);
                self.signal(&worker, signal);
            }
            Action::Kill(worker) => {
                self.signal(&worker, Signal::KILL);
                let slot = worker.slot;
                self.outbox.push_back(Event::Killing { slot });
            }
            Action::Confirm(slot) => self.inquiries.confirm(slot),
            Action::TerminateBackends(slot) => {
                let count = self.remaining.get(&slot).copied().unwrap_or(0);
                self.outbox.push_back(Event::TerminatingBackends {
                    slot: slot.clone(),
                    count,
                });
                self.inquiries.terminate(slot);
            }
            Action::Moved { slot, from, to } => {
                self.roster.moved(&slot);
                self.outbox.push_back(Event::Moved { slot, from, to });
            }
            Action::AllServing => self.outbox.push_back(Event::AllServing),
            Action::Failed(failure) => self.failed(failure),
            Action::Crashed { failure, then } => {
                let last_words = self.last_words(&failure.slot);
                self.roster.crashed(&failure);
                self.requests.crashed(&failure, &last_words);
                self.outbox.push_back(Event::Crashed {
                    failure,
                    last_words,
                    then,
                });
            }
            Action::Removed(slot) => {
                self.roster.remove(&slot);
                self.remaining.remove(&slot);
                self.outbox.push_back(Event::Removed { slot });
                self.relinquish();
            }
            Action::Roll(news) => {
                let words = match &news {
                    RollNews::Ended(RollEnd::Failed(failure)) => self.last_words(&failure.slot),
                    _ => Vec::new(),
                };
                match &news {
                    RollNews::Boots(slot) => self.roster.stepped(slot, Step::Boots),
                    RollNews::Drains(slot) => self.roster.stepped(slot, Step::Drains),
                    RollNews::Serves(slot) => self.roster.stepped(slot, Step::Serves),
                    RollNews::Ended(_) => {}
                }
                self.requests.rolled(&news, || words);
                self.outbox.push_back(Event::Roll(news));
            }
            // Taken out before.
            Action::Refused(_) => {}
            Action::Ended(outcome) => self.ended(outcome),
        }
        None
    }

    async fn spawn(&mut self, id: &WorkerId) -> WorkerEvent {
        let slot = &id.slot;
        let Some(app) = self.spec.apps.iter().find(|app| app.name == *slot.app()) else {
            return WorkerEvent::SpawnFailed {
                reason: "its app is not declared".to_owned(),
            };
        };
        let held = self.held.get(&app.name);
        let ears = self.ears.clone();
        match Worker::start(&self.spawner, &self.spec, app, id, held, ears).await {
            Ok(worker) => {
                self.outbox.push_back(Event::Spawned {
                    slot: slot.clone(),
                    pid: worker.pid,
                });
                self.roster.seated(id, worker, self.generation);
                WorkerEvent::Spawned
            }
            Err(error) => WorkerEvent::SpawnFailed {
                reason: error.to_string(),
            },
        }
    }

    fn signal(&mut self, worker: &WorkerId, signal: Signal) {
        if let Some(process) = self.roster.process(worker) {
            process.worker.signal(signal);
        }
    }

    fn stop_signal(&self, worker: &WorkerId) -> Signal {
        let mut apps = self.spec.apps.iter();
        let app = apps.find(|app| app.name == *worker.slot.app());
        match app.map(|app| app.stop_signal).unwrap_or_default() {
            StopSignal::Term => Signal::TERM,
            StopSignal::Int => Signal::INT,
        }
    }

    pub(super) fn last_words(&self, slot: &SlotId) -> Vec<String> {
        let view = self.fleet.slots().find(|view| view.slot == slot);
        self.roster.last_words(view)
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        let last_words = self.last_words(&failure.slot);
        self.failure = Some((failure.clone(), last_words.clone()));
        self.outbox.push_back(Event::Failed {
            failure,
            last_words,
        });
    }

    pub(super) fn ended(&mut self, outcome: handover::Outcome) {
        self.outcome = Some(match (outcome, self.failure.take()) {
            (handover::Outcome::Failed(_), Some((failure, last_words))) => Outcome::Failed {
                failure,
                last_words,
            },
            (handover::Outcome::Failed(failure), None) => Outcome::Failed {
                failure,
                last_words: Vec::new(),
            },
            (handover::Outcome::Stopped, _) => Outcome::Stopped,
        });
    }
}
