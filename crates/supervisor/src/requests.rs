//! Who waits on the control socket for the end of what.

use crate::control::{Answers, End, Progress, Response, SlotFailure, Step};
use crate::event::Outcome;
use poolwright_topology::handover::{Failure, Fleet, RollEnd, RollNews, SlotState};
use poolwright_topology::tag::{Name, SlotId};

/// What is under way at somebody's request. Whoever asked may be gone; it goes on all the same.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    stops: Vec<Answers>,
    roll: Option<Roll>,
    scalings: Vec<Scaling>,
}

#[derive(Debug)]
struct Roll {
    answers: Answers,
    done: u32,
    of: u32,
}

#[derive(Debug)]
struct Scaling {
    answers: Answers,
    app: Name,
    instances: u32,
    /// The slots from this one on are new: their failure is the scaling's.
    before: u32,
}

impl Requests {
    pub(crate) fn stop(&mut self, answers: Answers) {
        self.stops.push(answers);
    }

    /// A reload or restart of `of` slots has begun.
    pub(crate) fn roll(&mut self, answers: Answers, of: u32) {
        let done = 0;
        self.roll = Some(Roll { answers, done, of });
    }

    /// It was refused.
    pub(crate) fn forget_roll(&mut self) {
        self.roll = None;
    }

    pub(crate) fn scale(&mut self, answers: Answers, app: Name, instances: u32, before: u32) {
        self.scalings.push(Scaling {
            answers,
            app,
            instances,
            before,
        });
    }

    /// Whether an app is being scaled.
    pub(crate) fn scales(&self, app: &Name) -> bool {
        self.scalings.iter().any(|scaling| scaling.app == *app)
    }

    pub(crate) fn rolled(&mut self, news: &RollNews, last_words: impl FnOnce() -> Vec<String>) {
        let Some(roll) = &mut self.roll else { return };
        let answer = match news {
            RollNews::Boots(slot) => roll.step(slot, Step::Boots),
            RollNews::Drains(slot) => roll.step(slot, Step::Drains),
            RollNews::Serves(slot) => {
                roll.done += 1;
                roll.step(slot, Step::Serves)
            }
            RollNews::Ended(RollEnd::Done) => Response::Done { failure: None },
            RollNews::Ended(RollEnd::Failed(failure)) => Response::Done {
                failure: Some(told(failure, last_words())),
            },
            RollNews::Ended(RollEnd::Stopped) => stopped(),
        };
        roll.answers.send(answer).ok();
        if matches!(news, RollNews::Ended(_)) {
            self.roll = None;
        }
    }

    /// A worker failed.
    pub(crate) fn crashed(&mut self, failure: &Failure, last_words: &[String]) {
        self.scalings.retain(|scaling| {
            let new = *failure.slot.app() == scaling.app && failure.slot.index() >= scaling.before;
            if new {
                let failure = Some(told(failure, last_words.to_vec()));
                scaling.answers.send(Response::Done { failure }).ok();
            }
            !new
        });
    }

    /// Answers those whose app is as they asked for.
    pub(crate) fn look_at(&mut self, fleet: &Fleet) {
        self.scalings.retain(|scaling| {
            let mut slots = fleet.slots().filter(|s| *s.slot.app() == scaling.app);
            let mut count = 0;
            let settled = slots.all(|slot| {
                count += 1;
                let old = slot.slot.index() < scaling.before;
                // A slot that failed before, or for other reasons, is not waited for.
                let down = matches!(slot.state, SlotState::Resting | SlotState::Parked);
                !slot.leaving && (slot.state == SlotState::Serving || old && down)
            });
            let done = settled && count == scaling.instances;
            if done {
                let failure = None;
                scaling.answers.send(Response::Done { failure }).ok();
            }
            !done
        });
    }

    /// The fleet is over.
    pub(crate) fn ended(&mut self, outcome: &Outcome) {
        for answers in self.stops.drain(..) {
            let end = End::from(outcome);
            answers.send(Response::Stopped { end }).ok();
        }
        for scaling in self.scalings.drain(..) {
            scaling.answers.send(stopped()).ok();
        }
    }
}

impl Roll {
    fn step(&self, slot: &SlotId, step: Step) -> Response {
        Response::Progress(Progress {
            slot: slot.clone(),
            step,
            done: self.done,
            of: self.of,
        })
    }
}

fn told(failure: &Failure, last_words: Vec<String>) -> SlotFailure {
    SlotFailure {
        slot: failure.slot.clone(),
        reason: failure.to_string(),
        last_words,
    }
}

fn stopped() -> Response {
    Response::Refused {
        reason: "the fleet was stopped before it was done".to_owned(),
    }
}
