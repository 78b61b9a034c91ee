//! What a key means. Whatever changes the fleet is asked first, and only `y` means yes: a key that was meant for another window
//! does nothing.

use super::order::Order;
use super::state::{Act, Page, Prompt, State};
use crate::commands::scale;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use poolwright_topology::tag::Name;

/// How far a page key goes.
const LEAP: isize = 10;

/// How long what is typed may be.
const TYPED: usize = 40;

/// The keys, for the help: what to press, and what it does.
pub(super) const KEYS: [(&str, &str); 12] = [
    (
        "↑ ↓  k j",
        "select a slot; PgUp, PgDn, Home and End go further",
    ),
    (
        "Enter",
        "the slot's pools and sessions; ← → for the next slot",
    ),
    ("r", "reload: replace every worker, one after the other"),
    ("R", "restart the selected slot"),
    ("s", "scale the selected slot's app"),
    (
        "/",
        "show only what has this in it: slot, state, pid, words",
    ),
    ("f", "every finding in full, with its cure"),
    ("Esc", "no; back; take the filter away"),
    ("?  h", "this help"),
    ("Ctrl-L", "draw the screen anew"),
    ("Ctrl-Z", "leave it to the shell; `fg` comes back"),
    ("q  Ctrl-C", "quit; what was ordered goes on"),
];

impl State {
    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) -> Option<Act> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Some(Act::Quit),
                KeyCode::Char('z') => Some(Act::Suspend),
                KeyCode::Char('l') => Some(Act::Repaint),
                _ => None,
            };
        }
        let read = self.said.take().is_some();
        match &self.prompt {
            Prompt::None if read && key.code == KeyCode::Esc => None,
            Prompt::None => self.command(key.code),
            Prompt::Confirm(order) => {
                let order = order.clone();
                self.answer(key.code, order)
            }
            Prompt::Workers { .. } => {
                self.type_workers(key.code);
                None
            }
            Prompt::Filter => {
                self.type_filter(key.code);
                None
            }
        }
    }

    fn command(&mut self, key: KeyCode) -> Option<Act> {
        match key {
            KeyCode::Char('q') => return Some(Act::Quit),
            KeyCode::Char('r') => self.prompt = Prompt::Confirm(Order::Reload),
            KeyCode::Char('R') => {
                if let Some(slot) = self.selected.clone() {
                    self.prompt = Prompt::Confirm(Order::Restart(slot));
                }
            }
            KeyCode::Char('s') => {
                if let Some(app) = self.app() {
                    self.prompt = Prompt::Workers {
                        app,
                        text: String::new(),
                        mistake: false,
                    };
                }
            }
            KeyCode::Char('/') => {
                self.page = Page::Fleet;
                self.prompt = Prompt::Filter;
            }
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.page = Page::Help { row: 0 },
            KeyCode::Char('f') => self.page = Page::Findings { row: 0 },
            _ => return self.move_on_page(key),
        }
        None
    }

    fn move_on_page(&mut self, key: KeyCode) -> Option<Act> {
        let by = match key {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -LEAP,
            KeyCode::PageDown => LEAP,
            KeyCode::Home | KeyCode::Char('g') => isize::MIN,
            KeyCode::End | KeyCode::Char('G') => isize::MAX,
            _ => 0,
        };
        let scrolled = |row: usize, last: usize| row.saturating_add_signed(by).min(last);
        match &mut self.page {
            Page::Fleet => match key {
                KeyCode::Enter if self.selected.is_some() => {
                    self.page = Page::slot();
                    return self.wanted_sessions();
                }
                KeyCode::Esc => {
                    self.filter.clear();
                    self.select_something();
                }
                _ if by != 0 => self.move_selection(by),
                _ => {}
            },
            Page::Slot { sessions, row } => match key {
                KeyCode::Esc | KeyCode::Enter => self.page = Page::Fleet,
                KeyCode::Left | KeyCode::Right => {
                    let by = if key == KeyCode::Left { -1 } else { 1 };
                    self.page = Page::slot();
                    self.move_selection(by);
                    return self.wanted_sessions();
                }
                _ => {
                    let count = sessions.as_ref().map_or(0, Vec::len);
                    *row = scrolled(*row, count.saturating_sub(1));
                }
            },
            Page::Findings { row } | Page::Help { row } => match key {
                KeyCode::Esc | KeyCode::Enter => self.page = Page::Fleet,
                // How many lines there are depends on the screen: the drawing stops at the last one.
                _ => *row = scrolled(*row, usize::from(u16::MAX)),
            },
        }
        None
    }

    /// The app that a scaling is about.
    fn app(&self) -> Option<Name> {
        let of_slot = self.selected.as_ref().map(|slot| slot.app().clone());
        of_slot.or_else(|| self.apps().next().map(|app| app.app.clone()))
    }

    fn answer(&mut self, key: KeyCode, order: Order) -> Option<Act> {
        match key {
            KeyCode::Char('y' | 'Y') => {
                self.prompt = Prompt::None;
                Some(self.give(order))
            }
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                self.prompt = Prompt::None;
                None
            }
            _ => None,
        }
    }

    fn type_workers(&mut self, key: KeyCode) {
        let Prompt::Workers { app, text, mistake } = &mut self.prompt else {
            return;
        };
        match key {
            KeyCode::Char(digit) if digit.is_ascii_digit() && text.len() < TYPED => {
                text.push(digit);
                *mistake = false;
            }
            KeyCode::Backspace => {
                text.pop();
                *mistake = false;
            }
            KeyCode::Enter => match scale::workers(text) {
                Some(instances) => {
                    let app = app.clone();
                    self.prompt = Prompt::Confirm(Order::Scale { app, instances });
                }
                None => *mistake = true,
            },
            KeyCode::Esc => self.prompt = Prompt::None,
            _ => {}
        }
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) if self.filter.chars().count() < TYPED => {
                self.filter.push(letter);
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Enter => self.prompt = Prompt::None,
            KeyCode::Esc => {
                self.filter.clear();
                self.prompt = Prompt::None;
            }
            _ => {}
        }
        self.select_something();
    }
}
