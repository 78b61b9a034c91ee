//! Whose fleet it is, and its budget.

use super::super::notes::Tone;
use super::super::paint::Palette;
use super::super::state::State;
use super::super::words::{clock, coarse, cores, cut, harmless, memory, width};
use super::beside;
use poolwright_topology::picture::{Budget, Picture, Reach};
use ratatui::text::{Line, Span};

/// The narrowest bar that still says something.
const BAR: usize = 8;

pub(super) fn lines(state: &State, palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title(state, palette, columns)];
    if let Some(gone) = &state.gone {
        let since = clock(gone.since_unix_ms);
        let words = match state.picture {
            Some(_) => format!(
                "{} since {since}; waiting for it; below is from before",
                gone.reason
            ),
            None => format!("{}; waiting for it", gone.reason),
        };
        lines.push(Line::from(
            palette.paint(Tone::Bad, cut(&harmless(&words), columns)),
        ));
    }
    match state.picture.as_deref() {
        None if state.gone.is_none() => {
            let words = "waiting for the first picture: the fleet may still prepare its databases";
            lines.push(Line::from(palette.paint(Tone::Quiet, cut(words, columns))));
        }
        None => {}
        Some(picture) => {
            lines.push(budget(&picture.budget, palette, columns));
            if let Reach::Silent { reason } = &picture.postgres {
                let words = format!(
                    "Postgres does not answer: {}; what it showed is from before",
                    harmless(reason)
                );
                lines.push(Line::from(palette.paint(Tone::Bad, cut(&words, columns))));
            }
        }
    }
    lines
}

fn title(state: &State, palette: Palette, columns: usize) -> Line<'static> {
    let name = palette.paint(Tone::Strong, "poolwright top");
    let process = state.picture.as_deref().map(process).unwrap_or_default();
    let process = Line::from(palette.paint(Tone::Quiet, process));
    let place = harmless(&state.place);
    // Of the file's path the end says most.
    let room = columns.saturating_sub(name.width() + process.width() + 3);
    let place = match width(&place) <= room {
        true => place,
        false => {
            let short = place.rsplit('/').next().unwrap_or_default();
            let folder = place.rsplit('/').nth(1).unwrap_or_default();
            match format!("…/{folder}/{short}") {
                longer if width(&longer) <= room => longer,
                _ => cut(short, room),
            }
        }
    };
    let left = Line::from(vec![name, Span::raw(format!("  {place}"))]);
    beside(left, process, columns)
}

/// The supervisor itself: process, age, costs.
fn process(picture: &Picture) -> String {
    let up = picture.at_unix_ms.saturating_sub(picture.since_unix_ms);
    let mut words = format!("process {}, up {}", picture.pid, coarse(up));
    if let Some(usage) = picture.usage {
        let costs = (cores(usage.cores), memory(usage.memory_bytes));
        words += &format!(", {}, {}", costs.0, costs.1);
    }
    words
}

/// The bar is what the servers have for the fleet: what is open, what else was declared, what is left.
fn budget(budget: &Budget, palette: Palette, columns: usize) -> Line<'static> {
    let (seen, bound) = (budget.seen.0, budget.bound.0);
    let tone = match seen > bound {
        true => Tone::Bad,
        false => Tone::Strong,
    };
    let count = format!("{seen} of {bound}");
    let long = format!(
        " connections, {} of overhead, {} usable",
        budget.overhead, budget.usable
    );
    let short = format!(" + {} of {}", budget.overhead, budget.usable);
    let needed = |rest: &str| width(&count) + width(rest) + 1 + BAR;
    let rest = match needed(&long) <= columns {
        true => long,
        false => short,
    };
    let bar = columns.saturating_sub(width(&count) + width(&rest) + 1);
    let mut spans = bar_of(budget, palette, bar.min(60));
    spans.push(Span::raw(" "));
    spans.push(palette.paint(tone, count));
    spans.push(Span::raw(rest));
    Line::from(spans)
}

fn bar_of(budget: &Budget, palette: Palette, columns: usize) -> Vec<Span<'static>> {
    let (seen, bound) = (budget.seen.0, budget.bound.0);
    let needed = bound.saturating_add(budget.overhead.0);
    let whole = budget.usable.0.max(needed).max(seen).max(1);
    let cells = |count: u32| {
        let count = u64::from(count) * u64::try_from(columns).unwrap_or(0);
        usize::try_from(count.div_ceil(u64::from(whole))).unwrap_or(columns)
    };
    let open = cells(seen.min(bound));
    let over = match seen.checked_sub(bound) {
        None | Some(0) => 0,
        Some(_) => (cells(seen) - open).max(1),
    };
    let declared = cells(needed).saturating_sub(open + over);
    let left = columns.saturating_sub(open + over + declared);
    [
        (Tone::Good, "█", open),
        (Tone::Bad, "!", over),
        (Tone::Plain, "▒", declared),
        (Tone::Quiet, "·", left),
    ]
    .into_iter()
    .filter(|(_, _, count)| *count > 0)
    .map(|(tone, sign, count)| palette.paint(tone, sign.repeat(count)))
    .collect()
}
