//! What `top` knows and shows. One event at a time changes it; it asks no clock, no terminal and no socket.

use super::notes::{self, Note, Tone};
use super::order::{Order, Outcome, Said, UnderWay};
use crossterm::event::KeyEvent;
use poolwright_supervisor::control::Progress;
use poolwright_topology::picture::{AppPicture, Picture, Session, SlotPicture};
use poolwright_topology::tag::{Name, SlotId};
use std::collections::VecDeque;
use std::sync::Arc;

/// How many notes are kept: more than any screen has lines.
const NOTES: usize = 200;

/// What `top` knows and shows.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The manifest whose fleet it is.
    pub(super) place: String,
    /// The fleet as it was seen last.
    pub(super) picture: Option<Arc<Picture>>,
    /// Why it is not seen now, if so.
    pub(super) gone: Option<Gone>,
    /// What fills the middle.
    pub(super) page: Page,
    /// What is asked at the bottom.
    pub(super) prompt: Prompt,
    /// The slot that the next key is about.
    pub(super) selected: Option<SlotId>,
    /// Only slots and notes with this in them are shown.
    pub(super) filter: String,
    /// What happened, oldest first.
    pub(super) notes: VecDeque<Note>,
    /// What was ordered here and is under way.
    pub(super) orders: Vec<UnderWay>,
    /// How the last order ended, until a key is pressed.
    pub(super) said: Option<Said>,
    given: u32,
}

/// The supervisor is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    /// Since when, in milliseconds since 1970.
    pub(super) since_unix_ms: u64,
    /// Why, in words.
    pub(super) reason: String,
}

/// What fills the middle of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// Slots, findings, notes.
    Fleet,
    /// The selected slot, with its sessions once they are known.
    Slot {
        sessions: Option<Vec<Session>>,
        /// Which of them is looked at.
        row: usize,
    },
    /// Every finding in full.
    Findings {
        /// How many lines were scrolled past.
        row: usize,
    },
    /// The keys and signs.
    Help {
        /// How many lines were scrolled past.
        row: usize,
    },
}

/// What is asked at the bottom of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prompt {
    /// Nothing.
    None,
    /// Whether this is meant.
    Confirm(Order),
    /// How many workers an app is to have.
    Workers {
        app: Name,
        /// What was typed.
        text: String,
        /// Whether it was no number of workers.
        mistake: bool,
    },
    /// What to look for; it is [`State::filter`] already.
    Filter,
}

/// What changes the state. Times are milliseconds since 1970.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The fleet, as it is now.
    Picture(Box<Picture>),
    /// It cannot be seen.
    Gone(Gone),
    /// What a slot does in Postgres.
    Sessions {
        slot: SlotId,
        sessions: Vec<Session>,
    },
    /// A key was pressed.
    Key(KeyEvent),
    /// An order has come this far.
    Progress { id: u32, progress: Progress },
    /// An order is over.
    Ended {
        id: u32,
        outcome: Outcome,
        at_unix_ms: u64,
    },
}

/// What has to be done because of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Quit,
    /// Stop until the shell has it go on (Ctrl-Z).
    Suspend,
    /// Draw everything anew.
    Repaint,
    /// Ask what a slot does in Postgres.
    Sessions(SlotId),
    /// Have the supervisor do this.
    Order {
        id: u32,
        order: Order,
    },
}

impl State {
    /// Nothing is known yet of the fleet that this manifest declares.
    pub(super) fn of(place: String) -> Self {
        Self {
            place,
            picture: None,
            gone: None,
            page: Page::Fleet,
            prompt: Prompt::None,
            selected: None,
            filter: String::new(),
            notes: VecDeque::new(),
            orders: Vec::new(),
            said: None,
            given: 0,
        }
    }

    /// The one way in which it changes.
    pub(super) fn react(&mut self, event: Event) -> Option<Act> {
        match event {
            Event::Picture(picture) => self.see(*picture),
            Event::Gone(gone) => {
                self.lose(gone);
                None
            }
            Event::Sessions { slot, sessions } => {
                self.look_into(&slot, sessions);
                None
            }
            Event::Key(key) => self.press(key),
            Event::Progress { id, progress } => {
                self.go_on(id, progress);
                None
            }
            Event::Ended {
                id,
                outcome,
                at_unix_ms,
            } => {
                self.end(id, outcome, at_unix_ms);
                None
            }
        }
    }

    fn see(&mut self, picture: Picture) -> Option<Act> {
        let same = |before: &Arc<Picture>| before.pid == picture.pid;
        let news = match self.picture.as_ref().filter(|before| same(before)) {
            Some(before) => notes::between(before, &picture),
            None => notes::first(&picture),
        };
        if self.gone.take().is_some() && self.picture.as_ref().is_some_and(same) {
            let words = "the supervisor answers again".to_owned();
            self.note(Note::of_fleet(picture.at_unix_ms, Tone::Good, words));
        }
        for note in news {
            self.note(note);
        }
        self.picture = Some(Arc::new(picture));
        self.select_something();
        self.wanted_sessions()
    }

    fn lose(&mut self, gone: Gone) {
        if self.gone.is_some() {
            return;
        }
        let words = gone.reason.clone();
        self.note(Note::of_fleet(gone.since_unix_ms, Tone::Bad, words));
        self.gone = Some(gone);
    }

    fn look_into(&mut self, of: &SlotId, found: Vec<Session>) {
        if self.selected.as_ref() != Some(of) {
            return;
        }
        if let Page::Slot { sessions, row } = &mut self.page {
            *row = (*row).min(found.len().saturating_sub(1));
            *sessions = Some(found);
        }
    }

    fn go_on(&mut self, id: u32, progress: Progress) {
        if let Some(order) = self.orders.iter_mut().find(|order| order.id == id) {
            order.progress = Some(progress);
        }
    }

    fn end(&mut self, id: u32, outcome: Outcome, at_unix_ms: u64) {
        let Some(index) = self.orders.iter().position(|order| order.id == id) else {
            return;
        };
        let said = Said::of(&self.orders.remove(index).order, outcome);
        let first = said.words.lines().next().unwrap_or_default().to_owned();
        self.note(Note::of_fleet(at_unix_ms, said.tone, first));
        self.said = Some(said);
    }

    fn note(&mut self, note: Note) {
        self.notes.push_back(note);
        while self.notes.len() > NOTES {
            self.notes.pop_front();
        }
    }

    /// The order, once it is confirmed.
    pub(super) fn give(&mut self, order: Order) -> Act {
        self.given = self.given.wrapping_add(1);
        let id = self.given;
        self.orders.push(UnderWay {
            id,
            order: order.clone(),
            progress: None,
        });
        Act::Order { id, order }
    }

    /// The apps, or none when nothing was seen yet.
    pub(super) fn apps(&self) -> impl Iterator<Item = &AppPicture> {
        self.picture.iter().flat_map(|picture| &picture.apps)
    }

    /// The slots that the filter lets through, in their order.
    pub(super) fn slots(&self) -> impl Iterator<Item = &SlotPicture> {
        self.apps().flat_map(|app| self.slots_of(app))
    }

    /// Those of one app.
    pub(super) fn slots_of<'a>(
        &'a self,
        app: &'a AppPicture,
    ) -> impl Iterator<Item = &'a SlotPicture> {
        app.slots.iter().filter(|slot| self.lets_through(slot))
    }

    fn lets_through(&self, slot: &SlotPicture) -> bool {
        let status = &slot.status;
        let pid = status.pid.map(|pid| pid.to_string());
        self.filter.is_empty()
            || status.slot.to_string().contains(&self.filter)
            || status.state.to_string().contains(&self.filter)
            || pid.is_some_and(|pid| pid == self.filter)
    }

    /// The notes that the filter lets through, oldest first.
    pub(super) fn shown_notes(&self) -> impl DoubleEndedIterator<Item = &Note> {
        self.notes.iter().filter(|note| {
            let slot = note.slot.as_ref().map(ToString::to_string);
            self.filter.is_empty()
                || note.words.contains(&self.filter)
                || slot.is_some_and(|slot| slot.contains(&self.filter))
        })
    }

    /// The slot that the next key is about.
    pub(super) fn selected(&self) -> Option<&SlotPicture> {
        let selected = self.selected.as_ref()?;
        self.apps()
            .flat_map(|app| &app.slots)
            .find(|slot| slot.status.slot == *selected)
    }

    /// Selects what is `by` slots further down, or up; at the ends it stays.
    pub(super) fn move_selection(&mut self, by: isize) {
        let slots: Vec<&SlotId> = self.slots().map(|slot| &slot.status.slot).collect();
        let now = slots
            .iter()
            .position(|slot| Some(*slot) == self.selected.as_ref());
        let last = slots.len().saturating_sub(1);
        let next = now.map_or(0, |now| now.saturating_add_signed(by).min(last));
        self.selected = slots.get(next).map(|slot| (*slot).clone());
    }

    /// Something is selected as long as something is shown: what was, else the next one after its place, else the last.
    pub(super) fn select_something(&mut self) {
        let shown: Vec<&SlotId> = self.slots().map(|slot| &slot.status.slot).collect();
        let next = match &self.selected {
            None => shown.first().copied(),
            Some(selected) if shown.contains(&selected) => Some(selected),
            Some(selected) => {
                let after = |slot: &&SlotId| {
                    slot.app() == selected.app() && slot.index() > selected.index()
                };
                let after = shown.iter().copied().find(after);
                after.or(shown.last().copied())
            }
        };
        let next = next.cloned();
        if next != self.selected {
            self.selected = next;
            if let Page::Slot { .. } = self.page {
                self.page = match self.selected {
                    Some(_) => Page::slot(),
                    None => Page::Fleet,
                };
            }
        }
    }

    /// Whose sessions are looked at.
    pub(super) fn wanted_sessions(&self) -> Option<Act> {
        match (&self.page, &self.selected) {
            (Page::Slot { .. }, Some(slot)) => Some(Act::Sessions(slot.clone())),
            _ => None,
        }
    }
}

impl Page {
    /// A slot's, before its sessions are known.
    pub(super) const fn slot() -> Self {
        Self::Slot {
            sessions: None,
            row: 0,
        }
    }
}

#[cfg(test)]
mod tests;
