//! What happens next once the adversary rests.

use super::{Step, Told, World, seat_at};
use crate::handover::slot::State;
use crate::handover::timers::Timer;

/// What happens next when nobody means any harm: workers do as they are told, Postgres answers, and
/// deadlines come only where somebody waits for one.
pub(crate) fn kind(steps: &[Step], world: &World) -> Option<Step> {
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
pub(crate) fn dead(steps: &[Step], world: &World) -> Option<Step> {
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
