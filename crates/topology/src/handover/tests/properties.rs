//! Whatever happens in whatever order: what an observer of events and actions would object to.

use super::*;
use proptest::prelude::*;

/// What an observer who sees only events and actions believes, and objects to.
#[derive(Default)]
struct Observer {
    states: BTreeMap<SlotId, SlotState>,
    booted: BTreeSet<WorkerId>,
    alive: BTreeSet<WorkerId>,
    ended: bool,
}

impl Observer {
    fn sees(&mut self, event: &Event, actions: &[Action], fleet: &Fleet) {
        match event {
            Event::Worker {
                worker,
                event: WorkerEvent::Said(FromWorker::Booted),
            } => {
                self.booted.insert(worker.clone());
            }
            Event::Worker {
                worker,
                event: WorkerEvent::Exited(_) | WorkerEvent::SpawnFailed { .. },
            } => {
                self.alive.remove(worker);
            }
            _ => {}
        }
        for action in actions {
            let refused = matches!(action, Action::Refused(_));
            assert!(refused || !self.ended, "{action:?} after the end");
            self.follows(action);
        }
        let opens = fleet.slots.iter().filter(|slot| slot.opens());
        assert!(opens.count() <= 1, "two open their connections at once");
        for SlotView { slot, state, .. } in fleet.slots() {
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
            Action::Spawn(worker) => {
                assert!(self.alive.insert(worker.clone()), "two in one seat");
                self.booted.remove(worker);
            }
            Action::Launch(worker) => {
                assert_eq!(self.state(&worker.slot), SlotState::Launching);
                assert!(self.booted.contains(worker), "launched unbooted");
                assert!(self.alive.contains(worker), "nobody to be launched");
            }
            Action::Terminate(worker) | Action::Kill(worker) => {
                assert!(self.alive.contains(worker), "nobody to be signalled");
            }
            Action::AllServing => {
                assert!(self.states.values().all(|s| *s == SlotState::Serving));
            }
            Action::Ended(_) => {
                assert!(self.states.values().all(|s| *s == SlotState::Vacant));
                assert!(self.alive.is_empty(), "{:?} are left", self.alive);
                self.ended = true;
            }
            Action::Failed(_)
            | Action::Confirm(_)
            | Action::TerminateBackends(_)
            | Action::Crashed { .. }
            | Action::Removed(_)
            | Action::Roll(_)
            | Action::Refused(_) => {}
        }
    }

    fn state(&self, slot: &SlotId) -> SlotState {
        self.states.get(slot).copied().unwrap_or(SlotState::Vacant)
    }
}

/// Anything at all that a process may do, likely or not.
fn any_worker_event() -> impl Strategy<Value = WorkerEvent> {
    let started = |id: String, max| {
        WorkerEvent::Said(FromWorker::Started {
            pid: 1,
            executor_id: id,
            pools: [("db".to_owned(), max)].into(),
        })
    };
    prop_oneof![
        4 => Just(WorkerEvent::Spawned),
        8 => Just(WorkerEvent::Said(FromWorker::Booted)),
        8 => (0..4usize, prop_oneof![9 => Just(3), 1 => Just(9)])
            .prop_map(move |(index, max)| started(slot(index).to_string(), max)),
        8 => Just(WorkerEvent::Said(FromWorker::Ready)),
        1 => Just(WorkerEvent::Said(FromWorker::Draining)),
        1 => Just(WorkerEvent::SeenReady),
        2 => (0..2).prop_map(|code| WorkerEvent::Exited(Exit::Code(code))),
        1 => Just(WorkerEvent::SpawnFailed { reason: "no".to_owned() }),
    ]
}

/// Anything at all that can reach the fleet, with the time that passes before.
fn any_event() -> impl Strategy<Value = (Event, Duration)> {
    let seat = prop_oneof![3 => Just(Seat::A), 1 => Just(Seat::B)];
    let seen = prop_oneof![
        6 => Just(Seen::Gone),
        1 => Just(Seen::Remaining(3)),
        1 => Just(Seen::Unreachable)
    ];
    let how = prop_oneof![Just(How::Warm), Just(How::Cold)];
    let happened = |(index, seat, event)| Event::Worker {
        worker: WorkerId {
            slot: slot(index),
            seat,
        },
        event,
    };
    let event = prop_oneof![
        1 => Just(Event::Start),
        40 => (0..4usize, seat, any_worker_event()).prop_map(happened),
        12 => (0..4usize, seen).prop_map(|(index, seen)| backends(index, seen)),
        2 => how.prop_map(|how| Event::Roll { slots: (0..4).map(slot).collect(), how }),
        1 => (1..5usize).prop_map(|count| Event::Scale {
            app: slot(0).app().clone(),
            plans: plans(count, Readiness::Channel),
        }),
        4 => Just(Event::Timeout),
        1 => Just(Event::Stop),
        1 => Just(Event::Kill),
    ];
    (event, (0..12u64).prop_map(Duration::from_secs))
}

fn any_readiness() -> impl Strategy<Value = Readiness> {
    prop_oneof![
        Just(Readiness::Channel),
        Just(Readiness::Pm2),
        Just(Readiness::Notify),
        Just(Readiness::Listening),
        Just(Readiness::Accepting)
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
        let start = start(count).into_iter().map(|event| (event, Duration::ZERO));
        for (event, passed) in start.chain(events).chain([(stop, Duration::ZERO)]) {
            now += passed;
            // Only a process that was asked for can do anything.
            if let Event::Worker { worker, .. } = &event
                && !observer.alive.contains(worker)
            {
                continue;
            }
            let actions = fleet.handle(event.clone(), now);
            observer.sees(&event, &actions, &fleet);
            if event == Event::Timeout {
                prop_assert!(fleet.poll_timeout().is_none_or(|due| due > now));
            }
        }
        // Nobody leaves by himself; what is left to do is to wait and to be killed.
        for worker in observer.alive.clone() {
            let event = Event::Worker { worker, event: WorkerEvent::Spawned };
            let actions = fleet.handle(event.clone(), now);
            observer.sees(&event, &actions, &fleet);
        }
        while let Some(due) = fleet.poll_timeout() {
            prop_assert!(due <= now + DRAIN + KILL_GRACE);
            now = due.max(now);
            let actions = fleet.handle(Event::Timeout, now);
            observer.sees(&Event::Timeout, &actions, &fleet);
        }
        for worker in observer.alive.clone() {
            let event = Event::Worker { worker, event: WorkerEvent::Exited(Exit::Signal(9)) };
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
                if let Action::Launch(worker) = action {
                    launched.push(worker.slot);
                }
            }
            launched.len()
        };
        for event in start(6) {
            collect(fleet.handle(event, T0));
        }
        for index in order {
            collect(fleet.handle(of(index, WorkerEvent::Spawned), T0));
            collect(fleet.handle(said(index, FromWorker::Booted), T0));
        }
        for expected in 1..=6usize {
            let at = fleet.slots().position(|slot| slot.state == SlotState::Launching);
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
