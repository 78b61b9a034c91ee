//! Both sides, sample by sample → a [`Picture`].

use super::starved::Starved;
use super::{AppPicture, Budget, Picture, Reach, Session, Shown, SlotPicture, Usage, View};
use crate::budget::Plan;
use crate::census::{Backend, Census, Owner};
use crate::declare::Topology;
use crate::finding::{Finding, Kind, Severity};
use crate::handover::SlotState;
use crate::status::{AppStatus, FleetStatus, SlotStatus};
use crate::tag::SlotId;
use crate::units::Connections;
use std::collections::{BTreeMap, BTreeSet};

/// How many samples in a row the two sides have to differ. A worker reports once a second and so does Postgres, each at its
/// own moment: a connection that is opened or closed in between is no disagreement.
const LASTING: u32 = 3;

pub(super) type Place = (SlotId, String);

/// Joins what the supervisor says with what Postgres shows, and remembers as much of earlier samples as it takes to tell a
/// disagreement from a moment.
pub struct Join {
    topology: Topology,
    plan: Plan,
    census: Census,
    shown: BTreeMap<Place, Shown>,
    unnamed: BTreeMap<SlotId, Shown>,
    sessions: BTreeMap<SlotId, Vec<Session>>,
    seen: u32,
    /// The fleet's sessions of the last sample, and how many of the ones before are among them: what ends beside its
    /// successor stands in one sample only.
    present: BTreeSet<(i32, Option<i64>)>,
    lasting: u32,
    /// For how many samples in a row a worker has counted something else than Postgres.
    differ: BTreeMap<Place, u32>,
    starved: Starved,
    /// Whether Postgres answered in the last sample, what came of it, and what the processes cost then.
    postgres: Reach,
    budget: Option<Budget>,
    found: Vec<Finding>,
    usage: BTreeMap<u32, Usage>,
}

impl Join {
    /// For a fleet that was planned so.
    #[must_use]
    pub fn new(topology: Topology, plan: Plan) -> Self {
        Self {
            census: Census::new(&topology, &plan),
            topology,
            plan,
            shown: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            sessions: BTreeMap::new(),
            seen: 0,
            present: BTreeSet::new(),
            lasting: 0,
            differ: BTreeMap::new(),
            starved: Starved::default(),
            postgres: Reach::Silent {
                reason: "it was not asked yet".to_owned(),
            },
            budget: None,
            found: Vec::new(),
            usage: BTreeMap::new(),
        }
    }

    /// The next sample: the supervisor's word, the rows of `pg_stat_activity` or why there are none, and what the
    /// processes cost, by pid.
    pub fn view(
        &mut self,
        status: FleetStatus,
        rows: Result<&[Backend], String>,
        usage: &BTreeMap<u32, Usage>,
        at_unix_ms: u64,
    ) -> View {
        let answered = rows.is_ok();
        self.postgres = match rows {
            Ok(rows) => {
                self.look(rows);
                Reach::Answers
            }
            Err(reason) => Reach::Silent { reason },
        };
        self.usage.clone_from(usage);
        let budget = self.budget_of(&status);
        self.budget = Some(budget);
        let mut findings = Vec::new();
        if answered {
            let slots = status.apps.iter().flat_map(|app| &app.slots);
            self.compare(slots.clone(), &mut findings);
            findings.extend(self.starved.look(&self.topology, slots, &self.sessions));
            if self.lasting > budget.bound.0 {
                findings.push(over(self.lasting, budget.bound));
            }
        }
        self.found = findings;
        self.joined(status, at_unix_ms)
    }

    /// The supervisor's word between two samples, because something has just happened. Postgres' side is that of the last
    /// sample, and so are the budget, which is about it, and what was found in both.
    pub fn told(&self, status: FleetStatus, at_unix_ms: u64) -> View {
        self.joined(status, at_unix_ms)
    }

    fn joined(&self, status: FleetStatus, at_unix_ms: u64) -> View {
        let mut findings = self.found.clone();
        let slots = status.apps.iter().flat_map(|app| &app.slots);
        findings.extend(slots.filter_map(parked));
        findings.sort_by(|a, b| {
            (b.severity, a.kind, &a.slot, &a.pool).cmp(&(a.severity, b.kind, &b.slot, &b.pool))
        });
        let budget = self.budget.unwrap_or_else(|| self.budget_of(&status));
        let apps = status.apps.into_iter().map(|app| AppPicture {
            executor: self.has_executor(&app),
            app: app.app,
            listen: app.listen,
            instances: app.instances,
            slots: app.slots.into_iter().map(|slot| self.slot(slot)).collect(),
        });
        let picture = Picture {
            at_unix_ms,
            pid: status.pid,
            since_unix_ms: status.since_unix_ms,
            usage: self.usage.get(&status.pid).copied(),
            budget,
            postgres: self.postgres.clone(),
            apps: apps.collect(),
            findings,
        };
        View {
            picture,
            sessions: self.sessions.clone(),
        }
    }

    fn look(&mut self, rows: &[Backend]) {
        self.shown.clear();
        self.unnamed.clear();
        self.sessions.clear();
        let before = std::mem::take(&mut self.present);
        for row in rows {
            let (slot, pool) = match self.census.attribute(row) {
                Owner::Pool { slot, pool } => (slot, Some(pool)),
                Owner::Slot { slot, .. } => (slot, None),
                _ => continue,
            };
            self.present.insert((row.pid, row.started));
            let sessions = self.sessions.entry(slot.clone()).or_default();
            sessions.push(Session::of(pool.as_ref(), row));
            let shown = match pool {
                Some(pool) => self.shown.entry((slot, pool.to_string())).or_default(),
                None => self.unnamed.entry(slot).or_default(),
            };
            shown.add(row);
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.seen = count(self.present.len());
        self.lasting = count(self.present.intersection(&before).count());
        for sessions in self.sessions.values_mut() {
            sessions.sort_by(|a, b| {
                (&a.pool, b.transaction_ms, a.pid).cmp(&(&b.pool, a.transaction_ms, b.pid))
            });
        }
    }

    /// Workers' counts against Postgres'. Only of slots that serve: a worker that comes or goes opens and closes.
    fn compare<'a>(
        &mut self,
        slots: impl Iterator<Item = &'a SlotStatus>,
        findings: &mut Vec<Finding>,
    ) {
        let mut now = BTreeSet::new();
        for status in slots.filter(|status| status.state == SlotState::Serving) {
            for (pool, gauge) in &status.gauges {
                let place = (status.slot.clone(), pool.clone());
                let shown = self.shown.get(&place).map_or(0, |shown| shown.open);
                if shown == gauge.open {
                    continue;
                }
                let lasts = self.differ.entry(place.clone()).or_default();
                *lasts = lasts.saturating_add(1);
                if *lasts >= LASTING {
                    findings.push(two_counts(&place, gauge.open, shown));
                }
                now.insert(place);
            }
        }
        self.differ.retain(|place, _| now.contains(place));
    }

    /// The plan's sum for as many workers as there are or leave.
    fn budget_of(&self, status: &FleetStatus) -> Budget {
        let of_app = |app: &crate::declare::App| {
            let slots = status.apps.iter().find(|found| found.app == app.name);
            let slots = slots.map_or(app.instances.value.0, |found| {
                let present = u32::try_from(found.slots.len()).unwrap_or(u32::MAX);
                present.max(found.instances)
            });
            let pools = app.pools.iter().map(|pool| pool.max.value.0);
            let each = pools.fold(0_u32, u32::saturating_add);
            slots.saturating_mul(each)
        };
        let bound = self.topology.apps.iter().map(of_app);
        Budget {
            bound: Connections(bound.fold(0, u32::saturating_add)),
            overhead: self.plan.overhead,
            usable: self.plan.usable,
            seen: Connections(self.seen),
        }
    }

    fn has_executor(&self, app: &AppStatus) -> bool {
        let declared = self.topology.app(app.app.as_str());
        declared.is_some_and(|app| app.pools.iter().any(|pool| pool.executor))
    }

    fn slot(&self, status: SlotStatus) -> SlotPicture {
        let shown = status.pools.keys().filter_map(|pool| {
            let shown = self.shown.get(&(status.slot.clone(), pool.clone()))?;
            Some((pool.clone(), shown.clone()))
        });
        SlotPicture {
            shown: shown.collect(),
            unnamed: self.unnamed.get(&status.slot).cloned(),
            usage: status.pid.and_then(|pid| self.usage.get(&pid).copied()),
            status,
        }
    }
}

fn two_counts((slot, pool): &Place, said: u32, shown: u32) -> Finding {
    let cure = match said < shown {
        true => {
            "look for a second pool or client under this name, or for sessions that a proxy keeps"
        }
        false => {
            "look for connections that broke without the pool's notice: it will find out when it uses them"
        }
    };
    Finding {
        kind: Kind::TwoCounts,
        severity: Severity::Warning,
        slot: Some(slot.clone()),
        pool: Some(pool.clone()),
        message: format!("{slot}:{pool} counts {said} open connections, Postgres shows {shown}"),
        cure: cure.to_owned(),
    }
}

fn parked(status: &SlotStatus) -> Option<Finding> {
    if status.state != SlotState::Parked {
        return None;
    }
    let reason = status.last_failure.as_deref().unwrap_or("it kept failing");
    Some(Finding {
        kind: Kind::SlotParked,
        severity: Severity::Error,
        slot: Some(status.slot.clone()),
        pool: None,
        message: format!("{} is parked: {reason}", status.slot),
        cure: "mend what it fails of, then `poolwright restart` it".to_owned(),
    })
}

fn over(lasting: u32, bound: Connections) -> Finding {
    Finding {
        kind: Kind::OverBound,
        severity: Severity::Error,
        slot: None,
        pool: None,
        message: format!("{lasting} connections of the fleet at once, the plan's bound is {bound}"),
        cure: "`poolwright verify` says which slot and pool they belong to".to_owned(),
    }
}
