use super::*;
use crate::commands::top::example;
use crossterm::event::{KeyCode, KeyModifiers};
use poolwright_supervisor::control::SlotFailure;

fn seeing(picture: Picture) -> State {
    let mut state = State::of("poolwright.toml".to_owned());
    state.react(Event::Picture(Box::new(picture)));
    state
}

fn press(state: &mut State, key: KeyCode) -> Option<Act> {
    state.react(Event::Key(KeyEvent::new(key, KeyModifiers::NONE)))
}

fn write(state: &mut State, text: &str) {
    for letter in text.chars() {
        assert_eq!(press(state, KeyCode::Char(letter)), None);
    }
}

fn words(state: &State) -> Vec<&str> {
    state.notes.iter().map(|note| note.words.as_str()).collect()
}

#[test]
fn an_order_is_given_after_a_yes_and_after_nothing_else() {
    let mut state = seeing(example::quiet());
    for (key, order) in [('r', Order::Reload), ('R', Order::Restart(example::id(0)))] {
        for no in [KeyCode::Esc, KeyCode::Char('n'), KeyCode::Char('q')] {
            assert_eq!(press(&mut state, KeyCode::Char(key)), None);
            assert_eq!(state.prompt, Prompt::Confirm(order.clone()));
            for other in [KeyCode::Enter, KeyCode::Char('r'), KeyCode::Down] {
                assert_eq!(press(&mut state, other), None);
                assert_eq!(state.prompt, Prompt::Confirm(order.clone()), "{other:?}");
            }
            assert_eq!(press(&mut state, no), None);
            assert_eq!(state.prompt, Prompt::None, "{no:?}");
        }
        press(&mut state, KeyCode::Char(key));
        let act = press(&mut state, KeyCode::Char('y'));
        assert!(matches!(act, Some(Act::Order { order: given, .. }) if given == order));
    }
    let given: Vec<u32> = state.orders.iter().map(|order| order.id).collect();
    assert_eq!(given, [1, 2]);
}

#[test]
fn a_scaling_is_typed_checked_and_asked_with_what_it_comes_to() {
    let mut state = seeing(example::quiet());
    write(&mut state, "s0");
    press(&mut state, KeyCode::Enter);
    assert!(matches!(
        state.prompt,
        Prompt::Workers { mistake: true, .. }
    ));
    press(&mut state, KeyCode::Backspace);
    write(&mut state, "5x");
    press(&mut state, KeyCode::Enter);
    let Prompt::Confirm(order) = state.prompt.clone() else {
        panic!("{:?}", state.prompt);
    };
    assert_eq!(
        order.question(state.picture.as_deref()),
        "Give web 5 workers instead of 3? They may open 30 connections then instead of 18, of 97 usable."
    );
    assert_eq!(order.to_string(), "scale web=5");
    let act = press(&mut state, KeyCode::Char('y'));
    assert_eq!(act, Some(Act::Order { id: 1, order }));
}

#[test]
fn the_end_of_an_order_is_said_until_a_key_and_noted_for_good() {
    let mut state = seeing(example::quiet());
    let failure = SlotFailure {
        slot: example::id(1),
        reason: "web-1 exited with code 3".into(),
        last_words: vec!["boom".into()],
    };
    let table: [(Outcome, &str); 3] = [
        (Ok(None), "reload: done"),
        (
            Ok(Some(failure)),
            "reload stopped: web-1 exited with code 3; the other workers serve on",
        ),
        (
            Err("a reload is under way".into()),
            "reload: a reload is under way",
        ),
    ];
    for (outcome, expected) in table {
        let Act::Order { id, .. } = state.give(Order::Reload) else {
            panic!("an order");
        };
        let at_unix_ms = example::NOW;
        state.react(Event::Ended {
            id,
            outcome,
            at_unix_ms,
        });
        assert_eq!(state.orders, []);
        let said = state.said.clone().unwrap();
        assert_eq!(said.words.lines().next(), Some(expected));
        assert_eq!(words(&state).last(), Some(&expected));
        press(&mut state, KeyCode::Esc);
        assert_eq!(state.said, None);
    }
}

#[test]
fn the_progress_of_an_order_is_that_of_its_last_step() {
    let state = example::watched();
    let progress = state.orders[0].progress.as_ref();
    let progress = progress.map(|progress| (progress.slot.index(), progress.done, progress.of));
    assert_eq!(progress, Some((1, 1, 3)));
}

#[test]
fn the_selection_moves_among_what_is_shown_and_stays_on_something() {
    let mut state = seeing(example::quiet());
    let selected = |state: &State| state.selected.clone().map(|slot| slot.index());
    assert_eq!(selected(&state), Some(0));
    for (key, expected) in [
        (KeyCode::Down, 1),
        (KeyCode::Char('j'), 2),
        (KeyCode::Down, 2),
        (KeyCode::Home, 0),
        (KeyCode::Up, 0),
        (KeyCode::PageDown, 2),
        (KeyCode::Char('k'), 1),
    ] {
        press(&mut state, key);
        assert_eq!(selected(&state), Some(expected), "{key:?}");
    }
    // The one after it, or the last.
    let mut without = example::quiet();
    without.apps[0].slots.remove(1);
    state.react(Event::Picture(Box::new(without.clone())));
    assert_eq!(selected(&state), Some(2));
    without.apps[0].slots.pop();
    state.react(Event::Picture(Box::new(without.clone())));
    assert_eq!(selected(&state), Some(0));
    without.apps[0].slots.clear();
    state.react(Event::Picture(Box::new(without)));
    assert_eq!(selected(&state), None);
    assert_eq!(press(&mut state, KeyCode::Char('R')), None);
    assert_eq!(state.prompt, Prompt::None, "there is nothing to restart");
    press(&mut state, KeyCode::Enter);
    assert_eq!(state.page, Page::Fleet);
}

#[test]
fn a_filter_shows_slots_by_name_state_and_pid_and_notes_by_their_words() {
    let mut state = seeing(example::sick());
    let shown = |state: &State| -> Vec<u32> {
        let slots = state.slots();
        slots.map(|slot| slot.status.slot.index()).collect()
    };
    for (filter, expected) in [
        ("/web-1", vec![1]),
        ("/parked", vec![2]),
        ("/20969", vec![0]),
        ("/2096", vec![]),
        ("/q", vec![]),
    ] {
        write(&mut state, filter);
        assert_eq!(shown(&state), expected, "{filter}");
        assert_eq!(state.selected.is_some(), !expected.is_empty());
        press(&mut state, KeyCode::Enter);
        assert_eq!(press(&mut state, KeyCode::Esc), None);
        assert_eq!(shown(&state), [0, 1, 2]);
    }
    write(&mut state, "/starved");
    assert_eq!(state.shown_notes().count(), 1);
}

#[test]
fn sessions_are_asked_for_as_long_as_they_are_looked_at_and_those_of_another_slot_are_not_shown() {
    let mut state = seeing(example::quiet());
    let next = || Event::Picture(Box::new(example::quiet()));
    assert_eq!(state.react(next()), None);
    let asked = |index| Some(Act::Sessions(example::id(index)));
    assert_eq!(press(&mut state, KeyCode::Enter), asked(0));
    assert_eq!(state.react(next()), asked(0));
    let answer = |index| Event::Sessions {
        slot: example::id(index),
        sessions: example::sessions(),
    };
    state.react(answer(1));
    assert!(matches!(state.page, Page::Slot { sessions: None, .. }));
    state.react(answer(0));
    press(&mut state, KeyCode::End);
    assert!(matches!(&state.page, Page::Slot { sessions: Some(all), row: 5 } if all.len() == 6));
    state.react(Event::Sessions {
        slot: example::id(0),
        sessions: example::sessions()[..2].to_vec(),
    });
    assert!(matches!(state.page, Page::Slot { row: 1, .. }));
    assert_eq!(press(&mut state, KeyCode::Right), asked(1));
    assert!(matches!(
        state.page,
        Page::Slot {
            sessions: None,
            row: 0
        }
    ));
    press(&mut state, KeyCode::Esc);
    assert_eq!(state.react(next()), None);
    assert_eq!(state.page, Page::Fleet);
}

#[test]
fn a_supervisor_that_is_away_is_said_once_and_so_is_its_return_or_the_next_one() {
    let mut state = seeing(example::quiet());
    let gone = |since_unix_ms| {
        Event::Gone(Gone {
            since_unix_ms,
            reason: "the supervisor is gone".into(),
        })
    };
    state.react(gone(5));
    state.react(gone(6));
    assert_eq!(state.gone.as_ref().map(|gone| gone.since_unix_ms), Some(5));
    assert_eq!(
        words(&state)[1..],
        ["the supervisor is gone"],
        "{:?}",
        state.notes
    );
    state.react(Event::Picture(Box::new(example::quiet())));
    assert_eq!(state.gone, None);
    assert_eq!(words(&state)[2..], ["the supervisor answers again"]);
    state.react(gone(7));
    let mut next = example::quiet();
    next.pid = 7;
    next.apps[0].slots[0].status.pid = Some(8);
    state.react(Event::Picture(Box::new(next)));
    assert_eq!(words(&state)[4..], ["watching the fleet of process 7"]);
}

#[test]
fn control_keys_mean_the_same_everywhere_and_a_release_means_nothing() {
    let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
    let mut state = seeing(example::quiet());
    for before in ["", "r", "s", "/", "?"] {
        write(&mut state, before);
        assert_eq!(state.react(Event::Key(control('c'))), Some(Act::Quit));
        assert_eq!(state.react(Event::Key(control('z'))), Some(Act::Suspend));
        assert_eq!(state.react(Event::Key(control('l'))), Some(Act::Repaint));
        assert_eq!(state.react(Event::Key(control('y'))), None);
        press(&mut state, KeyCode::Esc);
    }
    assert_eq!(state.orders, []);
    let mut release = control('c');
    release.kind = crossterm::event::KeyEventKind::Release;
    assert_eq!(state.react(Event::Key(release)), None);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Some(Act::Quit));
}

#[test]
fn what_happened_is_kept_for_a_screen_and_not_for_ever() {
    let mut state = seeing(example::quiet());
    for round in 0..500 {
        let mut picture = example::quiet();
        picture.apps[0].slots[0].status.since_unix_ms += round;
        state.react(Event::Picture(Box::new(picture)));
    }
    assert_eq!(state.notes.len(), NOTES);
}
