//! A fleet with its processes, its Postgres and its adversary.

use crate::channel::FromWorker;
use crate::handover::policy::Failures;
use crate::handover::slot::{Beside, Slot, State};
use crate::handover::timers::Timer;
use crate::handover::{
    Action, Event, Exit, Fleet, How, Moment, Phase, Policy, Readiness, RollNews, Seat, Seen,
    SlotPlan, WorkerEvent, WorkerId,
};
use crate::tag::{Name, SlotId};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// The only moment there is.
const NOW: Moment = Duration::ZERO;

/// A protocol that is broken on purpose: what stands between the machine and the world does something
/// else than it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    /// Postgres is said to show nothing, without being asked.
    StartsBeforeTheBackendsAreGone,
    /// The same, of slots whose process was killed.
    TrustsASigkill,
    /// No answer counts as an empty one.
    TakesSilenceForGone,
    /// The successor is not made to wait.
    LaunchesTheSuccessorWhenItIsBooted,
    /// Nobody waits for the launch of another slot.
    LaunchesWhoeverIsBooted,
    /// A worker that is asked to leave takes the others with it.
    DrainsTwoSlotsAtOnce,
    /// Postgres is not asked.
    ForgetsToAsk,
    /// SIGKILL is not sent.
    ForgetsToKill,
}

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

/// What the world is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Laws {
    pub(super) slots: usize,
    pub(super) most: usize,
    pub(super) program: Program,
    pub(super) restarts: bool,
    pub(super) ends: bool,
    pub(super) parks: bool,
    pub(super) mutation: Option<Mutation>,
}

/// What runs in the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// It opens its connections when it is told to.
    Waits,
    /// It opens them when it likes, and was declared as one that waits.
    Foreign,
    /// It opens them when it likes, as was declared.
    DeclaredForeign,
}

impl Program {
    pub(super) const fn waits(self) -> bool {
        matches!(self, Self::Waits)
    }
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

    fn enact_all(&mut self, actions: Vec<Action>, laws: Laws) -> Check {
        for action in actions {
            self.enact(action, laws)?;
        }
        Ok(())
    }

    fn enact(&mut self, action: Action, laws: Laws) -> Check {
        match action {
            Action::Spawn(WorkerId { slot, seat }) => {
                let at = at(&slot);
                if self.sites[at].bodies[seat_at(seat)].is_some() {
                    return Err("a seat is taken twice");
                }
                if !laws.program.waits() {
                    self.opens(at, laws)?;
                }
                self.sites[at].bodies[seat_at(seat)] = Some(Body {
                    life: Life::Fresh,
                    told: Told::Nothing,
                });
                self.happens(at, seat, WorkerEvent::Spawned, laws)
            }
            Action::Launch(WorkerId { slot, seat }) => {
                let at = at(&slot);
                match self.sites[at].bodies[seat_at(seat)].map(|body| body.life) {
                    Some(Life::Booted) => {}
                    _ => return Err("nobody who waits for it is launched"),
                }
                self.opens(at, laws)?;
                self.live(at, seat, Life::Launched);
                Ok(())
            }
            Action::Terminate(WorkerId { slot, seat }) => {
                self.is_asked_to_leave(at(&slot), seat)?;
                if laws.mutation == Some(Mutation::DrainsTwoSlotsAtOnce) {
                    for other in 0..self.sites.len() {
                        self.is_asked_to_leave(other, seat)?;
                    }
                }
                Ok(())
            }
            Action::Kill(_) if laws.mutation == Some(Mutation::ForgetsToKill) => Ok(()),
            Action::Kill(WorkerId { slot, seat }) => {
                match &mut self.sites[at(&slot)].bodies[seat_at(seat)] {
                    Some(body) => body.told = Told::Killed,
                    None => return Err("nobody is killed"),
                }
                Ok(())
            }
            Action::Confirm(_) if laws.mutation == Some(Mutation::ForgetsToAsk) => Ok(()),
            Action::Confirm(slot)
                if laws.mutation == Some(Mutation::StartsBeforeTheBackendsAreGone) =>
            {
                let seen = Seen::Gone;
                self.tell(Event::Backends { slot, seen }, laws)
            }
            Action::Confirm(slot) => {
                let site = &mut self.sites[at(&slot)];
                if std::mem::replace(&mut site.asked, true) {
                    return Err("Postgres is asked twice");
                }
                Ok(())
            }
            Action::TerminateBackends(slot) => {
                let site = self.sites[at(&slot)];
                match site.bodies.iter().flatten().any(|b| b.has_backends(laws)) {
                    true => Err("the backends of a living worker are terminated"),
                    false => Ok(()),
                }
            }
            Action::Removed(slot) => {
                let site = &mut self.sites[at(&slot)];
                site.replaced = false;
                match site.orphans || site.bodies.iter().any(Option::is_some) {
                    true => Err("a slot is removed while there is something of it"),
                    false => Ok(()),
                }
            }
            Action::Roll(RollNews::Ended(_)) => {
                for site in &mut self.sites {
                    site.replaced = false;
                }
                Ok(())
            }
            Action::Ended(_) => {
                self.ended = true;
                let left = |site: &Site| site.bodies.iter().any(Option::is_some);
                match self.sites.iter().any(left) {
                    true => Err("the fleet ends before its processes"),
                    false => Ok(()),
                }
            }
            Action::Moved { .. }
            | Action::AllServing
            | Action::Failed(_)
            | Action::Crashed { .. }
            | Action::Roll(_) => Ok(()),
            Action::Refused(_) => Err("what can be asked is refused"),
        }
    }

    /// The moment at which a process opens its connections.
    fn opens(&self, at: usize, laws: Laws) -> Check {
        let site = self.sites[at];
        if site.bodies.iter().flatten().any(|b| b.has_backends(laws)) {
            return Err("identity: two launched processes of one slot");
        }
        if site.orphans {
            return Err("confirmed handover: launched while its predecessor's backends are there");
        }
        let others = self.sites.iter().enumerate().filter(|(o, _)| *o != at);
        let mut others = others.flat_map(|(_, site)| site.bodies.iter().flatten());
        if others.any(|body| body.opens(laws)) {
            return Err("one launch at a time: two slots open their connections at once");
        }
        Ok(())
    }

    fn is_asked_to_leave(&mut self, at: usize, seat: Seat) -> Check {
        let mut slots = self.fleet.slots.iter();
        let wanted = slots.any(|s| s.plan.slot == slot(at) && s.wanted);
        let for_a_roll = wanted && self.fleet.phase == Phase::Running;
        let mut sites = self.sites.iter().enumerate();
        let beside = sites.any(|(other, site)| other != at && site.replaced);
        let Some(body) = &mut self.sites[at].bodies[seat_at(seat)] else {
            return Ok(());
        };
        if body.told == Told::Nothing {
            body.told = Told::Leave;
        }
        if body.life == Life::Serving && for_a_roll {
            if beside {
                return Err("one at a time: two serving workers are replaced at once");
            }
            self.sites[at].replaced = true;
        }
        Ok(())
    }

    /// What holds at every instant.
    fn check(&self, laws: Laws) -> Check {
        for site in &self.sites {
            let launched = site
                .bodies
                .iter()
                .flatten()
                .filter(|b| b.has_backends(laws));
            match (launched.count(), site.orphans) {
                (0, _) | (1, false) => {}
                (1, true) => {
                    return Err("bound: a launched worker beside a predecessor's backends");
                }
                _ => return Err("identity: two launched processes of one slot"),
            }
        }
        Ok(())
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

/// What happens next when nobody means any harm: workers do as they are told, Postgres answers, and
/// deadlines come only where somebody waits for one.
pub(super) fn kind(steps: &[Step], world: &World) -> Option<Step> {
    let rank = |step: &Step| match *step {
        Step::OrphansVanish(_) => Some(1),
        Step::Boot(..) | Step::Ready(..) | Step::Leave(..) => Some(2),
        Step::Die { at, seat, orphans } => {
            let body = world.sites[at].bodies[seat_at(seat)];
            (!orphans && body.is_some_and(|body| body.told == Told::Killed)).then_some(2)
        }
        Step::Answer { heard, .. } => heard.then_some(3),
        Step::Fire(_, Timer::Ask) => Some(4),
        Step::Fire(_, Timer::Settle) => Some(5),
        Step::Fire(at, Timer::Occupant) => {
            let state = &world.fleet.slots[at].state;
            matches!(state, State::Resting { .. }).then_some(6)
        }
        _ => None,
    };
    let ranked = steps.iter().filter_map(|step| Some((rank(step)?, *step)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, step)| step)
}

/// What happens next when nobody does anything by himself: no worker boots, becomes ready or leaves, and Postgres
/// does not answer. Only deadlines come, and what is killed dies.
pub(super) fn dead(steps: &[Step], world: &World) -> Option<Step> {
    let rank = |step: &Step| match *step {
        Step::Die { at, seat, orphans } => {
            let body = world.sites[at].bodies[seat_at(seat)];
            let killed = body.is_some_and(|body| body.told == Told::Killed);
            killed.then_some(if orphans { 0 } else { 1 })
        }
        Step::Fire(_, Timer::Patience) => Some(2),
        Step::Fire(_, Timer::Occupant | Timer::Successor | Timer::Settle) => Some(3),
        Step::Answer { heard, .. } => (!heard).then_some(4),
        Step::Fire(_, Timer::Ask) => Some(5),
        _ => None,
    };
    let ranked = steps.iter().filter_map(|step| Some((rank(step)?, *step)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, step)| step)
}
