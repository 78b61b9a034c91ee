//! What the machine's actions do to the world, and what none of them may.

use super::{Body, Check, Laws, Life, Mutation, Site, Told, World, at, seat_at, slot};
use crate::handover::{Action, Event, Phase, RollNews, Seat, Seen, WorkerEvent, WorkerId};

impl World {
    pub(super) fn enact_all(&mut self, actions: Vec<Action>, laws: Laws) -> Check {
        for action in actions {
            self.enact(action, laws)?;
        }
        Ok(())
    }

    pub(super) fn enact(&mut self, action: Action, laws: Laws) -> Check {
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
    pub(super) fn check(&self, laws: Laws) -> Check {
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
