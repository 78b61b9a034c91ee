//! What is under way, how it ended, what is asked, and which keys there are.

use super::super::notes::Tone;
use super::super::order::UnderWay;
use super::super::paint::Palette;
use super::super::state::{Page, Prompt, State};
use super::super::words::{cut, width, wrap};
use crate::commands::rolling;
use ratatui::text::{Line, Span};

/// How much of how an order ended stands at the bottom; the last words of a worker may be many.
const SAID: usize = 8;

pub(super) fn lines(state: &State, palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for order in &state.orders {
        let words = cut(&under_way(order), columns);
        lines.push(Line::from(palette.paint(Tone::Strong, words)));
    }
    if let Some(said) = &state.said {
        let all = wrap(&said.words, columns);
        let painted = |text: &String| Line::from(palette.paint(said.tone, text.clone()));
        lines.extend(all.iter().take(SAID).map(painted));
    }
    match asked(state) {
        Some((question, keys)) => {
            let all = wrap(&question, columns);
            let painted = |text: String| Line::from(palette.paint(Tone::Strong, text));
            lines.extend(all.into_iter().map(painted));
            lines.push(hints(&keys, palette, columns));
        }
        None => lines.push(hints(keys(state), palette, columns)),
    }
    lines
}

fn under_way(order: &UnderWay) -> String {
    let name = &order.order;
    match &order.progress {
        None => format!("{name} …"),
        Some(progress) => format!(
            "{name} {}/{}: {} {}",
            progress.done,
            progress.of,
            progress.slot,
            rolling::words(progress.step)
        ),
    }
}

type Keys = [(&'static str, &'static str)];

fn asked(state: &State) -> Option<(String, Vec<(&'static str, &'static str)>)> {
    match &state.prompt {
        Prompt::None => None,
        Prompt::Confirm(order) => {
            let keys = vec![("y", "yes"), ("Esc", "no")];
            Some((order.question(state.picture.as_deref()), keys))
        }
        Prompt::Workers { app, text, mistake } => {
            let keys = vec![("Enter", "goes on to the question"), ("Esc", "leaves it")];
            let mut question = format!("How many workers is {app} to have? {text}▏");
            if *mistake {
                question += " expected a whole number from 1 to 512";
            }
            Some((question, keys))
        }
        Prompt::Filter => {
            let keys = vec![("Enter", "keeps it"), ("Esc", "shows all")];
            Some((format!("Show only what has in it: {}▏", state.filter), keys))
        }
    }
}

fn keys(state: &State) -> &'static Keys {
    match state.page {
        Page::Fleet if state.filter.is_empty() => &[
            ("↑↓", "slot"),
            ("Enter", "sessions"),
            ("r", "reload"),
            ("R", "restart"),
            ("s", "scale"),
            ("/", "filter"),
            ("f", "findings"),
            ("?", "help"),
            ("q", "quit"),
        ],
        Page::Fleet => &[
            ("Esc", "show all"),
            ("/", "filter"),
            ("↑↓", "slot"),
            ("Enter", "sessions"),
            ("?", "help"),
            ("q", "quit"),
        ],
        Page::Slot { .. } => &[
            ("Esc", "back"),
            ("↑↓", "session"),
            ("←→", "slot"),
            ("R", "restart"),
            ("?", "help"),
            ("q", "quit"),
        ],
        Page::Findings { .. } | Page::Help { .. } => {
            &[("Esc", "back"), ("↑↓", "scroll"), ("q", "quit")]
        }
    }
}

/// As many keys as there is room for; those for help and for leaving come before the others.
fn hints(keys: &Keys, palette: Palette, columns: usize) -> Line<'static> {
    let wide = |(key, does): &(&str, &str)| width(key) + width(does) + 3;
    let all: usize = keys.iter().map(wide).sum();
    let dear = |(key, _): &(&str, &str)| matches!(*key, "?" | "q" | "y" | "Esc");
    let mut room = columns + 2;
    if all > room {
        let kept: usize = keys.iter().filter(|key| dear(key)).map(wide).sum();
        room = room.saturating_sub(kept);
    }
    let mut spans: Vec<Span<'static>> = Vec::new();
    for key in keys {
        if !dear(key) || all <= columns + 2 {
            let Some(left) = room.checked_sub(wide(key)) else {
                continue;
            };
            room = left;
        }
        if !spans.is_empty() {
            spans.push(Span::raw("  "));
        }
        spans.push(palette.paint(Tone::Strong, key.0));
        spans.push(palette.paint(Tone::Quiet, format!(" {}", key.1)));
    }
    Line::from(spans)
}
