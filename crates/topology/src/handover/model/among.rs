//! One slot among any number of others: what the concrete searches show for two slots and four, for every fleet.
//!
//! The machine asks little about the slots beside one: whether one of them launches, whose turn it is, whether
//! all have arrived. That is [`Others`], and a handful of [`Ghost`]s can stand for every value of it. So
//! one slot is explored in full, with its processes, its Postgres, the user and the adversary of [`super::world`], while at
//! every step the others are exchanged for any others that could be there. Nothing is assumed of how they came
//! to be so, but for what is shown of every slot here as well:
//!
//! - at most one slot launches (or starts a program that was declared foreign), and at most one is being replaced (checked after every step, with the ghosts);
//! - whoever launches stops launching, and whoever is being replaced stops being replaced, in the end and without
//!   anybody's help (checked from every state in which the slot does).
//!
//! The second is what liveness rests on: turns come round, and so it is enough that a slot gets on its feet, and
//! that a reload ends, beside others that are done.
//!
//! That the ghosts leave nothing out is not only argued: every state that the search of two concrete slots reaches,
//! seen from either of them, has to be among those reached here, and its other slot among the ghosts.

use super::search::digest;
use super::world::{Body, Laws, Life, Site, Step, Told, World, dead, has_its_turn, kind, plans};
use crate::handover::slot::{Process, Slot, State, Turn};
use crate::handover::{Outcome, Phase, RollEnd, Seat, SlotPlan};
use crate::tag::SlotId;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The index of the slot that is explored: one that scaling can take away, between two others.
const OURS: usize = 1;

/// All that the machine asks about the slots beside one, and the model's law about them.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent answers, each asked for in one place of the machine"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Others {
    /// One launches: nobody else may.
    launching: bool,
    /// One that comes first waits for its launch.
    waits_first: bool,
    /// One is being replaced.
    under_way: bool,
    /// Its new worker is on its way or watched.
    arriving: bool,
    /// Its worker left and no other serves yet.
    replaced: bool,
    /// The turn of one that comes first comes later.
    waiting_first: bool,
    /// One has a part in the reload, and its failure can end it.
    rolled: bool,
    /// One has never served, and its failure ends a fleet that starts.
    unserved: bool,
    /// All serve or are parked.
    arrived: bool,
    /// There is nothing of any.
    empty: bool,
}

impl Others {
    /// Those beside the slot with that index.
    pub(super) fn of(world: &World, index: usize) -> Self {
        let of = |slot: &Slot| usize::try_from(slot.plan.slot.index()).unwrap();
        let slots = || world.fleet.slots.iter().filter(move |s| of(s) != index);
        let first = || slots().filter(move |s| of(s) < index);
        Self {
            launching: slots().any(Slot::opens),
            waits_first: first().any(Slot::waits),
            under_way: slots().any(has_its_turn),
            arriving: slots().any(|s| matches!(s.turn, Turn::Arriving | Turn::Settling { .. })),
            replaced: slots().any(|s| world.sites[of(s)].replaced),
            waiting_first: first().any(|s| s.turn.is_to_come()),
            rolled: slots().any(|s| s.turn != Turn::None),
            unserved: slots().any(|s| !s.served),
            arrived: slots().all(|s| {
                let left = !s.wanted && s.is_empty();
                left || matches!(s.state, State::Serving { .. } | State::Parked)
            }),
            empty: slots().all(Slot::is_empty),
        }
    }
}

/// A slot that stands for all that are like it.
#[derive(Debug, Clone)]
struct Ghost {
    state: State,
    turn: Turn,
    served: bool,
    /// Not scaled away.
    wanted: bool,
    /// It is being replaced and has left a gap; one that served before its turn came has, one that was down has not.
    replaced: bool,
}

/// The slot before ours and, where there is one, the slot behind it.
type Company = (Ghost, Option<Ghost>);

impl Ghost {
    /// Every one that can be; a program without a channel never waits for its launch.
    fn all(laws: Laws) -> impl Iterator<Item = Self> {
        let until = Duration::ZERO;
        let (seat, process) = (Seat::A, Process::Running);
        let states = [
            State::Vacant,
            State::Booting {
                seat,
                process,
                until,
            },
            State::Booted { seat },
            State::Launching {
                seat,
                started: false,
                until,
            },
            State::Serving {
                seat,
                speaks: laws.program.waits(),
                since: until,
            },
        ];
        let turns = [
            Turn::None,
            Turn::Waiting,
            Turn::Leaving,
            Turn::Arriving,
            Turn::Done,
        ];
        let waits = |s: &State| matches!(s, State::Booted { .. } | State::Launching { .. });
        let states = states
            .into_iter()
            .filter(move |s| laws.program.waits() || !waits(s));
        states.flat_map(move |state| {
            turns.into_iter().flat_map(move |turn| {
                let state = state.clone();
                let serves = matches!(state, State::Serving { .. });
                let may_gap = turn.is_under_way() && !serves;
                let flags = [(true, true), (true, false), (false, true), (false, false)];
                flags.into_iter().flat_map(move |(served, wanted)| {
                    let state = state.clone();
                    let gaps = [false, true].into_iter().filter(move |gap| may_gap || !gap);
                    gaps.map(move |replaced| Self {
                        state: state.clone(),
                        turn,
                        served,
                        wanted,
                        replaced,
                    })
                })
            })
        })
    }

    fn slot(&self, index: usize, laws: Laws) -> Slot {
        let plan = plans(index + 1, laws.program).remove(index);
        let mut slot = Slot::new(Arc::new(plan));
        slot.wanted = self.wanted;
        slot.state = self.state.clone();
        slot.turn = self.turn;
        slot.served = self.served;
        slot
    }

    fn site(&self) -> Site {
        let life = match self.state {
            State::Booting { .. } => Some(Life::Fresh),
            State::Booted { .. } => Some(Life::Booted),
            State::Launching { .. } => Some(Life::Launched),
            State::Serving { .. } => Some(Life::Serving),
            _ => None,
        };
        let told = Told::Nothing;
        Site {
            bodies: [life.map(|life| Body { life, told }), None],
            replaced: self.replaced,
            ..Site::default()
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.turn, Turn::None | Turn::Done)
    }
}

/// Every company that can be told from the others, by what tells it.
fn companies(alone: &World, laws: Laws) -> BTreeMap<Others, Company> {
    let mut companies = BTreeMap::new();
    for before in Ghost::all(laws) {
        for behind in Ghost::all(laws).map(Some).chain([None]) {
            let company = (before.clone(), behind);
            let world = beside(alone, &company, laws);
            let ghosts = || world.fleet.slots.iter().filter(|s| !is_ours(s));
            if ghosts().filter(|s| s.opens()).count() <= 1
                && ghosts().filter(|s| has_its_turn(s)).count() <= 1
            {
                companies.entry(Others::of(&world, OURS)).or_insert(company);
            }
        }
    }
    companies
}

/// What can happen next, seen from one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// To it, or to the whole fleet.
    Own(Step),
    /// Nothing but that the others are what they are now.
    Others,
    /// The user has others replaced.
    RollOthers,
    /// Another one's failure ends the reload.
    OthersEndTheRoll,
    /// Another one's failure ends a fleet that starts.
    OthersEndTheFleet,
}

/// What was reached.
#[derive(Debug)]
pub(super) struct Reached {
    states: HashSet<u128>,
    companies: BTreeMap<Others, Company>,
    pub(super) steps: usize,
}

/// What is broken, and the shortest way there.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) what: &'static str,
    way: Vec<(Move, Others)>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, after", self.what)?;
        let mut way = self.way.iter();
        way.try_for_each(|(step, others)| writeln!(f, "  {step:?} beside {others:?}"))
    }
}

impl Reached {
    pub(super) fn states(&self) -> usize {
        self.states.len()
    }

    /// Whether a state of concrete slots, seen from each of them, is among what was reached.
    pub(super) fn has(&self, world: &World) -> Result<(), String> {
        for index in (0..world.sites.len()).filter(|_| !world.ended) {
            let seen = seen_from(world, index);
            if !self.states.contains(&digest(&seen)) {
                return Err(format!("not reached: slot {index} of {world:?}"));
            }
            let others = Others::of(world, index);
            if !self.companies.contains_key(&others) {
                return Err(format!("no ghosts for {others:?}"));
            }
        }
        Ok(())
    }
}

/// One slot, with whatever can befall it, beside whatever others.
pub(super) fn explore(laws: Laws) -> Result<Reached, Broken> {
    let laws = Laws {
        slots: OURS + 1,
        most: OURS + 2,
        ..laws
    };
    let broken = |what, way| Broken { what, way };
    let first = World::new(laws).map_err(|what| broken(what, Vec::new()))?;
    let first = seen_from(&first, OURS);
    let companies = companies(&first, laws);
    let mut known = HashMap::from([(digest(&first), 0)]);
    let mut from: Vec<Option<(usize, Move, Others)>> = vec![None];
    let way = |from: &[Option<_>], mut at: usize| {
        let mut way = Vec::new();
        while let Some((before, step, others)) = from[at] {
            way.push((step, others));
            at = before;
        }
        way.reverse();
        way
    };
    let mut worlds = vec![first.clone()];
    let mut frontier = VecDeque::from([first]);
    let (mut at, mut steps) = (0, 0);
    while let Some(alone) = frontier.pop_front() {
        for (&others, company) in companies.iter().filter(|(o, _)| fits(&alone, **o)) {
            let world = beside(&alone, company, laws);
            for step in moves(&world, others, laws) {
                steps += 1;
                let next = after(&world, step, laws).map_err(|what| {
                    let mut way = way(&from, at);
                    way.push((step, others));
                    broken(what, way)
                })?;
                let next = seen_from(&next, OURS);
                let new = worlds.len();
                if *known.entry(digest(&next)).or_insert(new) == new {
                    from.push(Some((at, step, others)));
                    worlds.push(next.clone());
                    frontier.push_back(next);
                }
            }
        }
        at += 1;
    }
    for (at, alone) in worlds.iter().enumerate() {
        comes_round(alone, &companies, laws).map_err(|what| broken(what, way(&from, at)))?;
    }
    Ok(Reached {
        states: known.into_keys().collect(),
        companies,
        steps,
    })
}

/// Whether others like these can be beside a slot in this state.
fn fits(alone: &World, others: Others) -> bool {
    let ours = alone.fleet.slots.first();
    // Scaling leaves every app a slot.
    let somebody = !others.empty
        || ours.is_some_and(|slot| slot.wanted)
        || matches!(alone.fleet.phase, Phase::Stopping(_));
    somebody
        && !(others.launching && ours.is_some_and(Slot::opens))
        && !(others.under_way && ours.is_some_and(has_its_turn))
        && (alone.fleet.rolling.is_some() || !others.rolled)
}

/// The fleet that one slot is a part of in this company.
fn beside(alone: &World, (before, behind): &Company, laws: Laws) -> World {
    let mut world = alone.clone();
    world.fleet.slots.insert(0, before.slot(OURS - 1, laws));
    world.sites[OURS - 1] = before.site();
    if let Some(behind) = behind {
        world.fleet.slots.push(behind.slot(OURS + 1, laws));
        world.sites[OURS + 1] = behind.site();
    }
    world
}

/// A fleet without the other slots, the one that is left in the place of ours.
fn seen_from(world: &World, index: usize) -> World {
    let mut seen = world.clone();
    let id = |slot: &SlotId| usize::try_from(slot.index()).unwrap();
    seen.fleet.slots.retain(|slot| id(&slot.plan.slot) == index);
    for slot in &mut seen.fleet.slots {
        let ours = u32::try_from(OURS).unwrap();
        slot.plan = Arc::new(SlotPlan {
            slot: SlotId::new(slot.plan.slot.app().clone(), ours),
            ..(*slot.plan).clone()
        });
    }
    seen.sites = vec![Site::default(); OURS + 2];
    seen.sites[OURS] = world.sites[index];
    seen
}

fn is_ours(slot: &Slot) -> bool {
    usize::try_from(slot.plan.slot.index()) == Ok(OURS)
}

fn moves(world: &World, others: Others, laws: Laws) -> Vec<Move> {
    if world.ended {
        return Vec::new();
    }
    let mut moves: Vec<_> = own(world, laws).into_iter().map(Move::Own).collect();
    moves.push(Move::Others);
    if world.fleet.phase == Phase::Running && world.fleet.rolling.is_none() {
        moves.push(Move::RollOthers);
    }
    if others.rolled {
        moves.push(Move::OthersEndTheRoll);
    }
    if others.unserved && world.fleet.phase == Phase::Starting {
        moves.push(Move::OthersEndTheFleet);
    }
    moves
}

/// The steps that are not another slot's.
fn own(world: &World, laws: Laws) -> Vec<Step> {
    let ours = world.fleet.slots.iter().position(is_ours);
    let mut steps = world.steps(laws, usize::MAX);
    steps.retain(|step| match *step {
        Step::Boot(at, _)
        | Step::Ready(at, _)
        | Step::Leave(at, _)
        | Step::Die { at, .. }
        | Step::OrphansVanish(at)
        | Step::Answer { at, .. } => at == OURS,
        Step::Fire(at, _) => Some(at) == ours,
        Step::Reload | Step::Restart | Step::Scale(_) | Step::Stop | Step::SupervisorKilled => true,
    });
    steps
}

fn after(world: &World, step: Move, laws: Laws) -> Result<World, &'static str> {
    let next = match step {
        Move::Own(step) => world.after(step, laws)?,
        Move::Others => world.nudged(|_, _| {}, laws)?,
        Move::RollOthers => world.rolled(|slot| !is_ours(slot), laws)?,
        Move::OthersEndTheRoll => {
            let end = |fleet: &mut crate::handover::Fleet, actions: &mut Vec<_>| {
                fleet.end_roll(RollEnd::Stopped, Duration::ZERO, actions);
            };
            world.nudged(end, laws)?
        }
        Move::OthersEndTheFleet => {
            let end = |fleet: &mut crate::handover::Fleet, actions: &mut Vec<_>| {
                fleet.stop(Outcome::Stopped, Duration::ZERO, actions);
            };
            world.nudged(end, laws)?
        }
    };
    let count = |is: fn(&Slot) -> bool| next.fleet.slots.iter().filter(|s| is(s)).count();
    if count(Slot::opens) > 1 {
        return Err("one launch at a time: two slots launch");
    }
    if count(has_its_turn) > 1 {
        return Err("one at a time: two slots are being replaced");
    }
    Ok(next)
}

/// Who decides what happens next.
type Schedule = fn(&[Step], &World) -> Option<Step>;

/// That a slot in this state gives back what only one can have, and gets on its feet, or ends its reload, when the others
/// want nothing of it any more.
fn comes_round(
    alone: &World,
    companies: &BTreeMap<Others, Company>,
    laws: Laws,
) -> Result<(), &'static str> {
    let ours = alone.fleet.slots.first();
    let launches = ours.is_some_and(Slot::opens);
    let replaced = ours.is_some_and(has_its_turn);
    for (&others, company) in companies.iter().filter(|(o, _)| fits(alone, **o)) {
        let schedules: [Schedule; 2] = [kind, dead];
        for schedule in schedules {
            let until = |goal: fn(&World) -> bool| leads(alone, company, schedule, goal, laws);
            if launches
                && !until(|world| !world.fleet.slots.iter().any(|s| is_ours(s) && s.opens()))
            {
                return Err("a launch does not end");
            }
            let free = !others.launching && !others.waits_first;
            if replaced
                && free
                && !until(|world| {
                    !world
                        .fleet
                        .slots
                        .iter()
                        .any(|s| is_ours(s) && has_its_turn(s))
                })
            {
                return Err("a slot's turn does not end");
            }
        }
        let (before, behind) = company;
        let done = before.is_done() && behind.as_ref().is_none_or(Ghost::is_done);
        let stopping = matches!(alone.fleet.phase, Phase::Stopping(_));
        if done
            && if stopping {
                others.empty
            } else {
                others.arrived
            }
        {
            if !leads(alone, company, dead, World::nothing_rolls, laws) {
                return Err("a reload does not end though every deadline came");
            }
            if !leads(alone, company, kind, World::rests, laws) {
                return Err("the slot does not recover though nobody harms it any more");
            }
        }
    }
    Ok(())
}

/// Whether a schedule leads to the goal beside others that stay as they are.
fn leads(
    alone: &World,
    company: &Company,
    schedule: Schedule,
    goal: impl Fn(&World) -> bool,
    laws: Laws,
) -> bool {
    let mut seen = HashSet::new();
    let mut alone = alone.clone();
    while seen.insert(digest(&alone)) {
        let world = beside(&alone, company, laws);
        if goal(&world) || goal(&alone) {
            return true;
        }
        let step = match after(&world, Move::Others, laws) {
            // Whatever the machine does by itself comes first.
            Ok(next) if !seen.contains(&digest(&seen_from(&next, OURS))) => Ok(next),
            _ => match schedule(&own(&world, laws), &world) {
                Some(step) => world.after(step, laws),
                None => return false,
            },
        };
        let Ok(next) = step else { return false };
        if goal(&next) {
            return true;
        }
        alone = seen_from(&next, OURS);
    }
    false
}
