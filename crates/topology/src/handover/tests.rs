//! Tables of the transitions.

mod properties;

use super::*;
use crate::channel::FromWorker;
use crate::tag::SlotId;
use std::collections::{BTreeMap, BTreeSet};

const READY: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(10);
const T0: Moment = Duration::from_secs(100);

fn slot(index: usize) -> SlotId {
    format!("web-{index}").parse().unwrap()
}

fn plans(count: usize, readiness: Readiness) -> Vec<SlotPlan> {
    let plan = |index| SlotPlan {
        slot: slot(index),
        readiness,
        ready_timeout: READY,
        drain_timeout: DRAIN,
        pools: [("db".to_owned(), 3)].into(),
    };
    (0..count).map(plan).collect()
}

fn fleet_of(count: usize, readiness: Readiness) -> Fleet {
    Fleet::new(plans(count, readiness), Policy::default())
}

/// The only process of a slot outside a handover.
fn worker(index: usize) -> WorkerId {
    WorkerId {
        slot: slot(index),
        seat: Seat::A,
    }
}

fn of(index: usize, event: WorkerEvent) -> Event {
    Event::Worker {
        worker: worker(index),
        event,
    }
}

fn backends(index: usize, seen: Seen) -> Event {
    Event::Backends {
        slot: slot(index),
        seen,
    }
}

/// The events by which a fleet starts on an empty Postgres.
fn start(count: usize) -> Vec<Event> {
    let gone = (0..count).map(|index| backends(index, Seen::Gone));
    std::iter::once(Event::Start).chain(gone).collect()
}

fn said(index: usize, message: FromWorker) -> Event {
    of(index, WorkerEvent::Said(message))
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
    of(index, WorkerEvent::Exited(Exit::Code(code)))
}

/// The events that lead a fleet's slot from its start to a state.
fn path_to(state: SlotState, index: usize) -> Vec<Event> {
    let path = [
        (SlotState::Booting, of(index, WorkerEvent::Spawned)),
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

/// A fleet of which everything boots.
fn started_fleet(count: usize, readiness: Readiness) -> Fleet {
    let mut fleet = fleet_of(count, readiness);
    for event in start(count) {
        let _actions = fleet.handle(event, T0);
    }
    fleet
}

/// A started fleet of one in a state.
fn alone(state: SlotState) -> Fleet {
    let mut fleet = fleet_of(1, Readiness::Channel);
    for event in [start(1), path_to(state, 0)].concat() {
        let _actions = fleet.handle(event, T0);
    }
    assert_eq!(states(&fleet), [state]);
    fleet
}

fn states(fleet: &Fleet) -> Vec<SlotState> {
    fleet.slots().map(|slot| slot.state).collect()
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
        Action::Failed(failure) | Action::Crashed { failure, .. } => Some(&failure.cause),
        _ => None,
    })
}

#[test]
fn a_cold_start_boots_everything_at_once_and_launches_one_at_a_time() {
    let mut fleet = fleet_of(3, Readiness::Channel);
    let spawns: Vec<_> = (0..3).map(|index| Action::Spawn(worker(index))).collect();
    assert_eq!(deeds(fleet.handle(Event::Start, T0)), []);
    let mut spawned = Vec::new();
    for index in 0..3 {
        spawned.extend(deeds(fleet.handle(backends(index, Seen::Gone), T0)));
    }
    assert_eq!(spawned, spawns);
    for index in 0..3 {
        assert_eq!(deeds(fleet.handle(of(index, WorkerEvent::Spawned), T0)), []);
    }
    // Who boots first launches first; the others wait, the first in the order of the plan next.
    let booted = |index| said(index, FromWorker::Booted);
    assert_eq!(
        deeds(fleet.handle(booted(2), T0)),
        [Action::Launch(worker(2))]
    );
    assert_eq!(deeds(fleet.handle(booted(1), T0)), []);
    assert_eq!(deeds(fleet.handle(booted(0), T0)), []);
    for (index, next) in [(2, Some(0)), (0, Some(1)), (1, None)] {
        let id = slot(index).to_string();
        assert_eq!(deeds(fleet.handle(started(index, &id, 3), T0)), []);
        let actions = fleet.handle(said(index, FromWorker::Ready), T0);
        assert_eq!(actions.contains(&Action::AllServing), next.is_none());
        let launch: Vec<_> = next
            .map(|next| Action::Launch(worker(next)))
            .into_iter()
            .collect();
        assert_eq!(deeds(actions), launch);
    }
    assert_eq!(fleet.poll_timeout(), None);
}

#[test]
fn programs_that_open_their_connections_from_their_start_are_started_one_at_a_time() {
    let foreign = [
        Readiness::Pm2,
        Readiness::Notify,
        Readiness::Listening,
        Readiness::Accepting,
    ];
    for readiness in foreign {
        let mut fleet = fleet_of(3, readiness);
        let ready = match readiness {
            Readiness::Pm2 => WorkerEvent::Said(FromWorker::Ready),
            _ => WorkerEvent::SeenReady,
        };
        // The order in which Postgres' word comes decides nothing but who is first.
        let _actions = fleet.handle(Event::Start, T0);
        let gone = |fleet: &mut Fleet, index| deeds(fleet.handle(backends(index, Seen::Gone), T0));
        assert_eq!(gone(&mut fleet, 1), [Action::Spawn(worker(1))]);
        assert_eq!(gone(&mut fleet, 2), []);
        assert_eq!(gone(&mut fleet, 0), []);
        for (index, next) in [(1, Some(0)), (0, Some(2)), (2, None)] {
            let spawned = of(index, WorkerEvent::Spawned);
            assert_eq!(deeds(fleet.handle(spawned, T0)), []);
            let actions = fleet.handle(of(index, ready.clone()), T0);
            assert_eq!(actions.contains(&Action::AllServing), next.is_none());
            let spawn = next.map(|next| Action::Spawn(worker(next)));
            assert_eq!(deeds(actions), Vec::from_iter(spawn), "{readiness:?}");
        }
        // After crashes too.
        for index in [0, 1, 2] {
            let _actions = fleet.handle(exited(index, 1), T0);
            assert_eq!(gone(&mut fleet, index), []);
        }
        let later = T0 + Duration::from_secs(60);
        let spawned = deeds(fleet.handle(Event::Timeout, later));
        assert_eq!(spawned, [Action::Spawn(worker(0))]);
    }
}

#[test]
fn a_program_that_was_declared_foreign_and_waits_for_launch_is_refused_with_the_word_for_it() {
    let mut fleet = started_fleet(1, Readiness::Pm2);
    let _actions = fleet.handle(of(0, WorkerEvent::Spawned), T0);
    let actions = fleet.handle(said(0, FromWorker::Booted), T0);
    let cause = failure(&actions).map(ToString::to_string);
    assert_eq!(
        cause.as_deref(),
        Some(
            "was refused: it said `booted` while booting, expected ready = \"channel\" of an app whose program waits for `launch`"
        )
    );
    assert_eq!(deeds(actions), [Action::Terminate(worker(0))]);
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
        assert_eq!(deeds(actions), [Action::Terminate(worker(0))]);
    }
}

#[test]
fn ready_counts_only_after_started_and_only_after_launch() {
    let mut fleet = fleet_of(2, Readiness::Channel);
    let booted = (0..2).map(|index| said(index, FromWorker::Booted));
    for event in start(2).into_iter().chain(booted) {
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
            of(0, WorkerEvent::SeenReady),
            SlotState::Serving,
        ),
        (
            Readiness::Notify,
            of(0, WorkerEvent::SeenReady),
            SlotState::Serving,
        ),
        (
            Readiness::Channel,
            of(0, WorkerEvent::SeenReady),
            SlotState::Booting,
        ),
        (
            Readiness::Pm2,
            said(0, FromWorker::Ready),
            SlotState::Serving,
        ),
        (
            Readiness::Pm2,
            of(0, WorkerEvent::SeenReady),
            SlotState::Booting,
        ),
        (
            Readiness::Accepting,
            of(0, WorkerEvent::SeenReady),
            SlotState::Serving,
        ),
    ];
    for (readiness, event, expected) in table {
        let mut fleet = started_fleet(1, readiness);
        let actions = fleet.handle(event.clone(), T0);
        assert_eq!(states(&fleet), [expected], "{readiness:?} {event:?}");
        assert_eq!(deeds(actions), []);
    }
}

#[test]
fn a_worker_that_ends_before_its_slot_ever_served_ends_the_fleet() {
    for state in [SlotState::Booting, SlotState::Launching] {
        let mut fleet = alone(state);
        let actions = fleet.handle(exited(0, 1), T0);
        let exit = Exit::Code(1);
        let cause = Cause::Exited { state, exit };
        assert_eq!(failure(&actions), Some(&cause));
        let slot = slot(0);
        let ended = Action::Ended(Outcome::Failed(Failure { slot, cause }));
        assert_eq!(actions.last(), Some(&ended));
        assert_eq!(states(&fleet), [SlotState::Vacant]);
    }
}

#[test]
fn a_worker_that_ends_unasked_later_is_restarted_when_its_backends_are_gone_and_after_a_pause() {
    for state in [SlotState::Serving, SlotState::Draining] {
        let mut fleet = alone(state);
        let actions = fleet.handle(exited(0, 1), T0);
        let exit = Exit::Code(1);
        assert_eq!(failure(&actions), Some(&Cause::Exited { state, exit }));
        assert!(actions.contains(&Action::Confirm(slot(0))), "{actions:?}");
        assert_eq!(states(&fleet), [SlotState::Vanishing]);
        let _actions = fleet.handle(backends(0, Seen::Gone), T0);
        assert_eq!(states(&fleet), [SlotState::Resting]);
        let due = fleet.poll_timeout().unwrap();
        assert!(due > T0);
        let actions = fleet.handle(Event::Timeout, due);
        assert_eq!(deeds(actions), [Action::Spawn(worker(0))]);
    }
}

#[test]
fn a_slot_that_keeps_failing_is_parked_and_a_reload_tries_it_again() {
    let mut fleet = alone(SlotState::Serving);
    let mut now = T0;
    let mut restarts = 0;
    let _actions = fleet.handle(exited(0, 1), now);
    while states(&fleet) != [SlotState::Parked] {
        let _actions = fleet.handle(backends(0, Seen::Gone), now);
        if let [SlotState::Resting] = states(&fleet).as_slice() {
            now = fleet.poll_timeout().unwrap();
            let spawned = deeds(fleet.handle(Event::Timeout, now));
            assert_eq!(spawned, [Action::Spawn(worker(0))]);
            restarts += 1;
            let _actions = fleet.handle(exited(0, 1), now);
        }
    }
    assert_eq!(restarts, Policy::default().park_after - 1);
    assert_eq!(fleet.poll_timeout(), None);
    let reload = Event::Roll {
        slots: vec![slot(0)],
        how: How::Warm,
    };
    assert_eq!(deeds(fleet.handle(reload, now)), [Action::Spawn(worker(0))]);
}

#[test]
fn a_slot_that_is_scaled_back_before_it_has_left_has_the_failures_of_a_new_one() {
    let mut fleet = started_fleet(2, Readiness::Listening);
    for index in [0, 1] {
        let _actions = fleet.handle(of(index, WorkerEvent::SeenReady), T0);
    }
    let _actions = fleet.handle(exited(1, 1), T0);
    assert_eq!(fleet.slots().map(|slot| slot.failures).sum::<u32>(), 1);
    for count in [1, 2] {
        let (app, plans) = (slot(0).app().clone(), plans(count, Readiness::Listening));
        let _actions = fleet.handle(Event::Scale { app, plans }, T0);
    }
    assert_eq!(fleet.slots().map(|slot| slot.failures).sum::<u32>(), 0);
    assert_eq!(
        deeds(fleet.handle(backends(1, Seen::Gone), T0)),
        [Action::Spawn(worker(1))]
    );
}

#[test]
fn the_next_slots_successor_boots_while_a_new_worker_launches_and_goes_when_that_fails() {
    let mut fleet = started_fleet(3, Readiness::Channel);
    for index in 0..3 {
        for event in path_to(SlotState::Serving, index) {
            let _actions = fleet.handle(event, T0);
        }
    }
    let beside = |index| WorkerId {
        slot: slot(index),
        seat: Seat::B,
    };
    let of = |index, event| {
        let worker = beside(index);
        Event::Worker { worker, event }
    };
    let booted = |index| of(index, WorkerEvent::Said(FromWorker::Booted));
    let slots = (0..3).map(slot).collect();
    let how = How::Warm;
    let mut deeds_of = |event| deeds(fleet.handle(event, T0));
    assert_eq!(
        deeds_of(Event::Roll { slots, how }),
        [Action::Spawn(beside(0))]
    );
    assert_eq!(deeds_of(of(0, WorkerEvent::Spawned)), []);
    assert_eq!(deeds_of(booted(0)), [Action::Terminate(worker(0))]);
    // One process more than there are slots, until the predecessor has left.
    assert_eq!(deeds_of(exited(0, 0)), []);
    assert_eq!(
        deeds_of(backends(0, Seen::Gone)),
        [Action::Spawn(beside(1)), Action::Launch(beside(0))]
    );
    // Booted or not, it waits for its turn.
    assert_eq!(deeds_of(of(1, WorkerEvent::Spawned)), []);
    assert_eq!(deeds_of(booted(1)), []);
    let gone = of(0, WorkerEvent::Exited(Exit::Code(1)));
    assert_eq!(deeds_of(gone), [Action::Terminate(beside(1))]);
    assert!(!fleet.is_rolling());
    assert_eq!(states(&fleet)[1..], [SlotState::Serving; 2]);
}

#[test]
fn backends_that_outlive_their_process_are_asked_for_again_and_terminated() {
    let mut fleet = alone(SlotState::Serving);
    let _actions = fleet.handle(exited(0, 1), T0);
    let policy = Policy::default();
    let mut now = T0;
    let mut terminated = None;
    while terminated.is_none() {
        let _actions = fleet.handle(backends(0, Seen::Remaining(2)), now);
        now = fleet.poll_timeout().unwrap();
        let actions = fleet.handle(Event::Timeout, now);
        assert_eq!(deeds(actions.clone()), []);
        terminated = actions
            .contains(&Action::TerminateBackends(slot(0)))
            .then_some(now);
    }
    assert_eq!(terminated, Some(T0 + policy.terminate_after));
    assert_eq!(states(&fleet), [SlotState::Vanishing]);
}

#[test]
fn requests_that_come_at_the_wrong_time_are_refused_with_a_reason() {
    let reload = |index| Event::Roll {
        slots: vec![slot(index)],
        how: How::Warm,
    };
    let scale = || Event::Scale {
        app: slot(0).app().clone(),
        plans: Vec::new(),
    };
    let refused = |refusal| vec![Action::Refused(refusal)];
    let mut starting = alone(SlotState::Booting);
    assert_eq!(starting.handle(reload(0), T0), refused(Refusal::Starting));
    assert_eq!(starting.handle(scale(), T0), refused(Refusal::Starting));
    let mut fleet = alone(SlotState::Serving);
    assert_eq!(fleet.handle(reload(7), T0), refused(Refusal::NoSuchSlot));
    let _actions = fleet.handle(reload(0), T0);
    assert_eq!(fleet.handle(reload(0), T0), refused(Refusal::Rolling));
    let _actions = fleet.handle(Event::Stop, T0);
    assert_eq!(fleet.handle(reload(0), T0), refused(Refusal::Stopping));
}

#[test]
fn the_first_cause_is_the_outcome_and_the_others_drain() {
    let mut fleet = started_fleet(3, Readiness::Channel);
    for index in 0..3 {
        let _actions = fleet.handle(of(index, WorkerEvent::Spawned), T0);
    }
    let actions = fleet.handle(exited(1, 1), T0);
    assert_eq!(
        deeds(actions),
        [Action::Terminate(worker(0)), Action::Terminate(worker(2))]
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
            SlotState::Draining => assert_eq!(actions, [Action::Kill(worker(0))]),
            _ => assert!(failure(&actions).is_some(), "{state}"),
        }
    }
    assert_eq!(alone(SlotState::Serving).poll_timeout(), None);
}

#[test]
fn a_stop_that_overtakes_a_spawn_is_made_up_for() {
    for (stop, expected) in [
        (Event::Stop, Action::Terminate(worker(0))),
        (Event::Kill, Action::Kill(worker(0))),
    ] {
        let mut fleet = started_fleet(1, Readiness::Channel);
        assert_eq!(deeds(fleet.handle(stop, T0)), []);
        assert_eq!(fleet.handle(of(0, WorkerEvent::Spawned), T0), [expected]);
    }
}

#[test]
fn kill_follows_stop_at_once_and_only_once() {
    let mut fleet = alone(SlotState::Serving);
    assert_eq!(
        deeds(fleet.handle(Event::Stop, T0)),
        [Action::Terminate(worker(0))]
    );
    assert_eq!(deeds(fleet.handle(Event::Stop, T0)), []);
    assert_eq!(
        deeds(fleet.handle(Event::Kill, T0)),
        [Action::Kill(worker(0))]
    );
    assert_eq!(deeds(fleet.handle(Event::Kill, T0)), []);
    assert_eq!(fleet.poll_timeout(), None);
    let actions = fleet.handle(exited(0, 0), T0);
    assert_eq!(actions.last(), Some(&Action::Ended(Outcome::Stopped)));
}
