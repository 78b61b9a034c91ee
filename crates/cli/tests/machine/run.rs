//! A fleet of the reference's: [`Fleet`] decides, and whatever takes no time of the protocol's own happens at once.

use crate::step::{
    Answer, Asked, Booted, DRAIN_TIMEOUT, READY_TIMEOUT, Release, SlotSeen, TICK, policy,
};
use poolwright_topology::channel::FromWorker;
use poolwright_topology::handover::{
    Action, Event, Exit, Failure, Fleet, Moment, Outcome, Readiness, Refusal, RollEnd, RollNews,
    Seat, Seen, SlotPlan, SlotState, SlotView, WorkerEvent, WorkerId,
};
use poolwright_topology::tag::{Name, SlotId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The pools of every worker.
pub(crate) const POOLS: [(&str, u32); 2] = [("dbos", 2), ("prisma", 1)];

/// No fleet of the test grows beyond it.
pub(crate) const MOST: u32 = 3;

/// More than anything that takes no time can come to.
const TURNS: usize = 100_000;

const SIGKILL: i32 = 9;

pub(crate) fn slot(index: u32) -> SlotId {
    SlotId::new(app(), index)
}

pub(crate) fn app() -> Name {
    Name::new("web").unwrap()
}

fn pools() -> BTreeMap<String, u32> {
    POOLS.map(|(pool, max)| (pool.to_owned(), max)).into()
}

/// What does not end with a fleet.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) release: Release,
    pub(crate) away: bool,
    /// Sessions of slots without their process.
    pub(crate) orphans: BTreeMap<SlotId, u32>,
}

/// What a step came to, besides what is seen of the slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Came {
    /// Whether what was asked for is refused.
    pub(crate) refused: Option<Refused>,
    /// What was asked for, by this step or an earlier one, and has come to its end.
    pub(crate) ended: Vec<(Asked, Answer)>,
    /// How the fleet ended, if it did.
    pub(crate) outcome: Option<Outcome>,
    /// Whether the real fleet may have come to something else, because two of its processes raced.
    pub(crate) ambiguous: bool,
}

/// Why something does not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    Because(String),
    /// Postgres could not be asked; the words are the driver's.
    Unreachable,
}

/// A fleet from its start to its end.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) fleet: Fleet,
    now: Moment,
    instances: u32,
    processes: BTreeMap<WorkerId, Process>,
    spawned: BTreeMap<SlotId, u32>,
    /// What happens next, in this order, each with the process that it was about to happen to.
    queue: VecDeque<(WorkerId, u32, WorkerEvent)>,
    /// The slots that Postgres is asked about, again and again until it has something new to say.
    asking: BTreeSet<SlotId>,
    said: BTreeMap<SlotId, Seen>,
    scaling: Option<Scaling>,
    stopping: bool,
    /// The slots that were launched since the last step.
    launched: BTreeSet<SlotId>,
}

#[derive(Debug, Clone)]
struct Process {
    number: u32,
    release: Release,
    booted: bool,
    /// Has a query that outlives it.
    busy: bool,
}

/// As the supervisor keeps it for whoever asked.
#[derive(Debug, Clone, Copy)]
struct Scaling {
    instances: u32,
    before: u32,
}

impl Run {
    pub(crate) fn new(instances: u32) -> Self {
        Self {
            fleet: Fleet::new((0..instances).map(plan).collect(), policy()),
            now: Moment::ZERO,
            instances,
            processes: BTreeMap::new(),
            spawned: BTreeMap::new(),
            queue: VecDeque::new(),
            asking: BTreeSet::new(),
            said: BTreeMap::new(),
            scaling: None,
            stopping: false,
            launched: BTreeSet::new(),
        }
    }

    pub(crate) fn seen(&self) -> Vec<SlotSeen> {
        let seen = self.fleet.slots().map(|view| SlotSeen {
            slot: view.slot.to_string(),
            state: view.state,
            failures: view.failures,
            successor: view.successor.map(|seat| {
                let process = self.processes.get(&worker(view.slot, seat));
                Booted(process.is_some_and(|process| process.booted))
            }),
            spawned: (!self.stopping).then(|| self.spawned.get(view.slot).copied().unwrap_or(0)),
        });
        seen.collect()
    }

    pub(crate) fn begin_step(&mut self) {
        self.launched.clear();
        self.said.clear();
    }

    pub(crate) fn wait(&mut self) {
        self.now += TICK;
    }

    pub(crate) fn query(&mut self, index: u32) {
        if let Some(process) = self.occupant(&slot(index)) {
            process.busy = true;
        }
    }

    pub(crate) fn stop(&mut self, how: Event, world: &mut World, came: &mut Came) {
        self.stopping = true;
        self.feed(how, world, came);
    }

    fn occupant(&mut self, of: &SlotId) -> Option<&mut Process> {
        let seat = self.fleet.slots().find(|view| view.slot == of)?.seat?;
        self.processes.get_mut(&worker(of, seat))
    }

    pub(crate) fn can_query(&self, of: &SlotId) -> bool {
        self.fleet.slots().any(|view| {
            let process = view
                .seat
                .and_then(|seat| self.processes.get(&worker(of, seat)));
            view.slot == of
                && view.state == SlotState::Serving
                && process.is_some_and(|process| !process.busy)
        })
    }

    pub(crate) fn kill(&mut self, index: u32, which: impl Fn(&SlotView<'_>) -> Option<Seat>) {
        let of = slot(index);
        let seat = self.fleet.slots().find(|view| *view.slot == of);
        if let Some(seat) = seat.and_then(|view| which(&view)) {
            self.happens(
                &worker(&of, seat),
                WorkerEvent::Exited(Exit::Signal(SIGKILL)),
            );
        }
    }

    /// As the supervisor does before it lets the handover decide.
    pub(crate) fn scale(&mut self, instances: u32, world: &mut World, came: &mut Came) {
        if self.scaling.is_some() {
            let reason = "web is being scaled; ask again when that has ended".to_owned();
            came.refused = Some(Refused::Because(reason));
            return;
        }
        let present = u32::try_from(self.fleet.slots().count())
            .unwrap()
            .max(self.instances);
        if instances > present && world.away {
            came.refused = Some(Refused::Unreachable);
            return;
        }
        let plans = (0..instances).map(plan).collect();
        self.feed(Event::Scale { app: app(), plans }, world, came);
        if came.refused.is_none() {
            let before = std::mem::replace(&mut self.instances, instances);
            self.scaling = Some(Scaling { instances, before });
            self.look_at_scaling(came);
        }
    }

    /// Lets the handover decide, and enacts.
    pub(crate) fn feed(&mut self, event: Event, world: &mut World, came: &mut Came) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.fleet.handle(event, self.now) {
                events.extend(self.enact(action, world, came));
            }
        }
        self.look_at_scaling(came);
    }

    fn enact(&mut self, action: Action, world: &mut World, came: &mut Came) -> Option<Event> {
        match action {
            Action::Spawn(worker) => {
                self.spawn(&worker, world.release);
                let event = WorkerEvent::Spawned;
                return Some(Event::Worker { worker, event });
            }
            Action::Launch(worker) => self.launch(&worker),
            Action::Terminate(worker) => {
                let process = self.processes.get(&worker);
                if process.is_some_and(|process| process.release != Release::IgnoresSigterm) {
                    self.happens(&worker, WorkerEvent::Exited(Exit::Code(0)));
                }
            }
            Action::Kill(worker) => {
                self.happens(&worker, WorkerEvent::Exited(Exit::Signal(SIGKILL)));
            }
            Action::Confirm(slot) => _ = self.asking.insert(slot),
            Action::TerminateBackends(slot) if !world.away => _ = world.orphans.remove(&slot),
            Action::Crashed { failure, .. } => self.crashed(&failure, came),
            Action::Failed(_) => self.stopping = true,
            Action::Roll(RollNews::Ended(end)) => {
                came.ended.push((Asked::Roll, answer(end)));
            }
            Action::Refused(refusal) => came.refused = Some(because(refusal)),
            Action::Ended(outcome) => {
                if self.scaling.take().is_some() {
                    came.ended.push((Asked::Scaling, stopped()));
                }
                came.outcome = Some(outcome);
            }
            Action::TerminateBackends(_)
            | Action::Moved { .. }
            | Action::AllServing
            | Action::Removed(_)
            | Action::Roll(_) => {}
        }
        None
    }

    fn spawn(&mut self, worker: &WorkerId, release: Release) {
        let number = self.spawned.entry(worker.slot.clone()).or_default();
        *number += 1;
        let process = Process {
            number: *number,
            release,
            booted: false,
            busy: false,
        };
        self.processes.insert(worker.clone(), process);
        match release {
            Release::NeverBoots => {}
            Release::ExitsBeforeBooted => {
                self.happens(worker, WorkerEvent::Exited(Exit::Code(3)));
            }
            _ => self.happens(worker, WorkerEvent::Said(FromWorker::Booted)),
        }
    }

    fn launch(&mut self, worker: &WorkerId) {
        let Some(process) = self.processes.get(worker) else {
            return;
        };
        self.launched.insert(worker.slot.clone());
        let release = process.release;
        if release == Release::ExitsOnLaunch {
            return self.happens(worker, WorkerEvent::Exited(Exit::Code(1)));
        }
        let mut pools = pools();
        if release == Release::WrongMaxima {
            pools.values_mut().for_each(|max| *max += 1);
        }
        let started = FromWorker::Started {
            pid: 0,
            executor_id: worker.slot.to_string(),
            pools,
        };
        self.happens(worker, WorkerEvent::Said(started));
        if release != Release::NeverReady {
            self.happens(worker, WorkerEvent::Said(FromWorker::Ready));
        }
    }

    fn happens(&mut self, worker: &WorkerId, event: WorkerEvent) {
        if let Some(process) = self.processes.get(worker) {
            self.queue
                .push_back((worker.clone(), process.number, event));
        }
    }

    /// Everything that takes no time.
    pub(crate) fn settle(&mut self, world: &mut World, came: &mut Came) {
        for _ in 0..TURNS {
            let event = match self.queue.pop_front() {
                Some((worker, number, event)) => self.befalls(worker, number, event, world),
                None => match self.answer(world) {
                    Some((slot, seen)) => Some(Event::Backends { slot, seen }),
                    None if self.fleet.poll_timeout().is_some_and(|due| due <= self.now) => {
                        Some(Event::Timeout)
                    }
                    None => return,
                },
            };
            if let Some(event) = event {
                self.feed(event, world, came);
            }
        }
        panic!("it never comes to rest: {:?}", self.seen());
    }

    /// Something happens to a process, unless it is gone.
    fn befalls(
        &mut self,
        worker: WorkerId,
        number: u32,
        event: WorkerEvent,
        world: &mut World,
    ) -> Option<Event> {
        let process = self.processes.get_mut(&worker)?;
        if process.number != number {
            return None;
        }
        match event {
            WorkerEvent::Said(FromWorker::Booted) => process.booted = true,
            WorkerEvent::Exited(_) => {
                if process.busy {
                    *world.orphans.entry(worker.slot.clone()).or_default() += 1;
                }
                self.processes.remove(&worker);
                self.said.remove(&worker.slot);
            }
            _ => {}
        }
        Some(Event::Worker { worker, event })
    }

    /// What Postgres has to say that it has not said already.
    fn answer(&mut self, world: &World) -> Option<(SlotId, Seen)> {
        let new = self.asking.iter().find_map(|slot| {
            let seen = match world.orphans.get(slot) {
                _ if world.away => Seen::Unreachable,
                Some(count) => Seen::Remaining(*count),
                None => Seen::Gone,
            };
            (self.said.get(slot) != Some(&seen)).then(|| (slot.clone(), seen))
        })?;
        self.asking.remove(&new.0);
        if new.1 == Seen::Gone {
            self.said.remove(&new.0);
        } else {
            self.said.insert(new.0.clone(), new.1);
        }
        Some(new)
    }

    fn crashed(&mut self, failure: &Failure, came: &mut Came) {
        let new = |scaling: &Scaling| failure.slot.index() >= scaling.before;
        if self.scaling.take_if(|scaling| new(scaling)).is_some() {
            came.ended
                .push((Asked::Scaling, Ok(Some(failure.to_string()))));
        }
    }

    fn look_at_scaling(&mut self, came: &mut Came) {
        let Some(scaling) = self.scaling else { return };
        let mut count = 0;
        let settled = self.fleet.slots().all(|view| {
            count += 1;
            let old = view.slot.index() < scaling.before;
            let down = matches!(view.state, SlotState::Resting | SlotState::Parked);
            !view.leaving && (view.state == SlotState::Serving || old && down)
        });
        if settled && count == scaling.instances {
            self.scaling = None;
            came.ended.push((Asked::Scaling, Ok(None)));
        }
    }

    /// Whether several could have been launched first, and it would have mattered.
    pub(crate) fn raced(&self) -> bool {
        let waits = self
            .fleet
            .slots()
            .filter(|view| view.state == SlotState::Booted);
        let mut launched = self.launched.clone();
        launched.extend(waits.map(|view| view.slot.clone()));
        let blocks = |id: &WorkerId, process: &Process| {
            launched.contains(&id.slot) && process.release.blocks()
        };
        !self.launched.is_empty()
            && launched.len() > 1
            && self
                .processes
                .iter()
                .any(|(id, process)| blocks(id, process))
    }
}

fn plan(index: u32) -> SlotPlan {
    SlotPlan {
        slot: slot(index),
        readiness: Readiness::Channel,
        ready_timeout: READY_TIMEOUT,
        drain_timeout: DRAIN_TIMEOUT,
        pools: pools(),
    }
}

fn worker(slot: &SlotId, seat: Seat) -> WorkerId {
    let slot = slot.clone();
    WorkerId { slot, seat }
}

fn because(refusal: Refusal) -> Refused {
    Refused::Because(refusal.to_string())
}

fn answer(end: RollEnd) -> Answer {
    match end {
        RollEnd::Done => Ok(None),
        RollEnd::Failed(failure) => Ok(Some(failure.to_string())),
        RollEnd::Stopped => stopped(),
    }
}

fn stopped() -> Answer {
    Err("the fleet was stopped before it was done".to_owned())
}
