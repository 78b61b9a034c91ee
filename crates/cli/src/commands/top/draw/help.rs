//! The keys, and what the signs mean.

use super::super::keys::KEYS;
use super::super::notes::Tone;
use super::super::paint::Palette;
use super::super::words::{width, wrap};
use ratatui::text::{Line, Span};

/// What stands in the bar and the gauges.
const SIGNS: [(&str, &str); 6] = [
    (
        "█ ▒ ·",
        "the bar: connections that Postgres shows; declared and not open; left on the servers",
    ),
    (
        "█▒· 2/3",
        "a pool: lent out, idle, not open; what Postgres shows of what was declared",
    ),
    (
        "+4",
        "callers that wait for a connection, as the worker counts them",
    ),
    (
        "≠2",
        "the worker counts 2 open ones, for longer than a sample",
    ),
    ("!", "more connections than were declared"),
    (
        "step",
        "the last step of a reload or restart, and how long ago it was",
    ),
];

pub(super) fn lines(palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(palette.paint(Tone::Strong, "Keys"))];
    lines.extend(table(&KEYS, palette, columns));
    lines.push(Line::default());
    lines.push(Line::from(palette.paint(Tone::Strong, "Signs")));
    lines.extend(table(&SIGNS, palette, columns));
    lines
}

fn table(rows: &[(&str, &str)], palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let wide = rows.iter().map(|(sign, _)| width(sign)).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (sign, means) in rows {
        let mut sign = format!("{sign}{}  ", " ".repeat(wide - width(sign)));
        for text in wrap(means, columns.saturating_sub(width(&sign))) {
            let next = " ".repeat(width(&sign));
            let first = std::mem::replace(&mut sign, next);
            lines.push(Line::from(vec![
                palette.paint(Tone::Strong, first),
                Span::raw(text),
            ]));
        }
    }
    lines
}
