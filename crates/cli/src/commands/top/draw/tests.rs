use super::*;
use crate::commands::top::example;
use crate::commands::top::order::{Order, Said};
use crate::commands::top::state::{Event, Gone, Prompt};
use poolwright_topology::picture::{Picture, Reach, Shown};
use poolwright_topology::units::Connections;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use snapbox::{Data, assert_data_eq, file};

fn seeing(picture: Picture) -> State {
    let mut state = State::of("/srv/shop/poolwright.toml".to_owned());
    state.react(Event::Picture(Box::new(picture)));
    state
}

fn drawn(state: &State, palette: Palette, columns: u16, rows: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    let frame = |frame: &mut ratatui::Frame<'_>| {
        draw(state, palette, frame.area(), frame.buffer_mut());
    };
    terminal.draw(frame).unwrap();
    terminal.backend().buffer().clone()
}

/// What stands there, without the room after it.
fn text(buffer: &Buffer) -> String {
    let rows = buffer.area.rows().map(|row| {
        let cells = row.columns().map(|cell| buffer[(cell.x, cell.y)].symbol());
        cells.collect::<String>().trim_end().to_owned() + "\n"
    });
    rows.collect()
}

fn stands(state: &State, columns: u16, rows: u16, expected: Data) {
    assert_data_eq!(
        text(&drawn(state, Palette::Coloured, columns, rows)),
        expected.raw()
    );
}

#[test]
fn a_reload_at_80_by_24() {
    stands(
        &example::watched(),
        80,
        24,
        file!["golden/reload-80x24.txt"],
    );
}

#[test]
fn a_reload_at_120_by_40() {
    stands(
        &example::watched(),
        120,
        40,
        file!["golden/reload-120x40.txt"],
    );
}

#[test]
fn a_reload_at_40_by_12() {
    stands(
        &example::watched(),
        40,
        12,
        file!["golden/reload-40x12.txt"],
    );
}

#[test]
fn a_fleet_with_findings_at_80_by_24() {
    stands(
        &seeing(example::sick()),
        80,
        24,
        file!["golden/sick-80x24.txt"],
    );
}

#[test]
fn findings_in_full_with_their_cures() {
    let mut state = seeing(example::sick());
    state.page = Page::Findings { row: 0 };
    stands(&state, 80, 24, file!["golden/findings-80x24.txt"]);
}

#[test]
fn a_slot_with_its_sessions() {
    let mut state = seeing(example::sick());
    state.selected = Some(example::id(1));
    state.page = Page::Slot {
        sessions: Some(example::sessions()),
        row: 3,
    };
    stands(&state, 80, 24, file!["golden/slot-80x24.txt"]);
    stands(&state, 120, 30, file!["golden/slot-120x30.txt"]);
}

#[test]
fn the_help() {
    let mut state = seeing(example::quiet());
    state.page = Page::Help { row: 0 };
    stands(&state, 80, 24, file!["golden/help-80x24.txt"]);
}

#[test]
fn a_question_and_a_refusal() {
    let mut state = seeing(example::quiet());
    state.prompt = Prompt::Confirm(Order::Scale {
        app: example::id(0).app().clone(),
        instances: 20,
    });
    stands(&state, 80, 24, file!["golden/question-80x24.txt"]);
    state.prompt = Prompt::None;
    state.said = Some(Said {
        tone: Tone::Bad,
        words: "scale web=20: web=20 does not fit: 121 connections needed on localhost:5432, 97 usable\n  - at most 16 workers of web".into(),
    });
    stands(&state, 80, 24, file!["golden/refused-80x24.txt"]);
}

#[test]
fn a_supervisor_and_a_postgres_that_are_away() {
    let mut picture = example::quiet();
    picture.postgres = Reach::Silent {
        reason: "connection refused".into(),
    };
    let mut state = seeing(picture);
    state.react(Event::Gone(Gone {
        since_unix_ms: example::NOW + 4_000,
        reason: "no fleet is running".into(),
    }));
    stands(&state, 80, 24, file!["golden/gone-80x24.txt"]);
    let nothing = State::of("poolwright.toml".into());
    let said = text(&drawn(&nothing, Palette::Plain, 80, 4));
    assert!(said.contains("waiting for the first picture"), "{said}");
}

#[test]
fn one_picture_as_text() {
    let lines = page(&seeing(example::sick()), Palette::Plain, 80);
    let text: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
    let text: String = text
        .iter()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect();
    assert_data_eq!(text, file!["golden/once-80.txt"].raw());
}

#[test]
fn without_colour_the_same_stands_there_and_nothing_is_coloured() {
    for state in [example::watched(), seeing(example::sick())] {
        let coloured = drawn(&state, Palette::Coloured, 80, 24);
        let plain = drawn(&state, Palette::Plain, 80, 24);
        assert_eq!(text(&plain), text(&coloured));
        let colours = |buffer: &Buffer| {
            let colours = buffer.content.iter().map(|cell| (cell.fg, cell.bg));
            colours
                .filter(|pair| *pair != (Color::Reset, Color::Reset))
                .count()
        };
        assert!(colours(&coloured) > 0);
        assert_eq!(colours(&plain), 0);
    }
}

/// Every page and question on every screen from nothing to a wide one: no panic, and on ordinary ones nothing is lost that
/// matters.
#[test]
fn no_screen_is_too_small() {
    let mut states = Vec::new();
    for picture in [example::quiet(), example::reloading(), example::sick()] {
        for page in [
            Page::Fleet,
            Page::slot(),
            Page::Slot {
                sessions: Some(example::sessions()),
                row: 5,
            },
            Page::Findings { row: 3 },
            Page::Help { row: 100 },
        ] {
            let mut state = seeing(picture.clone());
            state.page = page;
            states.push(state.clone());
            state.prompt = Prompt::Confirm(Order::Reload);
            state.said = Some(Said {
                tone: Tone::Bad,
                words: "one\ntwo\nthree".repeat(10),
            });
            states.push(state);
        }
    }
    states.push(State::of(String::new()));
    for state in &states {
        for columns in (0..14).chain([20, 39, 40, 41, 60, 80, 200]) {
            for rows in (0..14).chain([24, 60]) {
                let area = Rect::new(0, 0, columns, rows);
                let mut buffer = Buffer::empty(area);
                draw(state, Palette::Coloured, area, &mut buffer);
            }
        }
        for columns in (0..14).chain([40, 80]) {
            page(state, Palette::Plain, columns);
        }
    }
}

#[test]
fn what_a_terminal_would_obey_reaches_none() {
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\n\ttext";
    let mut picture = example::sick();
    picture.findings[0].message = evil.into();
    picture.findings[0].cure = evil.into();
    let slot = &mut picture.apps[0].slots[1].status;
    slot.says = Some(evil.into());
    slot.last_failure = Some(evil.into());
    let mut sessions = example::sessions();
    sessions[0].query = Some(evil.into());
    sessions[0].waits_for = Some(evil.into());
    let mut state = seeing(picture);
    state.said = Some(Said {
        tone: Tone::Bad,
        words: evil.into(),
    });
    state.filter = String::new();
    state.selected = Some(example::id(1));
    for page in [
        Page::Fleet,
        Page::Slot {
            sessions: Some(sessions),
            row: 0,
        },
        Page::Findings { row: 0 },
    ] {
        state.page = page;
        let buffer = drawn(&state, Palette::Coloured, 100, 30);
        let controls = |cell: &&ratatui::buffer::Cell| cell.symbol().chars().any(char::is_control);
        assert_eq!(buffer.content.iter().find(controls), None);
    }
    for line in page(&state, Palette::Plain, 100) {
        assert!(!line.to_string().chars().any(char::is_control), "{line}");
    }
}

#[test]
fn more_slots_than_lines_are_scrolled_with_the_selection_and_under_their_heading() {
    let mut picture = example::quiet();
    let slot = picture.apps[0].slots[0].clone();
    picture.apps[0].instances = 50;
    picture.apps[0].slots = (0..50)
        .map(|index| {
            let mut slot = slot.clone();
            slot.status.slot = example::id(index);
            slot
        })
        .collect();
    let mut state = seeing(picture);
    for index in [0, 1, 7, 25, 48, 49] {
        state.selected = Some(example::id(index));
        let said = text(&drawn(&state, Palette::Plain, 80, 24));
        assert!(said.contains(&format!("web-{index} ")), "{said}");
        assert!(said.contains("web 50/50"), "{said}");
        assert!(said.contains("rows of 50 slots are not shown"), "{said}");
    }
}

#[test]
fn apps_have_their_own_pools_and_programs_that_count_nothing_are_seen_in_postgres_alone() {
    let mut picture = example::quiet();
    let mut jobs = picture.apps[0].clone();
    jobs.app = "jobs".parse().unwrap();
    jobs.instances = 1;
    jobs.slots.truncate(1);
    let slot = &mut jobs.slots[0];
    slot.status.slot = "jobs-0".parse().unwrap();
    slot.status.pools = [("queue".to_owned(), 20)].into();
    slot.status.gauges.clear();
    let shown = slot.shown.remove("dbos").unwrap();
    let unnamed = Shown {
        open: 2,
        ..shown.clone()
    };
    let shown = Shown { open: 7, ..shown };
    slot.shown = [("queue".to_owned(), shown)].into();
    slot.unnamed = Some(unnamed);
    picture.apps.push(jobs);
    let mut state = seeing(picture);
    stands(&state, 80, 24, file!["golden/two-apps-80x24.txt"]);
    state.selected = Some("jobs-0".parse().unwrap());
    state.page = Page::slot();
    stands(&state, 80, 12, file!["golden/foreign-80x12.txt"]);
}

#[test]
fn more_than_declared_stands_out_in_the_bar_and_in_the_gauge() {
    let mut picture = example::quiet();
    picture.budget.seen = Connections(19);
    picture.apps[0].slots[0].shown.get_mut("dbos").unwrap().open = 4;
    let said = text(&drawn(&seeing(picture), Palette::Plain, 80, 24));
    assert!(said.contains("!"), "{said}");
    assert!(said.contains("19 of 18"), "{said}");
    assert!(said.contains("4/3"), "{said}");
}

/// The picture in the documentation.
#[test]
fn the_picture_of_a_reload_in_the_documentation_is_what_is_drawn() {
    use poolwright_testkit::svg::{Cell, Ink, svg};

    let buffer = drawn(&example::watched(), Palette::Coloured, 92, 20);
    let cell = |x, y| {
        let cell = &buffer[(x, y)];
        let has = |modifier| cell.modifier.contains(modifier);
        let ink = match cell.fg {
            Color::Green => Ink::Green,
            Color::Yellow => Ink::Yellow,
            Color::Red => Ink::Red,
            Color::DarkGray => Ink::Grey,
            _ => Ink::Text,
        };
        Cell {
            symbol: cell.symbol().to_owned(),
            ink,
            bold: has(ratatui::style::Modifier::BOLD),
            reversed: has(ratatui::style::Modifier::REVERSED),
        }
    };
    let row = |y| (0..buffer.area.width).map(|x| cell(x, y)).collect();
    let rows: Vec<Vec<Cell>> = (0..buffer.area.height).map(row).collect();
    let picture = svg("poolwright top during a reload", &rows);
    assert_data_eq!(
        picture,
        file!["../../../../../../docs/images/top.svg": Text].raw()
    );
}
