//! A fleet with its processes, its Postgres and its adversary.

mod enacted;
mod laws;
mod rest;

use crate::channel::FromWorker;
use crate::handover::policy::Failures;
use crate::handover::slot::{Beside, Slot, State};
use crate::handover::timers::Timer;
use crate::handover::{
    Action, Event, Exit, Fleet, How, Moment, Phase, Policy, Readiness, Seat, Seen, SlotPlan,
    WorkerEvent, WorkerId,
};
use crate::tag::{Name, SlotId};
use std::hash::{Hash, Hasher};
use std::time::Duration;

pub(super) use laws::{Laws, Mutation, Program};
pub(super) use rest::{dead, kind};

/// The only moment there is.
const NOW: Moment = Duration::ZERO;

/// What a process has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Fresh,
    Booted,
    /// It opens its pools; the worst case, that all of them are open, from the start.
    Launched,
    Serving,
}

/// What a process was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Told {
    Nothing,
    Leave,
    Killed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Body {
    pub(super) life: Life,
    pub(super) told: Told,
}

/// What there is of one slot outside the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Site {
    pub(super) bodies: [Option<Body>; 2],
    /// Backends whose process is gone. (One stands for a whole pool: they come and go as the adversary
    /// likes, so that only none or some matters.)
    pub(super) orphans: bool,
    pub(super) asked: bool,
    /// A serving worker was asked to leave for a reload that has not seen the slot serve again.
    pub(super) replaced: bool,
}

/// Everything.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) sites: Vec<Site>,
    pub(super) ended: bool,
}

/// Something that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Boot(usize, Seat),
    Ready(usize, Seat),
    Leave(usize, Seat),
    Die {
        at: usize,
        seat: Seat,
        orphans: bool,
    },
    OrphansVanish(usize),
    Answer {
        at: usize,
        heard: bool,
    },
    Fire(usize, Timer),
    Reload,
    Restart,
    Scale(usize),
    Stop,
    SupervisorKilled,
}

type Check = Result<(), &'static str>;

fn slot(at: usize) -> SlotId {
    SlotId::new(Name::new("w").unwrap(), u32::try_from(at).unwrap())
}

pub(super) fn plans(count: usize, program: Program) -> Vec<SlotPlan> {
    let plan = |at| SlotPlan {
        slot: slot(at),
        readiness: match program {
            Program::Waits | Program::Foreign => Readiness::Channel,
            Program::DeclaredForeign => Readiness::Pm2,
        },
        ready_timeout: NOW,
        drain_timeout: NOW,
        pools: std::collections::BTreeMap::new(),
    };
    (0..count).map(plan).collect()
}

fn policy() -> Policy {
    Policy {
        kill_grace: NOW,
        confirm_every: NOW,
        unreachable_every: NOW,
        terminate_after: NOW,
        confirm_patience: NOW,
        settle: NOW,
        backoff_first: NOW,
        backoff_max: NOW,
        park_after: 2,
        forgive_after: NOW,
        seed: 0,
    }
}

fn seat_at(seat: Seat) -> usize {
    match seat {
        Seat::A => 0,
        Seat::B => 1,
    }
}

impl Body {
    fn has_backends(self, laws: Laws) -> bool {
        !laws.program.waits() || matches!(self.life, Life::Launched | Life::Serving)
    }

    /// Whether it is on the way to having opened all of them.
    fn opens(self, laws: Laws) -> bool {
        let life = match laws.program {
            Program::DeclaredForeign => Life::Fresh,
            Program::Waits | Program::Foreign => Life::Launched,
        };
        self.told == Told::Nothing && self.life == life
    }
}

impl World {
    /// A fleet that is started on whatever `sites` hold.
    fn started(sites: Vec<Site>, laws: Laws) -> Result<Self, &'static str> {
        let mut world = Self {
            fleet: Fleet::new(plans(laws.slots, laws.program), policy()),
            sites,
            ended: false,
        };
        world.tell(Event::Start, laws)?;
        Ok(world)
    }

    /// A fleet on its cold start; where nothing ends it, one that serves.
    pub(super) fn new(laws: Laws) -> Result<Self, &'static str> {
        let mut world = Self::started(vec![Site::default(); laws.most], laws)?;
        while !laws.ends && !world.rests() {
            let next = kind(&world.steps(laws, 0), &world);
            world = world.after(next.ok_or("the fleet does not start")?, laws)?;
        }
        Ok(world)
    }

    /// Everything that the state consists of.
    pub(super) fn digest(&self, into: &mut impl Hasher) {
        for slot in &self.fleet.slots {
            slot.plan.slot.index().hash(into);
            (
                slot.wanted,
                slot.served,
                slot.failures,
                slot.rest,
                slot.turn,
            )
                .hash(into);
            match &slot.state {
                // What was seen decides when backends are terminated, never what comes after: any
                // answer may follow any other.
                State::Vanishing(vanishing) => (vanishing.ask, vanishing.patience).hash(into),
                state => state.hash(into),
            }
            slot.state.shown().hash(into);
            slot.successor.hash(into);
        }
        std::mem::discriminant(&self.fleet.phase).hash(into);
        self.fleet.rolling.hash(into);
        (&self.sites, self.ended).hash(into);
    }

    /// Whether everything is as it should be and nothing is under way.
    pub(super) fn rests(&self) -> bool {
        let at_rest = |slot: &Slot| {
            slot.wanted
                && slot.successor.is_none()
                && matches!(slot.state, State::Serving { .. } | State::Parked)
        };
        self.ended
            || self.fleet.phase == Phase::Running
                && self.fleet.rolling.is_none()
                && self.fleet.slots.iter().all(at_rest)
    }

    pub(super) fn nothing_rolls(&self) -> bool {
        self.ended || self.fleet.rolling.is_none()
    }

    /// How many slots are down that are not being replaced.
    fn troubled(&self) -> usize {
        let slots = self.fleet.slots.iter();
        slots.filter(|s| is_down(s) && !has_its_turn(s)).count()
    }

    /// Whatever can happen now, with at most `troubled` slots in trouble at once.
    pub(super) fn steps(&self, laws: Laws, troubled: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.ended {
            return steps;
        }
        let spared = self.troubled() >= troubled;
        for (at, site) in self.sites.iter().enumerate() {
            let mut slots = self.fleet.slots.iter();
            let here = slots.find(|s| s.plan.slot == slot(at));
            let spared = spared && !here.is_some_and(|s| is_down(s) || has_its_turn(s));
            for seat in [Seat::A, Seat::B] {
                let Some(body) = site.bodies[seat_at(seat)] else {
                    continue;
                };
                match body.life {
                    Life::Fresh if body.told == Told::Nothing => steps.push(Step::Boot(at, seat)),
                    Life::Launched if body.told == Told::Nothing => {
                        steps.push(Step::Ready(at, seat));
                    }
                    _ => {}
                }
                if body.told == Told::Leave {
                    steps.push(Step::Leave(at, seat));
                }
                if body.told == Told::Killed || !spared {
                    let orphans = false;
                    steps.push(Step::Die { at, seat, orphans });
                    if body.has_backends(laws) {
                        let orphans = true;
                        steps.push(Step::Die { at, seat, orphans });
                    }
                }
            }
            if site.orphans {
                steps.push(Step::OrphansVanish(at));
            }
            if site.asked {
                // Postgres may be away at any moment, for any time.
                steps.extend([true, false].map(|heard| Step::Answer { at, heard }));
            }
        }
        for (at, slot) in self.fleet.slots.iter().enumerate() {
            let spared = spared && !is_down(slot) && !has_its_turn(slot);
            for timer in Timer::ALL {
                // Boots and launches that take too long are trouble; the other deadlines are none.
                let spares = match timer {
                    Timer::Occupant => {
                        matches!(slot.state, State::Booting { .. } | State::Launching { .. })
                    }
                    Timer::Successor => slot
                        .successor
                        .as_ref()
                        .is_some_and(|s| matches!(s.state, Beside::Booting { .. })),
                    _ => false,
                };
                if self.fleet.armed(at, timer).is_some() && !(spares && spared) {
                    steps.push(Step::Fire(at, timer));
                }
            }
        }
        if self.fleet.phase == Phase::Running {
            if self.fleet.rolling.is_none() && self.troubled() <= troubled {
                steps.push(Step::Reload);
                if laws.restarts {
                    steps.push(Step::Restart);
                }
            }
            if laws.most > laws.slots {
                steps.extend((1..=laws.most).map(Step::Scale));
            }
        }
        if laws.ends {
            if !matches!(self.fleet.phase, Phase::Stopping(_)) {
                steps.push(Step::Stop);
            }
            steps.push(Step::SupervisorKilled);
        }
        steps
    }

    /// The world after a step, or the invariant that it broke.
    pub(super) fn after(&self, step: Step, laws: Laws) -> Result<Self, &'static str> {
        let mut world = self.clone();
        world.take(step, laws)?;
        if !laws.parks {
            for slot in &mut world.fleet.slots {
                slot.failures = Failures::NONE;
            }
        }
        world.check(laws)?;
        Ok(world)
    }

    fn take(&mut self, step: Step, laws: Laws) -> Check {
        match step {
            Step::Boot(at, seat) if !laws.program.waits() => {
                self.live(at, seat, Life::Serving);
                self.says(at, seat, FromWorker::Ready, laws)
            }
            Step::Boot(at, seat) => {
                self.live(at, seat, Life::Booted);
                self.says(at, seat, FromWorker::Booted, laws)?;
                let beside = self.fleet.slots.iter().any(|s| {
                    s.plan.slot == slot(at) && s.successor.as_ref().is_some_and(|s| s.seat == seat)
                });
                let here = |is: fn(&State) -> bool| {
                    let mut slots = self.fleet.slots.iter();
                    slots.any(|s| s.plan.slot == slot(at) && is(&s.state))
                };
                let launched_too_early = match laws.mutation {
                    Some(Mutation::LaunchesTheSuccessorWhenItIsBooted) => {
                        beside || here(State::is_draining)
                    }
                    Some(Mutation::LaunchesWhoeverIsBooted) => {
                        here(|state| matches!(state, State::Booted { .. }))
                    }
                    _ => false,
                };
                if launched_too_early {
                    let worker = WorkerId {
                        slot: slot(at),
                        seat,
                    };
                    self.enact(Action::Launch(worker), laws)?;
                }
                Ok(())
            }
            Step::Ready(at, seat) => {
                self.live(at, seat, Life::Serving);
                let started = FromWorker::Started {
                    pid: 1,
                    executor_id: slot(at).to_string(),
                    pools: std::collections::BTreeMap::new(),
                };
                self.says(at, seat, started, laws)?;
                self.says(at, seat, FromWorker::Ready, laws)
            }
            Step::Leave(at, seat) => self.exits(at, seat, Exit::Code(0), laws),
            Step::Die { at, seat, orphans } => {
                self.sites[at].orphans |= orphans;
                self.exits(at, seat, Exit::Signal(9), laws)
            }
            Step::OrphansVanish(at) => {
                self.sites[at].orphans = false;
                Ok(())
            }
            Step::Answer { at, heard } => {
                self.sites[at].asked = false;
                let seen = match (heard, self.sites[at].orphans) {
                    (false, _) if laws.mutation == Some(Mutation::TakesSilenceForGone) => {
                        Seen::Gone
                    }
                    (false, _) => Seen::Unreachable,
                    (true, true) => Seen::Remaining(1),
                    (true, false) => Seen::Gone,
                };
                let slot = slot(at);
                self.tell(Event::Backends { slot, seen }, laws)
            }
            Step::Fire(at, timer) => {
                let mut actions = Vec::new();
                self.fleet.fire(at, timer, NOW, &mut actions);
                self.fleet.advance(NOW, &mut actions);
                self.enact_all(actions, laws)
            }
            Step::Reload => self.roll(How::Warm, laws),
            Step::Restart => self.roll(How::Cold, laws),
            Step::Scale(count) => {
                let app = Name::new("w").unwrap();
                let plans = plans(count, laws.program);
                // Whoever is scaled away leaves no gap, and is a new slot when it comes back.
                for site in self.sites.iter_mut().skip(count) {
                    site.replaced = false;
                }
                self.tell(Event::Scale { app, plans }, laws)
            }
            Step::Stop => self.tell(Event::Stop, laws),
            Step::SupervisorKilled => {
                // The workers die with it; what they leave is as bad as can be.
                let left = self.sites.iter().map(|site| Site {
                    orphans: site.orphans
                        || site.bodies.iter().flatten().any(|b| b.has_backends(laws)),
                    ..Site::default()
                });
                *self = Self::started(left.collect(), laws)?;
                Ok(())
            }
        }
    }

    /// The world after something that the machine does, and all that follows without waiting.
    pub(super) fn nudged(
        &self,
        does: impl FnOnce(&mut Fleet, &mut Vec<Action>),
        laws: Laws,
    ) -> Result<Self, &'static str> {
        let mut world = self.clone();
        let mut actions = Vec::new();
        does(&mut world.fleet, &mut actions);
        world.fleet.advance(NOW, &mut actions);
        world.enact_all(actions, laws)?;
        world.check(laws)?;
        Ok(world)
    }

    /// The world after a reload of some of its slots was asked for.
    pub(super) fn rolled(
        &self,
        which: impl Fn(&Slot) -> bool,
        laws: Laws,
    ) -> Result<Self, &'static str> {
        let slots = self.fleet.slots.iter().filter(|slot| which(slot));
        let slots: Vec<_> = slots.map(|slot| slot.plan.slot.clone()).collect();
        let mut world = self.clone();
        if slots
            .iter()
            .any(|id| self.fleet.slots().any(|v| v.slot == id && !v.leaving))
        {
            let how = How::Warm;
            world.tell(Event::Roll { slots, how }, laws)?;
        }
        world.check(laws)?;
        Ok(world)
    }

    fn roll(&mut self, how: How, laws: Laws) -> Check {
        let slots = self.fleet.slots().map(|view| view.slot.clone()).collect();
        self.tell(Event::Roll { slots, how }, laws)
    }

    fn live(&mut self, at: usize, seat: Seat, life: Life) {
        if let Some(body) = &mut self.sites[at].bodies[seat_at(seat)] {
            body.life = life;
        }
        if life == Life::Serving {
            self.sites[at].replaced = false;
        }
    }

    fn says(&mut self, at: usize, seat: Seat, message: FromWorker, laws: Laws) -> Check {
        self.happens(at, seat, WorkerEvent::Said(message), laws)
    }

    fn exits(&mut self, at: usize, seat: Seat, exit: Exit, laws: Laws) -> Check {
        self.sites[at].bodies[seat_at(seat)] = None;
        self.happens(at, seat, WorkerEvent::Exited(exit), laws)?;
        let trusts =
            matches!(exit, Exit::Signal(_)) && laws.mutation == Some(Mutation::TrustsASigkill);
        if trusts && std::mem::take(&mut self.sites[at].asked) {
            let (slot, seen) = (slot(at), Seen::Gone);
            self.tell(Event::Backends { slot, seen }, laws)?;
        }
        Ok(())
    }

    fn happens(&mut self, at: usize, seat: Seat, event: WorkerEvent, laws: Laws) -> Check {
        let worker = WorkerId {
            slot: slot(at),
            seat,
        };
        self.tell(Event::Worker { worker, event }, laws)
    }

    fn tell(&mut self, event: Event, laws: Laws) -> Check {
        let actions = self.fleet.handle(event, NOW);
        self.enact_all(actions, laws)
    }
}

fn is_down(slot: &Slot) -> bool {
    !matches!(slot.state, State::Serving { .. } | State::Parked)
}

pub(super) fn has_its_turn(slot: &Slot) -> bool {
    slot.turn.is_under_way()
}

fn at(slot: &SlotId) -> usize {
    usize::try_from(slot.index()).unwrap()
}
