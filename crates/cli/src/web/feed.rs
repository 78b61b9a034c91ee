//! What those who watch are sent: a picture a second and whenever a slot moves, and every step of a reload.
//!
//! A picture is written once, however many watch, and not at all when nobody does; who reads slowly gets the newest one, not all
//! of them. Steps come by themselves besides, as they are heard: a slot may take two of them between two pictures.

use crate::live;
use axum::response::sse::Event as Sent;
use futures::stream::{self, Stream};
use poolwright_supervisor::control::{Inquirer, Views, Watcher};
use poolwright_supervisor::{Event, RollEnd, RollNews};
use poolwright_topology::picture::{History, Mark, View};
use poolwright_topology::status::Step;
use poolwright_topology::tag::SlotId;
use serde::Serialize;
use serde_json::json;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

/// How many steps may wait for one who reads slowly: ten reloads of a fleet of eight.
const STEPS: usize = 256;

/// What is shown of the fleet, as it comes.
#[derive(Debug)]
pub(crate) struct Feed {
    views: Views,
    inquirer: Inquirer,
    history: Mutex<History>,
    pictures: watch::Sender<Option<Sent>>,
    steps: broadcast::Sender<Sent>,
}

impl Feed {
    /// Of a fleet that is looked at and can be asked.
    pub(crate) fn new(views: Views, inquirer: Inquirer) -> Self {
        Self {
            views,
            inquirer,
            history: Mutex::default(),
            pictures: watch::channel(None).0,
            steps: broadcast::channel(STEPS).0,
        }
    }

    /// Takes in what happens in the fleet. Never waits.
    pub(crate) fn hear(&self, event: &Event) {
        match event {
            Event::Roll(RollNews::Boots(slot)) => self.stepped(slot, Step::Boots),
            Event::Roll(RollNews::Drains(slot)) => self.stepped(slot, Step::Drains),
            Event::Roll(RollNews::Serves(slot)) => self.stepped(slot, Step::Serves),
            Event::Roll(RollNews::Ended(end)) => {
                let failure = match end {
                    RollEnd::Failed(failure) => Some(failure.to_string()),
                    RollEnd::Done | RollEnd::Stopped => None,
                };
                let at_unix_ms = live::unix_ms();
                let ended = json!({ "failure": failure, "at_unix_ms": at_unix_ms });
                self.send("ended", &ended);
            }
            _ => {}
        }
    }

    fn stepped(&self, slot: &SlotId, step: Step) {
        let mark = Mark {
            slot: slot.clone(),
            step,
            at_unix_ms: live::unix_ms(),
        };
        self.send("step", &mark);
        self.history().mark(mark);
    }

    /// To all who watch now.
    fn send(&self, name: &str, what: &impl Serialize) {
        if let Some(sent) = written(name, what) {
            self.steps.send(sent).ok();
        }
    }

    /// Keeps the history, and writes for those who watch, until the fleet has ended. Cancel safe.
    pub(crate) async fn follow(&self) {
        let mut views = self.views.clone();
        while let Some(view) = views.next().await {
            self.seen(&view);
        }
    }

    fn seen(&self, view: &View) {
        self.history().add(&view.picture);
        if self.pictures.receiver_count() > 0 {
            self.pictures
                .send_replace(written("picture", &view.picture));
        }
    }

    /// How the fleet was when it was looked at last; nothing before the first look.
    pub(super) fn view(&self) -> Option<Arc<View>> {
        self.views.newest()
    }

    pub(super) fn inquirer(&self) -> &Inquirer {
        &self.inquirer
    }

    /// The last hour, as JSON.
    pub(super) fn last_hour(&self) -> Option<String> {
        serde_json::to_string(&*self.history()).ok()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // Whoever panicked in between left sums of numbers.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one who watches is sent: `hello`, the newest picture, and then whatever comes.
    pub(super) fn watch(
        &self,
        writes: bool,
    ) -> impl Stream<Item = Result<Sent, Infallible>> + Send + use<> {
        let hello = json!({ "version": env!("CARGO_PKG_VERSION"), "writes": writes });
        let view = self.view();
        let first = [
            written("hello", &hello),
            view.and_then(|view| written("picture", &view.picture)),
        ];
        let coming = Coming {
            pictures: self.pictures.subscribe(),
            steps: self.steps.subscribe(),
            _watcher: self.views.watcher(),
        };
        let first = first.into_iter().flatten().map(Ok);
        let coming = stream::unfold(coming, async |mut coming| {
            let sent = coming.next().await?;
            Some((Ok(sent), coming))
        });
        stream::StreamExt::chain(stream::iter(first), coming)
    }
}

/// What comes to one who watches.
struct Coming {
    pictures: watch::Receiver<Option<Sent>>,
    steps: broadcast::Receiver<Sent>,
    _watcher: Watcher,
}

impl Coming {
    /// The next of it; `None` when the fleet has ended.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            let sent = tokio::select! {
                biased;
                step = self.steps.recv() => match step {
                    Ok(step) => Some(step),
                    // The pictures say what became of those that were missed.
                    Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => return None,
                },
                changed = self.pictures.changed() => {
                    changed.ok()?;
                    self.pictures.borrow_and_update().clone()
                }
            };
            if sent.is_some() {
                return sent;
            }
        }
    }
}

fn written(name: &str, what: &impl Serialize) -> Option<Sent> {
    Sent::default().event(name).json_data(what).ok()
}
