//! Slots as rows, their pools as gauges. Columns that have no room are left out, the least telling ones first; pools never before them.

use super::super::notes::Tone;
use super::super::paint::Palette;
use super::super::state::State;
use super::super::words::{coarse, cores, cut, harmless, memory, width};
use super::gauge::{gauge, pool_names, pool_width, total};
use poolwright_supervisor::control::Step;
use poolwright_topology::finding::Finding;
use poolwright_topology::handover::SlotState;
use poolwright_topology::picture::{AppPicture, SlotPicture};
use poolwright_topology::tag::SlotId;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// For how long a step stands out, in milliseconds.
const RECENT_MS: u64 = 10_000;

/// A column before the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Slot,
    State,
    Age,
    Step,
    Pid,
    Restarts,
    Cores,
    Memory,
}

/// In their order.
const COLUMNS: [Column; 8] = [
    Column::Slot,
    Column::State,
    Column::Age,
    Column::Step,
    Column::Pid,
    Column::Restarts,
    Column::Cores,
    Column::Memory,
];

/// Left out one after the other, until the rest has room. The slot and its state stay.
const LEFT_OUT: [Column; 6] = [
    Column::Age,
    Column::Memory,
    Column::Cores,
    Column::Restarts,
    Column::Pid,
    Column::Step,
];

impl Column {
    /// How wide it is at least: as what it says most of the time.
    const fn least(self) -> usize {
        match self {
            Self::Slot | Self::Restarts => 0,
            Self::State => "launching".len(),
            Self::Age => "12m".len(),
            Self::Step => "drains 12s".len(),
            Self::Pid => "12345".len(),
            Self::Cores => "120%".len(),
            Self::Memory => "512M".len(),
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
enum Row<'a> {
    App(&'a AppPicture),
    Slot(&'a AppPicture, &'a SlotPicture),
}

/// What one cell says.
struct Cell {
    tone: Tone,
    text: String,
}

/// Every row.
pub(super) fn all(state: &State, palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let painter = Painter::new(state, palette, columns);
    rows(state)
        .into_iter()
        .map(|row| painter.row(row, false))
        .collect()
}

/// So many rows, the selected slot among them and its app's heading above it; and which of them these are, when they are not all.
pub(super) fn window(
    state: &State,
    palette: Palette,
    columns: usize,
    room: usize,
) -> (Vec<Line<'static>>, Option<String>) {
    let rows = rows(state);
    let painter = Painter::new(state, palette, columns);
    let selected = rows.iter().position(|row| row.is(state.selected.as_ref()));
    let first = first_row(rows.len(), room, selected);
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (index, row) in rows.iter().enumerate().skip(first).take(room) {
        let row = match row {
            // Without its heading a row's columns have no names.
            Row::Slot(app, _) if index == first && room > 1 => Row::App(app),
            row => *row,
        };
        lines.push(painter.row(row, row.is(state.selected.as_ref())));
    }
    if state.picture.is_some() && state.slots().next().is_none() {
        let words = format!("no slot has \"{}\" in it; Esc shows all", state.filter);
        let words = cut(&harmless(&words), columns);
        lines.insert(0, Line::from(palette.paint(Tone::Warn, words)));
    }
    let unseen = rows.len().saturating_sub(room);
    let unseen = (unseen > 0 && !lines.is_empty()).then(|| {
        let count = state.slots().count();
        format!("{unseen} rows of {count} slots are not shown; ↑ ↓ scroll")
    });
    lines.truncate(room);
    (lines, unseen)
}

/// Such that what is selected stands in the middle, as far as the ends allow; and never on the first row, which is a heading.
fn first_row(rows: usize, room: usize, selected: Option<usize>) -> usize {
    let middle = selected.unwrap_or(0).saturating_sub(room / 2);
    middle.min(rows.saturating_sub(room))
}

fn rows(state: &State) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for app in state.apps() {
        let mut slots = state.slots_of(app).peekable();
        if slots.peek().is_some() {
            rows.push(Row::App(app));
            rows.extend(slots.map(|slot| Row::Slot(app, slot)));
        }
    }
    rows
}

impl Row<'_> {
    fn is(&self, selected: Option<&SlotId>) -> bool {
        matches!(self, Row::Slot(_, slot) if Some(&slot.status.slot) == selected)
    }
}

struct Painter<'a> {
    state: &'a State,
    palette: Palette,
    columns: usize,
    now: u64,
    findings: &'a [Finding],
    /// Those that have room, with their width.
    shown: Vec<(Column, usize)>,
}

impl<'a> Painter<'a> {
    fn new(state: &'a State, palette: Palette, columns: usize) -> Self {
        let picture = state.picture.as_deref();
        let mut painter = Self {
            state,
            palette,
            columns,
            now: picture.map_or(0, |picture| picture.at_unix_ms),
            findings: picture.map_or(&[], |picture| &picture.findings),
            shown: Vec::new(),
        };
        painter.shown = painter.fitting();
        painter
    }

    /// The columns that have room beside the pools, as wide as what stands in them.
    fn fitting(&self) -> Vec<(Column, usize)> {
        let rows = rows(self.state);
        // What changes all the time keeps its width.
        let wide = |column: &Column| {
            let cells = rows.iter().map(|row| match row {
                Row::App(app) => width(&self.heading(*column, app).text),
                Row::Slot(_, slot) => width(&self.cell(*column, slot).text),
            });
            (*column, cells.max().unwrap_or(0).max(column.least()))
        };
        let mut shown: Vec<(Column, usize)> = COLUMNS.iter().map(wide).collect();
        let pools = self.state.apps().map(|app| {
            let pools = pool_names(app);
            pools.map(|pool| 2 + pool_width(app, pool)).sum::<usize>()
        });
        let pools = pools.max().unwrap_or(0);
        for left_out in LEFT_OUT {
            let used: usize = shown.iter().map(|(_, width)| width + 1).sum();
            if used + pools <= self.columns {
                break;
            }
            shown.retain(|(column, _)| *column != left_out);
        }
        shown
    }

    fn row(&self, row: Row<'_>, selected: bool) -> Line<'static> {
        let mut spans = Vec::new();
        for (column, wide) in &self.shown {
            let cell = match row {
                Row::App(app) => self.heading(*column, app),
                Row::Slot(_, slot) => self.cell(*column, slot),
            };
            let gap = " ".repeat(wide.saturating_sub(width(&cell.text)));
            let text = match column {
                Column::Slot | Column::State | Column::Step => format!("{}{gap} ", cell.text),
                _ => format!("{gap}{} ", cell.text),
            };
            // The gauges stay as they are: reversed, what is open would look closed.
            spans.push(match selected {
                true => Span::styled(text, Style::new().add_modifier(Modifier::REVERSED)),
                false => self.palette.paint(cell.tone, text),
            });
        }
        match row {
            Row::App(app) => spans.extend(self.pool_headings(app)),
            Row::Slot(app, slot) => {
                for pool in pool_names(app) {
                    spans.push(Span::raw(" "));
                    let wide = pool_width(app, pool);
                    spans.extend(gauge(slot, pool, self.findings, self.palette, wide));
                    spans.push(Span::raw(" "));
                }
                if let Some(unnamed) = &slot.unnamed {
                    let words = format!(" {} unnamed", unnamed.open);
                    spans.push(self.palette.paint(Tone::Quiet, words));
                }
            }
        }
        Line::from(spans)
    }

    fn heading(&self, column: Column, app: &AppPicture) -> Cell {
        let serving = app
            .slots
            .iter()
            .filter(|slot| slot.status.state == SlotState::Serving);
        let text = match column {
            Column::Slot => format!("{} {}/{}", app.app, serving.count(), app.instances),
            Column::State => "state".to_owned(),
            Column::Age => "for".to_owned(),
            Column::Step => "step".to_owned(),
            Column::Pid => "pid".to_owned(),
            Column::Restarts => "restarts".to_owned(),
            Column::Cores => "cpu".to_owned(),
            Column::Memory => "mem".to_owned(),
        };
        let tone = Tone::Strong;
        Cell { tone, text }
    }

    fn cell(&self, column: Column, slot: &SlotPicture) -> Cell {
        let status = &slot.status;
        let none = || "-".to_owned();
        let plain = |text: String| Cell {
            tone: Tone::Plain,
            text,
        };
        match column {
            Column::Slot => Cell {
                tone: Tone::Strong,
                text: status.slot.to_string(),
            },
            Column::State => Cell {
                tone: tone_of(status.state),
                text: status.state.to_string(),
            },
            Column::Age => plain(coarse(self.now.saturating_sub(status.since_unix_ms))),
            Column::Step => match status.last_step {
                None => plain(none()),
                Some(taken) => {
                    let ago = self.now.saturating_sub(taken.at_unix_ms);
                    let tone = match ago {
                        0..RECENT_MS => Tone::Strong,
                        _ => Tone::Quiet,
                    };
                    let text = format!("{} {}", word(taken.step), coarse(ago));
                    Cell { tone, text }
                }
            },
            Column::Pid => plain(status.pid.map_or_else(none, |pid| pid.to_string())),
            Column::Restarts => Cell {
                tone: match status.failures {
                    0 => Tone::Plain,
                    _ => Tone::Warn,
                },
                text: status.restarts.to_string(),
            },
            Column::Cores => plain(slot.usage.map_or_else(none, |usage| cores(usage.cores))),
            Column::Memory => plain(
                slot.usage
                    .map_or_else(none, |usage| memory(usage.memory_bytes)),
            ),
        }
    }

    /// The pools' names, each with all that was seen of it and declared.
    fn pool_headings(&self, app: &AppPicture) -> Vec<Span<'static>> {
        let heading = |pool: &str| {
            let (seen, declared) = total(app, pool);
            let wide = pool_width(app, pool);
            let text = format!(" {pool} {seen}/{declared}");
            let gap = " ".repeat((wide + 2).saturating_sub(width(&text)));
            self.palette.paint(Tone::Strong, text + &gap)
        };
        pool_names(app).map(heading).collect()
    }
}

const fn word(step: Step) -> &'static str {
    match step {
        Step::Boots => "boots",
        Step::Drains => "drains",
        Step::Serves => "serves",
    }
}

const fn tone_of(state: SlotState) -> Tone {
    match state {
        SlotState::Serving => Tone::Good,
        SlotState::Parked | SlotState::Resting => Tone::Bad,
        SlotState::Draining | SlotState::Vanishing | SlotState::Launching => Tone::Warn,
        SlotState::Vacant | SlotState::Booting | SlotState::Booted => Tone::Quiet,
    }
}
