//! Tables of the transitions, and properties over every order of events.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const READY: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(10);
const T0: Moment = Duration::from_secs(100);

fn slot(index: usize) -> SlotId {
    format!("web-{index}").parse().unwrap()
}

fn fleet_of(count: usize, readiness: Readiness) -> Fleet {
    let plan = |index| SlotPlan {
        slot: slot(index),
        readiness,
        ready_timeout: READY,
        drain_timeout: DRAIN,
        pools: [("db".to_owned(), 3)].into(),
    };
    Fleet::new((0..count).map(plan).collect())
}

fn of(index: usize, event: SlotEvent) -> Event {
    Event::Slot {
        slot: slot(index),
        event,
    }
}

fn said(index: usize, message: FromWorker) -> Event {
    of(index, SlotEvent::Said(message))
}

fn started(index: usize, executor_id: &str, max: u32) -> Event {
    said(
        index,
        FromWorker::Started {
            pid: 1,
            executor_id: executor_id.to_owned(),
            pools: [("db".to_owned(), max)].into(),
        },
    )
}

fn exited(index: usize, code: i32) -> Event {
    of(index, SlotEvent::Exited(Exit::Code(code)))
}

/// The events that lead a fleet's slot from its start to a state.
fn path_to(state: SlotState, index: usize) -> Vec<Event> {
    let path = [
        (SlotState::Booting, of(index, SlotEvent::Spawned)),
        (SlotState::Launching, said(index, FromWorker::Booted)),
        (
            SlotState::Launching,
            started(index, &slot(index).to_string(), 3),
        ),
        (SlotState::Serving, said(index, FromWorker::Ready)),
        (SlotState::Draining, said(index, FromWorker::Draining)),
    ];
    let last = path.iter().rposition(|(reached, _)| *reached == state);
    let count = last.map_or(0, |last| last + 1);
    path.into_iter()
        .take(count)
        .map(|(_, event)| event)
        .collect()
}

/// A started fleet of one in a state.
fn alone(state: SlotState) -> Fleet {
    let mut fleet = fleet_of(1, Readiness::Channel);
    for event in [vec![Event::Start], path_to(state, 0)].concat() {
        let _actions = fleet.handle(event, T0);
    }
    assert_eq!(states(&fleet), [state]);
    fleet
}

fn states(fleet: &Fleet) -> Vec<SlotState> {
    fleet.slots().map(|(_, state)| state).collect()
}

/// What is to be done, without what is only told.
fn deeds(actions: Vec<Action>) -> Vec<Action> {
    let deed = |action: &Action| {
        matches!(
            action,
            Action::Spawn(_) | Action::Launch(_) | Action::Terminate(_) | Action::Kill(_)
        )
    };
    actions.into_iter().filter(deed).collect()
}

fn failure(actions: &[Action]) -> Option<&Cause> {
    actions.iter().find_map(|action| match action {
        Action::Failed(failure) => Some(&failure.cause),
        _ => None,
    })
}

#[test]
fn a_cold_start_boots_everything_at_once_and_launches_one_at_a_time() {
    let mut fleet = fleet_of(3, Readiness::Channel);
    let spawns: Vec<_> = (0..3).map(|index| Action::Spawn(slot(index))).collect();
    assert_eq!(deeds(fleet.handle(Event::Start, T0)), spawns);
    for index in 0..3 {
        assert_eq!(deeds(fleet.handle(of(index, SlotEvent::Spawned), T0)), []);
    }
    // Who boots first launches first; the others wait, the first in the order of the plan next.
    let booted = |index| said(index, FromWorker::Booted);
    assert_eq!(
        deeds(fleet.handle(booted(2), T0)),
        [Action::Launch(slot(2))]
    );
    assert_eq!(deeds(fleet.handle(booted(1), T0)), []);
    assert_eq!(deeds(fleet.handle(booted(0), T0)), []);
    for (index, next) in [(2, Some(0)), (0, Some(1)), (1, None)] {
        let id = slot(index).to_string();
        assert_eq!(deeds(fleet.handle(started(index, &id, 3), T0)), []);
        let actions = fleet.handle(said(index, FromWorker::Ready), T0);
        assert_eq!(actions.contains(&Action::AllServing), next.is_none());
        let launch: Vec<_> = next
            .map(|next| Action::Launch(slot(next)))
            .into_iter()
            .collect();
        assert_eq!(deeds(actions), launch);
    }
    assert_eq!(fleet.poll_timeout(), None);
}

#[test]
fn a_worker_that_says_something_else_than_planned_is_refused() {
    use SlotState::{Booting, Launching, Serving};
    let table = [
        (
            Booting,
            started(0, "web-0", 3),
            "said `started` while booting",
        ),
        (
            Launching,
            started(0, "web-0", 4),
            "reports the pools db = 4, the plan says db = 3",
        ),
        (
            Launching,
            started(0, "web-1", 3),
            "reports the executor id \"web-1\", its slot's is \"web-0\"",
        ),
        (
            Serving,
            started(0, "web-0", 3),
            "said `started` while serving",
        ),
    ];
    for (state, event, expected) in table {
        let mut fleet = alone(state);
        let actions = fleet.handle(event, T0);
        let said = failure(&actions)
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(said.contains(expected), "{said}");
        assert_eq!(deeds(actions), [Action::Terminate(slot(0))]);
    }
}

#[test]
fn ready_counts_only_after_started_and_only_after_launch() {
    let mut fleet = fleet_of(2, Readiness::Channel);
    for event in [
        Event::Start,
        said(0, FromWorker::Booted),
        said(1, FromWorker::Booted),
    ] {
        let _actions = fleet.handle(event, T0);
    }
    assert_eq!(states(&fleet), [SlotState::Launching, SlotState::Booted]);
    for index in 0..2 {
        let actions = fleet.clone().handle(said(index, FromWorker::Ready), T0);
        assert!(matches!(
            failure(&actions),
            Some(Cause::OutOfTurn { said: "ready", .. })
        ));
    }
}

#[test]
fn a_foreign_program_serves_when_it_says_or_shows_so() {
    let table = [
        (
            Readiness::Channel,
            said(0, FromWorker::Ready),
            SlotState::Serving,
        ),
        (
            Readiness::Listening,
            said(0, FromWorker::Ready),
            SlotState::Serving,
        ),
        (
            Readiness::Listening,
            of(0, SlotEvent::SeenReady),
            SlotState::Serving,
        ),
        (
            Readiness::Notify,
            of(0, SlotEvent::SeenReady),
            SlotState::Serving,
        ),
        (
            Readiness::Channel,
            of(0, SlotEvent::SeenReady),
            SlotState::Booting,
        ),
    ];
    for (readiness, event, expected) in table {
        let mut fleet = fleet_of(1, readiness);
        let _actions = fleet.handle(Event::Start, T0);
        let actions = fleet.handle(event.clone(), T0);
        assert_eq!(states(&fleet), [expected], "{readiness:?} {event:?}");
        assert_eq!(deeds(actions), []);
    }
}

#[test]
fn a_worker_that_ends_unasked_ends_the_fleet_from_every_state() {
    use SlotState::{Booting, Draining, Launching, Serving, Vacant};
    for state in [Booting, Launching, Serving, Draining] {
        let mut fleet = alone(state);
        let actions = fleet.handle(exited(0, 1), T0);
        let exit = Exit::Code(1);
        let cause = Cause::Exited { state, exit };
        assert_eq!(failure(&actions), Some(&cause));
        let slot = slot(0);
        let ended = Action::Ended(Outcome::Failed(Failure { slot, cause }));
        assert_eq!(actions.last(), Some(&ended));
        assert_eq!(states(&fleet), [Vacant]);
    }
}

#[test]
fn the_first_cause_is_the_outcome_and_the_others_drain() {
    let mut fleet = fleet_of(3, Readiness::Channel);
    let _actions = fleet.handle(Event::Start, T0);
    for index in 0..3 {
        let _actions = fleet.handle(of(index, SlotEvent::Spawned), T0);
    }
    let actions = fleet.handle(exited(1, 1), T0);
    assert_eq!(
        deeds(actions),
        [Action::Terminate(slot(0)), Action::Terminate(slot(2))]
    );
    assert_eq!(failure(&fleet.handle(exited(0, 2), T0)), None);
    let actions = fleet.handle(exited(2, 0), T0);
    match actions.last() {
        Some(Action::Ended(Outcome::Failed(failure))) => assert_eq!(failure.slot, slot(1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn deadlines_fall_due_when_they_say_and_not_before() {
    let instant = Duration::from_nanos(1);
    let table = [
        (SlotState::Booting, READY),
        (SlotState::Launching, READY),
        (SlotState::Draining, DRAIN + KILL_GRACE),
    ];
    for (state, after) in table {
        let mut fleet = alone(state);
        let due = T0 + after;
        assert_eq!(fleet.poll_timeout(), Some(due), "{state}");
        assert_eq!(fleet.handle(Event::Timeout, due - instant), []);
        let actions = fleet.handle(Event::Timeout, due);
        match state {
            SlotState::Draining => assert_eq!(actions, [Action::Kill(slot(0))]),
            _ => assert!(failure(&actions).is_some(), "{state}"),
        }
    }
    assert_eq!(alone(SlotState::Serving).poll_timeout(), None);
}

#[test]
fn a_stop_that_overtakes_a_spawn_is_made_up_for() {
    for (stop, expected) in [
        (Event::Stop, Action::Terminate(slot(0))),
        (Event::Kill, Action::Kill(slot(0))),
    ] {
        let mut fleet = fleet_of(1, Readiness::Channel);
        let _actions = fleet.handle(Event::Start, T0);
        assert_eq!(deeds(fleet.handle(stop, T0)), []);
        assert_eq!(fleet.handle(of(0, SlotEvent::Spawned), T0), [expected]);
    }
}

#[test]
fn kill_follows_stop_at_once_and_only_once() {
    let mut fleet = alone(SlotState::Serving);
    assert_eq!(
        deeds(fleet.handle(Event::Stop, T0)),
        [Action::Terminate(slot(0))]
    );
    assert_eq!(deeds(fleet.handle(Event::Stop, T0)), []);
    assert_eq!(
        deeds(fleet.handle(Event::Kill, T0)),
        [Action::Kill(slot(0))]
    );
    assert_eq!(deeds(fleet.handle(Event::Kill, T0)), []);
    assert_eq!(fleet.poll_timeout(), None);
    let actions = fleet.handle(exited(0, 0), T0);
    assert_eq!(actions.last(), Some(&Action::Ended(Outcome::Stopped)));
}

/// What an observer who sees only events and actions believes, and objects to.
#[derive(Default)]
struct Observer {
    states: BTreeMap<SlotId, SlotState>,
    booted: BTreeSet<SlotId>,
    spawned: BTreeSet<SlotId>,
    ended: bool,
}

impl Observer {
    fn sees(&mut self, event: &Event, actions: &[Action], fleet: &Fleet) {
        if let Event::Slot {
            slot,
            event: SlotEvent::Said(FromWorker::Booted),
        } = event
        {
            self.booted.insert(slot.clone());
        }
        for action in actions {
            assert!(!self.ended, "{action:?} after the end");
            self.follows(action);
        }
        for (slot, state) in fleet.slots() {
            assert_eq!(
                self.state(slot),
                state,
                "a transition of {slot} was not told"
            );
        }
    }

    fn follows(&mut self, action: &Action) {
        match action {
            Action::Moved { slot, from, to } => {
                assert_eq!(self.state(slot), *from);
                assert_ne!(from, to);
                self.states.insert(slot.clone(), *to);
                let launching = self.states.values().filter(|s| **s == SlotState::Launching);
                assert!(launching.count() <= 1, "two launches at once");
            }
            Action::Spawn(slot) => {
                assert!(self.spawned.insert(slot.clone()), "two processes in {slot}");
            }
            Action::Launch(slot) => {
                assert_eq!(self.state(slot), SlotState::Launching);
                assert!(self.booted.contains(slot), "{slot} was launched unbooted");
            }
            Action::Terminate(slot) | Action::Kill(slot) => {
                assert_eq!(self.state(slot), SlotState::Draining);
            }
            Action::AllServing => {
                assert!(self.states.values().all(|s| *s == SlotState::Serving));
            }
            Action::Ended(_) => {
                assert!(self.states.values().all(|s| *s == SlotState::Vacant));
                self.ended = true;
            }
            Action::Failed(_) => {}
        }
    }

    fn state(&self, slot: &SlotId) -> SlotState {
        self.states.get(slot).copied().unwrap_or(SlotState::Vacant)
    }
}

/// Anything at all that can reach the fleet, likely or not, with the time that passes before.
fn any_event() -> impl Strategy<Value = (Event, Duration)> {
    let message = (0..6usize, any::<bool>()).prop_map(|(index, right)| {
        let id = slot(index).to_string();
        (index, started(index, &id, if right { 3 } else { 9 }))
    });
    let event = prop_oneof![
        1 => Just(Event::Start),
        4 => (0..6usize).prop_map(|index| of(index, SlotEvent::Spawned)),
        8 => (0..6usize).prop_map(|index| said(index, FromWorker::Booted)),
        8 => message.prop_map(|(_, event)| event),
        8 => (0..6usize).prop_map(|index| said(index, FromWorker::Ready)),
        1 => (0..6usize).prop_map(|index| said(index, FromWorker::Draining)),
        1 => (0..6usize).prop_map(|index| of(index, SlotEvent::SeenReady)),
        1 => (0..6usize, 0..2).prop_map(|(index, code)| exited(index, code)),
        1 => Just(of(0, SlotEvent::SpawnFailed { reason: "no".to_owned() })),
        2 => Just(Event::Timeout),
        1 => Just(Event::Stop),
        1 => Just(Event::Kill),
    ];
    (event, (0..12u64).prop_map(Duration::from_secs))
}

fn any_readiness() -> impl Strategy<Value = Readiness> {
    prop_oneof![
        Just(Readiness::Channel),
        Just(Readiness::Notify),
        Just(Readiness::Listening)
    ]
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_an_invariant_and_every_stop_ends(
        count in 1..5usize,
        readiness in any_readiness(),
        events in proptest::collection::vec(any_event(), 0..60),
        stop in prop_oneof![Just(Event::Stop), Just(Event::Kill)],
    ) {
        let mut fleet = fleet_of(count, readiness);
        let mut observer = Observer::default();
        let mut now = T0;
        // Processes that were asked for and, as far as the events say, are not gone.
        let mut alive = BTreeSet::new();
        let start = (Event::Start, Duration::ZERO);
        let all = std::iter::once(start).chain(events).chain([(stop, Duration::ZERO)]);
        for (event, passed) in all {
            now += passed;
            let actions = fleet.handle(event.clone(), now);
            observer.sees(&event, &actions, &fleet);
            for action in &actions {
                if let Action::Spawn(slot) = action {
                    alive.insert(slot.clone());
                }
            }
            if let Event::Slot { slot, event: SlotEvent::Exited(_) | SlotEvent::SpawnFailed { .. } } = &event {
                alive.remove(slot);
            }
            if event == Event::Timeout {
                prop_assert!(fleet.poll_timeout().is_none_or(|due| due > now));
            }
        }
        // Nobody leaves by himself; what is left to do is to wait and to be killed.
        for slot in alive.clone() {
            let event = Event::Slot { slot, event: SlotEvent::Spawned };
            let actions = fleet.handle(event.clone(), now);
            observer.sees(&event, &actions, &fleet);
        }
        if let Some(due) = fleet.poll_timeout() {
            prop_assert!(due <= now + DRAIN + KILL_GRACE);
            now = due.max(now);
            let actions = fleet.handle(Event::Timeout, now);
            observer.sees(&Event::Timeout, &actions, &fleet);
        }
        while let Some(due) = fleet.poll_timeout() {
            prop_assert!(due > now, "time stands still");
            now = due;
            let actions = fleet.handle(Event::Timeout, now);
            observer.sees(&Event::Timeout, &actions, &fleet);
        }
        for slot in alive {
            let event = Event::Slot { slot, event: SlotEvent::Exited(Exit::Signal(9)) };
            let actions = fleet.handle(event.clone(), now);
            observer.sees(&event, &actions, &fleet);
        }
        prop_assert!(observer.ended);
    }

    #[test]
    fn a_fleet_of_good_workers_serves_in_whatever_order_they_boot(
        order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut fleet = fleet_of(6, Readiness::Channel);
        let mut launched = Vec::new();
        let mut collect = |actions: Vec<Action>| {
            for action in deeds(actions) {
                if let Action::Launch(slot) = action {
                    launched.push(slot);
                }
            }
            launched.len()
        };
        collect(fleet.handle(Event::Start, T0));
        for index in order {
            collect(fleet.handle(of(index, SlotEvent::Spawned), T0));
            collect(fleet.handle(said(index, FromWorker::Booted), T0));
        }
        for expected in 1..=6usize {
            let at = fleet.slots().position(|(_, state)| state == SlotState::Launching);
            let index = at.expect("one launches");
            collect(fleet.handle(started(index, &slot(index).to_string(), 3), T0));
            let actions = fleet.handle(said(index, FromWorker::Ready), T0);
            prop_assert_eq!(actions.contains(&Action::AllServing), expected == 6);
            collect(actions);
        }
        prop_assert_eq!(launched.len(), 6);
        prop_assert!(states(&fleet).iter().all(|state| *state == SlotState::Serving));
    }
}
