//! What the fleet is asked for over its control socket.

use super::Dispatcher;
use crate::backends::NotAdmitted;
use crate::budget::Said;
use crate::control::{Answers, AppStatus, Asked, FleetStatus, Request, Response};
use crate::event::{Event, StopReason};
use crate::roster::unix_ms;
use crate::spec::AppSpec;
use poolwright_topology::handover::{self, How, SlotView};
use poolwright_topology::tag::{Name, SlotId};
use std::collections::BTreeMap;

/// A scaling that waits for the budget's word.
pub(super) struct Scaling {
    app: Name,
    instances: u32,
    answers: Answers,
}

impl Dispatcher {
    fn status(&self) -> FleetStatus {
        let apps = self.spec.apps.iter().map(|app| AppStatus {
            app: app.name.clone(),
            listen: match self.held.get(&app.name) {
                Some(held) => Some(held.address()),
                None => app.listen,
            },
            instances: app.instances,
            slots: self
                .fleet
                .slots()
                .filter(|view: &SlotView<'_>| *view.slot.app() == app.name)
                .filter_map(|view| self.roster.status(view, app))
                .collect(),
        });
        FleetStatus {
            pid: std::process::id(),
            since_unix_ms: unix_ms(self.since),
            apps: apps.collect(),
        }
    }

    pub(super) async fn asked(&mut self, Asked { request, answers }: Asked) {
        match request {
            Request::Status => {
                let status = self.status();
                answers.send(Response::Status { status }).ok();
            }
            Request::Stop { now } => {
                answers.send(Response::Stopping).ok();
                self.requests.stop(answers);
                let (reason, event) = if now {
                    (StopReason::KillRequest, handover::Event::Kill)
                } else {
                    (StopReason::Request, handover::Event::Stop)
                };
                self.outbox.push_back(Event::Stopping(reason));
                self.decide(event).await;
            }
            // Answered where the connection is served.
            Request::Watch | Request::Sessions { .. } | Request::Findings => {}
            Request::Reload => self.roll(None, How::Warm, answers).await,
            Request::Restart { slot } => self.roll(slot, How::Cold, answers).await,
            Request::Scale { app, instances } => self.scale(app, instances, answers),
        }
    }

    async fn roll(&mut self, slot: Option<SlotId>, how: How, answers: Answers) {
        let slots: Vec<_> = match slot {
            Some(slot) => vec![slot],
            None => self.fleet.slots().map(|view| view.slot.clone()).collect(),
        };
        // Known before the first step is told; taken back if it is refused.
        let busy = self.fleet.is_rolling();
        if !busy {
            let of = u32::try_from(slots.len()).unwrap_or(u32::MAX);
            self.requests.roll(answers.clone(), of);
            self.generation += 1;
        }
        if let Some(refusal) = self.decide(handover::Event::Roll { slots, how }).await {
            if !busy {
                self.requests.forget_roll();
                self.generation -= 1;
            }
            refuse(&answers, refusal.to_string());
        }
    }

    /// Asks the budget first, without holding the fleet up.
    fn scale(&mut self, app: Name, instances: u32, answers: Answers) {
        let reason = if !self.spec.apps.iter().any(|spec| spec.name == app) {
            Some(format!("there is no app {app}"))
        } else if instances == 0 {
            Some("0 workers: expected 1 or more; `stop` ends the fleet".to_owned())
        } else if self.requests.scales(&app) {
            Some(format!(
                "{app} is being scaled; ask again when that has ended"
            ))
        } else if self.budget.is_deciding() {
            Some("another scaling is being decided; ask again".to_owned())
        } else {
            None
        };
        if let Some(reason) = reason {
            return refuse(&answers, reason);
        }
        let mut workers = self.workers();
        let present = workers.insert(app.clone(), instances);
        let grows = present.is_none_or(|present| instances > present);
        let scaling = Scaling {
            app,
            instances,
            answers,
        };
        self.budget.decide(scaling, workers, grows);
    }

    /// Gives back what a larger fleet was admitted with, once nobody is on the way out or in.
    pub(super) fn relinquish(&mut self) {
        if !self.budget.is_deciding() && !self.fleet.slots().any(|view| view.leaving) {
            self.budget.relinquish(self.workers());
        }
    }

    /// What the budget has said.
    pub(super) async fn budgeted(&mut self, said: Said<Scaling>) {
        match said {
            Said::Verdict(scaling, verdict) => self.admitted(scaling, verdict).await,
            Said::Relinquished(None) => {}
            Said::Relinquished(Some(error)) => {
                let reason = error.to_string();
                self.outbox_unless_full(Event::NotRelinquished { reason });
            }
        }
    }

    /// How many workers of each app there are or are about to be, with those that are on their way out.
    fn workers(&self) -> BTreeMap<Name, u32> {
        let of = |app: &AppSpec| {
            let slots = self
                .fleet
                .slots()
                .filter(|view| *view.slot.app() == app.name);
            let present = u32::try_from(slots.count()).unwrap_or(u32::MAX);
            (app.name.clone(), present.max(app.instances))
        };
        self.spec.apps.iter().map(of).collect()
    }

    async fn admitted(&mut self, scaling: Scaling, verdict: Result<(), NotAdmitted>) {
        let Scaling {
            app,
            instances,
            answers,
        } = scaling;
        match verdict {
            Ok(()) => {}
            Err(NotAdmitted::DoesNotFit(reason)) => {
                answers.send(Response::DoesNotFit { reason }).ok();
                return self.relinquish();
            }
            Err(NotAdmitted::Unreachable(error)) => {
                refuse(&answers, error.to_string());
                return self.relinquish();
            }
        }
        let Some(spec) = self.spec.apps.iter_mut().find(|spec| spec.name == app) else {
            return;
        };
        let before = std::mem::replace(&mut spec.instances, instances);
        let plans = spec.plans().collect();
        self.roster.add(spec.slots());
        let event = handover::Event::Scale {
            app: app.clone(),
            plans,
        };
        if let Some(refusal) = self.decide(event).await {
            if let Some(spec) = self.spec.apps.iter_mut().find(|spec| spec.name == app) {
                spec.instances = before;
            }
            refuse(&answers, refusal.to_string());
            return self.relinquish();
        }
        self.requests.scale(answers, app, instances, before);
        self.requests.look_at(&self.fleet);
    }
}

fn refuse(answers: &Answers, reason: String) {
    answers.send(Response::Refused { reason }).ok();
}
