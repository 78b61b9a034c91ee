//! The screen as a function of what is known: lines, from the top to the bottom. Nothing here can be too small: a line that is too
//! long is cut, and of lines that have no room the least important ones are left out.

mod details;
mod foot;
mod gauge;
mod head;
mod help;
mod table;

use super::notes::{self, Note, Tone};
use super::paint::Palette;
use super::state::{Page, State};
use super::words::{clock, cut, harmless, width, wrap};
use poolwright_topology::finding::Finding;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// The fewest lines that events get, with their heading, where there is room for anything.
const EVENTS: usize = 4;

/// From how many lines on parts are set apart by empty ones.
const AIRY: usize = 20;

/// Draws the whole screen.
pub(super) fn draw(state: &State, palette: Palette, area: Rect, buffer: &mut Buffer) {
    let (columns, rows) = (usize::from(area.width), usize::from(area.height));
    for (line, row) in screen(state, palette, columns, rows)
        .iter()
        .zip(area.rows())
    {
        buffer.set_line(row.x, row.y, line, row.width);
    }
}

/// What is known of the fleet, as long as it is: for printing.
pub(super) fn page(state: &State, palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let mut lines = head::lines(state, palette, columns);
    lines.push(Line::default());
    lines.extend(table::all(state, palette, columns));
    let findings = state.picture.iter().flat_map(|picture| &picture.findings);
    for finding in findings {
        lines.push(Line::default());
        lines.extend(in_full(finding, palette, columns));
    }
    lines
}

/// As many lines as there are rows.
fn screen(state: &State, palette: Palette, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let mut foot = foot::lines(state, palette, columns);
    // Of what is asked and said the first lines count.
    foot.truncate(rows.div_ceil(2));
    let mut head = head::lines(state, palette, columns);
    head.truncate((rows - foot.len()).div_ceil(2));
    let room = rows - foot.len() - head.len();
    let mut middle = match &state.page {
        Page::Fleet => fleet(state, palette, columns, room),
        Page::Slot { sessions, row } => {
            details::lines(state, sessions.as_deref(), *row, palette, columns, room)
        }
        Page::Findings { row } => scrolled(findings_page(state, palette, columns), *row, room),
        Page::Help { row } => scrolled(help::lines(palette, columns), *row, room),
    };
    middle.resize(room, Line::default());
    let mut lines = head;
    lines.extend(middle);
    lines.extend(foot);
    lines
}

/// Slots, findings, events.
fn fleet(state: &State, palette: Palette, columns: usize, room: usize) -> Vec<Line<'static>> {
    let air = usize::from(room >= AIRY);
    let empty = || std::iter::repeat_n(Line::default(), air);
    let findings = findings_in_short(state, palette, columns, room / 4);
    let findings_room = match findings.len() {
        0 => 0,
        lines => lines + air,
    };
    let events = if room >= 2 * EVENTS { EVENTS } else { 0 };
    let for_table = room.saturating_sub(findings_room + events + 2 * air);
    let (table, unseen) = table::window(state, palette, columns, for_table);
    let mut lines: Vec<Line<'static>> = empty().chain(table).collect();
    if !findings.is_empty() {
        lines.extend(empty().chain(findings));
    }
    lines.extend(empty());
    let rest = room.saturating_sub(lines.len());
    lines.extend(events_lines(state, palette, columns, rest, unseen));
    lines.truncate(room);
    lines
}

/// One line for each finding, the worst first; how many had no room, in the last one.
fn findings_in_short(
    state: &State,
    palette: Palette,
    columns: usize,
    most: usize,
) -> Vec<Line<'static>> {
    let all = state.picture.iter().flat_map(|picture| &picture.findings);
    let all: Vec<&Finding> = all.collect();
    let most = most.max(1);
    let shown = if all.len() <= most {
        all.len()
    } else {
        most - 1
    };
    let line = |finding: &&Finding| {
        let word = notes::word(finding.severity);
        let room = columns.saturating_sub(width(word) + 1);
        Line::from(vec![
            palette.paint(notes::tone(finding.severity), word),
            Span::raw(format!(" {}", cut(&harmless(&finding.message), room))),
        ])
    };
    let mut lines: Vec<Line<'static>> = all.iter().take(shown).map(line).collect();
    if shown < all.len() {
        let words = match shown {
            0 => format!("{} findings; f shows them", all.len()),
            _ => format!("… {} more; f shows them", all.len() - shown),
        };
        lines.push(Line::from(palette.paint(Tone::Warn, cut(&words, columns))));
    }
    lines
}

fn findings_page(state: &State, palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let all = state.picture.iter().flat_map(|picture| &picture.findings);
    let mut lines = Vec::new();
    for finding in all {
        lines.extend(in_full(finding, palette, columns));
        lines.push(Line::default());
    }
    if lines.is_empty() {
        lines.push(Line::from("Nothing was found: the fleet is as declared."));
    }
    lines
}

/// A finding with its cure.
fn in_full(finding: &Finding, palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let word = notes::word(finding.severity);
    let message = format!("{word}: {}", finding.message);
    let mut lines = Vec::new();
    for (index, text) in wrap(&message, columns).into_iter().enumerate() {
        let rest = text.strip_prefix(word).filter(|_| index == 0);
        lines.push(match rest {
            Some(rest) => Line::from(vec![
                palette.paint(notes::tone(finding.severity), word),
                Span::raw(rest.to_owned()),
            ]),
            None => Line::from(text),
        });
    }
    let cure = wrap(&finding.cure, columns.saturating_sub(2));
    lines.extend(
        cure.into_iter()
            .map(|text| Line::from(palette.paint(Tone::Quiet, format!("  {text}")))),
    );
    lines
}

/// The newest events, under their heading, in so many lines.
fn events_lines(
    state: &State,
    palette: Palette,
    columns: usize,
    rows: usize,
    unseen: Option<String>,
) -> Vec<Line<'static>> {
    let Some(room) = rows.checked_sub(1) else {
        return Vec::new();
    };
    let title = Line::from(vec![
        palette.paint(Tone::Strong, "events"),
        palette.paint(Tone::Quiet, " UTC"),
    ]);
    let aside = Line::from(palette.paint(Tone::Quiet, unseen.unwrap_or_default()));
    let mut lines = vec![beside(title, aside, columns)];
    let newest: Vec<&Note> = state.shown_notes().rev().take(room).collect();
    let noted = |note: &&Note| event_line(note, palette, columns);
    lines.extend(newest.iter().rev().map(noted));
    lines
}

fn event_line(note: &Note, palette: Palette, columns: usize) -> Line<'static> {
    let time = clock(note.at_unix_ms);
    let mut spans = vec![palette.paint(Tone::Quiet, time), Span::raw(" ")];
    if let Some(slot) = &note.slot {
        spans.push(palette.paint(Tone::Strong, slot.to_string()));
        spans.push(Span::raw(" "));
    }
    let before = Line::from(spans.clone()).width();
    let words = cut(&harmless(&note.words), columns.saturating_sub(before));
    spans.push(palette.paint(note.tone, words));
    Line::from(spans)
}

/// So many of these lines, from this one on; the last ones when there are no more.
fn scrolled(lines: Vec<Line<'static>>, row: usize, room: usize) -> Vec<Line<'static>> {
    let most = lines.len().saturating_sub(room);
    lines.into_iter().skip(row.min(most)).take(room).collect()
}

/// One line at the left edge and one at the right. Where both have no room it is the left one alone.
fn beside(left: Line<'static>, right: Line<'static>, columns: usize) -> Line<'static> {
    let used = left.width() + right.width();
    let Some(gap) = columns.checked_sub(used).filter(|gap| *gap > 0) else {
        return left;
    };
    let mut spans = left.spans;
    spans.push(Span::raw(" ".repeat(gap)));
    spans.extend(right.spans);
    Line::from(spans)
}

#[cfg(test)]
mod tests;
