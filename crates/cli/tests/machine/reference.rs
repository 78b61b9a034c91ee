//! The reference: [`Fleet`](poolwright_topology::handover::Fleet), and around it a world in which everything that takes no time of
//! the protocol's own takes none at all ([`crate::run`]).
//!
//! It is what the supervisor is compared with, so it shares the decisions and nothing else with it: no process, no socket, no
//! clock and no SQL.

use crate::run::{Came, MOST, Run, World, slot};
use crate::step::{Release, SlotSeen, Step};
use poolwright_topology::handover::{Event, How};
use poolwright_topology::tag::SlotId;
use proptest::prelude::{BoxedStrategy, Just, Strategy, prop_oneof};
use proptest::sample::select;
use proptest_state_machine::ReferenceStateMachine;
use std::collections::BTreeMap;
use std::fmt;

/// A fleet, or none, and what is around it.
#[derive(Clone)]
pub(crate) struct Reference {
    /// With how many workers it starts.
    pub(crate) declared: u32,
    world: World,
    run: Option<Run>,
    /// What the last step came to.
    pub(crate) came: Came,
}

impl fmt::Debug for Reference {
    /// What a failing case begins with; the steps follow it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference")
            .field("declared", &self.declared)
            .field("release", &self.world.release)
            .field("orphans", &self.world.orphans)
            .finish_non_exhaustive()
    }
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let release = prop_oneof![9 => Just(Release::Good), 1 => select(&Release::ALL[..])];
        let left = prop_oneof![4 => Just(None), 1 => (0..MOST).prop_map(Some)];
        let state = (1..=MOST, release, left).prop_map(|(declared, release, left)| Self {
            declared,
            world: World {
                release,
                away: false,
                orphans: left.map(|index| (slot(index), 1)).into_iter().collect(),
            },
            run: None,
            came: Came::default(),
        });
        state.boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let mut steps = state.candidates();
        steps.retain(|step| Self::preconditions(state, step));
        select(steps).boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.take(step);
        state
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        state.candidates().contains(step) && {
            let mut after = state.clone();
            after.take(step);
            !after.came.ambiguous
        }
    }
}

impl Reference {
    /// What is left in Postgres of former fleets.
    pub(crate) const fn orphans(&self) -> &BTreeMap<SlotId, u32> {
        &self.world.orphans
    }

    pub(crate) const fn release(&self) -> Release {
        self.world.release
    }

    /// Every slot as it has to be seen now; of a fleet that has ended, none.
    pub(crate) fn seen(&self) -> Vec<SlotSeen> {
        self.run.as_ref().map(Run::seen).unwrap_or_default()
    }

    /// What can be done now, what is likelier more often, what is simpler first.
    fn candidates(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut add = |weight: usize, step: Step| steps.extend(vec![step; weight]);
        match &self.run {
            // `up` itself needs Postgres.
            None if self.world.away => add(1, Step::Back),
            None => add(20, Step::Start),
            Some(run) => {
                add(10, Step::Wait);
                add(6, Step::Reload);
                for view in run.fleet.slots() {
                    let index = view.slot.index();
                    add(2, Step::Restart(index));
                    add(2 * usize::from(view.seat.is_some()), Step::Kill(index));
                    let beside = usize::from(view.successor.is_some());
                    add(beside, Step::KillSuccessor(index));
                    let free = usize::from(run.can_query(view.slot));
                    add(2 * free, Step::Query(index));
                }
                add(1, Step::Restart(MOST));
                for instances in 1..=MOST {
                    add(1, Step::Scale(instances));
                }
                match self.world.away {
                    true => add(4, Step::Back),
                    false => add(1, Step::Away),
                }
                add(1, Step::Stop);
                add(1, Step::StopNow);
            }
        }
        // A fleet that does not start is over too soon to be the usual one.
        let mended = if self.run.is_some() { 3 } else { 20 };
        for release in Release::ALL {
            match release {
                same if same == self.world.release => {}
                Release::Good => add(mended, Step::Release(release)),
                _ => add(1, Step::Release(release)),
            }
        }
        steps
    }

    /// Takes a step, and lets everything happen that takes no time.
    fn take(&mut self, step: &Step) {
        self.came = Came::default();
        let Self {
            declared,
            world,
            run: place,
            came,
        } = self;
        match step {
            Step::Release(release) => world.release = *release,
            Step::Away => world.away = true,
            Step::Back => world.away = false,
            _ => {}
        }
        if *step == Step::Start {
            *place = Some(Run::new(*declared));
        }
        let Some(run) = place else { return };
        run.begin_step();
        let roll = |slots, how| Event::Roll { slots, how };
        match step {
            Step::Start => run.feed(Event::Start, world, came),
            Step::Wait => run.wait(),
            Step::Reload => {
                let slots = run.fleet.slots().map(|view| view.slot.clone()).collect();
                run.feed(roll(slots, How::Warm), world, came);
            }
            Step::Restart(index) => run.feed(roll(vec![slot(*index)], How::Cold), world, came),
            Step::Scale(instances) => run.scale(*instances, world, came),
            Step::Kill(index) => run.kill(*index, |view| view.seat),
            Step::KillSuccessor(index) => run.kill(*index, |view| view.successor),
            Step::Query(index) => run.query(*index),
            Step::Stop => run.stop(Event::Stop, world, came),
            Step::StopNow => run.stop(Event::Kill, world, came),
            Step::Release(_) | Step::Away | Step::Back => {}
        }
        run.settle(world, came);
        came.ambiguous = run.raced();
        if came.outcome.is_some() {
            *place = None;
        }
    }
}
