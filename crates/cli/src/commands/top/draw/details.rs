//! One slot: what is declared, said and shown of its pools, what was found, and what its sessions do.

use super::super::notes::Tone;
use super::super::paint::Palette;
use super::super::state::State;
use super::super::words::{coarse, cores, cut, fine, harmless, memory, width, wrap};
use super::in_full;
use poolwright_topology::picture::{Session, Shown, SlotPicture};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

/// How many lines the statement of the session that is looked at may take.
const STATEMENT: usize = 4;

pub(super) fn lines(
    state: &State,
    sessions: Option<&[Session]>,
    row: usize,
    palette: Palette,
    columns: usize,
    room: usize,
) -> Vec<Line<'static>> {
    let Some(slot) = state.selected() else {
        return vec![Line::from("the slot has left")];
    };
    let now = state
        .picture
        .as_ref()
        .map_or(0, |picture| picture.at_unix_ms);
    let mut lines = of_process(slot, now, palette, columns);
    lines.extend(pools(slot, palette, columns));
    let findings = state.picture.iter().flat_map(|picture| &picture.findings);
    for finding in findings.filter(|found| found.slot.as_ref() == Some(&slot.status.slot)) {
        lines.extend(in_full(finding, palette, columns));
    }
    // The sessions are what was asked for: a third of the room is theirs.
    lines.truncate(room - room / 3);
    let rest = room - lines.len();
    lines.extend(of_sessions(sessions, row, palette, columns, rest));
    lines
}

/// The process and what it costs, in as many lines as it takes.
fn of_process(
    slot: &SlotPicture,
    now: u64,
    palette: Palette,
    columns: usize,
) -> Vec<Line<'static>> {
    let status = &slot.status;
    let since = coarse(now.saturating_sub(status.since_unix_ms));
    let mut words = format!("{} {} for {since}", status.slot, status.state);
    let mut add = |piece: String| {
        words += ", ";
        words += &piece;
    };
    if let Some(pid) = status.pid {
        add(format!("process {pid}"));
    }
    if let Some(pid) = status.successor_pid {
        add(format!("its successor {pid} boots"));
    }
    if let Some(executor) = &status.executor_id {
        add(format!("executor {executor}"));
    }
    if let Some(generation) = status.generation {
        add(format!("generation {generation}"));
    }
    add(format!("{} restarts", status.restarts));
    if let Some(usage) = slot.usage {
        add(format!(
            "{} of a core, {}",
            cores(usage.cores),
            memory(usage.memory_bytes)
        ));
    }
    let mut lines: Vec<Line<'static>> = wrap(&words, columns)
        .into_iter()
        .map(|text| Line::from(palette.paint(Tone::Strong, text)))
        .collect();
    let mut quote = |what: &str, text: &Option<String>| {
        let quoted = text.iter().flat_map(|text| {
            let line = format!("{what}: {}", harmless(text));
            wrap(&line, columns)
        });
        lines.extend(quoted.map(Line::from));
    };
    quote("says", &status.says);
    quote("last failure", &status.last_failure);
    lines
}

/// Both sides of every pool, a line each.
fn pools(slot: &SlotPicture, palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let mut rows = vec![
        [
            "pool", "declared", "shown", "said", "busy", "idle", "waiting", "oldest", "states",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let none = || "-".to_owned();
    let shown = |shown: Option<&Shown>| {
        let oldest = shown.and_then(|shown| shown.oldest_transaction_ms);
        let states = shown.iter().flat_map(|shown| &shown.states);
        let states: Vec<String> = states
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        (
            shown.map_or(0, |shown| shown.open).to_string(),
            oldest.map_or_else(none, fine),
            states.join(", "),
        )
    };
    for (pool, declared) in &slot.status.pools {
        let (open, oldest, states) = shown(slot.shown.get(pool));
        let said = slot.status.gauges.get(pool);
        let number = |number: Option<u32>| number.map_or_else(none, |number| number.to_string());
        rows.push(vec![
            pool.clone(),
            declared.to_string(),
            open,
            number(said.map(|said| said.open)),
            number(said.map(|said| said.busy)),
            number(said.map(|said| said.idle)),
            number(said.map(|said| said.waiting)),
            oldest,
            states,
        ]);
    }
    if let Some(unnamed) = &slot.unnamed {
        let (open, oldest, states) = shown(Some(unnamed));
        let mut row = vec!["no name".to_owned(), none(), open];
        row.extend(std::iter::repeat_n(none(), 4));
        row.extend([oldest, states]);
        rows.push(row);
    }
    aligned(&rows, &[1, 2, 3, 4, 5, 6, 7], palette, columns)
}

fn of_sessions(
    sessions: Option<&[Session]>,
    row: usize,
    palette: Palette,
    columns: usize,
    room: usize,
) -> Vec<Line<'static>> {
    let heading = match sessions {
        None => "sessions …".to_owned(),
        Some(sessions) => format!("sessions {}", sessions.len()),
    };
    let mut lines = vec![
        Line::default(),
        Line::from(palette.paint(Tone::Strong, heading)),
    ];
    let sessions = sessions.unwrap_or_default();
    let statement = statement(sessions.get(row), palette, columns);
    let mut rows = vec![
        ["pool", "pid", "state", "for", "tx", "waits for", "query"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(sessions.iter().map(session));
    let mut table = aligned(&rows, &[1, 3, 4], palette, columns);
    if let Some(line) = table.get_mut(row + 1) {
        let spans = std::mem::take(&mut line.spans).into_iter();
        let reversed = spans.map(|span| {
            let style = span.style.add_modifier(Modifier::REVERSED);
            Span::styled(span.content, style)
        });
        line.spans = reversed.collect();
    }
    let mut table = table.into_iter();
    lines.extend(table.next());
    let space = room.saturating_sub(lines.len() + statement.len()).max(1);
    let past = (row + 1).saturating_sub(space);
    lines.extend(table.skip(past).take(space));
    lines.extend(statement);
    lines.truncate(room);
    lines
}

/// The whole of what a session does, as far as there is room.
fn statement(session: Option<&Session>, palette: Palette, columns: usize) -> Vec<Line<'static>> {
    let Some(query) = session.and_then(|session| session.query.as_deref()) else {
        return Vec::new();
    };
    let mut lines = vec![Line::default()];
    let all = wrap(&harmless(query), columns);
    let painted = |text: &String| Line::from(palette.paint(Tone::Quiet, text.clone()));
    lines.extend(all.iter().take(STATEMENT).map(painted));
    lines
}

fn session(session: &Session) -> Vec<String> {
    let age = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), fine);
    let text = |text: &Option<String>| text.as_deref().map(harmless);
    let none = || "-".to_owned();
    vec![
        text(&session.pool).unwrap_or_else(none),
        session.pid.to_string(),
        harmless(&session.state),
        age(session.state_ms),
        age(session.transaction_ms),
        text(&session.waits_for).unwrap_or_else(none),
        text(&session.query).unwrap_or_default(),
    ]
}

/// Rows with columns as wide as what stands in them; the first row is their heading, and the last column is cut.
fn aligned(
    rows: &[Vec<String>],
    right: &[usize],
    palette: Palette,
    columns: usize,
) -> Vec<Line<'static>> {
    let count = rows.first().map_or(0, Vec::len);
    let wide: Vec<usize> = (0..count)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| width(cell)).max().unwrap_or(0)
        })
        .collect();
    let line = |(index, row): (usize, &Vec<String>)| {
        let mut text = String::new();
        for (column, (cell, wide)) in row.iter().zip(&wide).enumerate() {
            let gap = " ".repeat(wide.saturating_sub(width(cell)));
            text += &match column {
                column if right.contains(&column) => format!("{gap}{cell}  "),
                column if column + 1 == count => cell.clone(),
                _ => format!("{cell}{gap}  "),
            };
        }
        let tone = match index {
            0 => Tone::Quiet,
            _ => Tone::Plain,
        };
        Line::from(palette.paint(tone, cut(text.trim_end(), columns)))
    };
    rows.iter().enumerate().map(line).collect()
}
