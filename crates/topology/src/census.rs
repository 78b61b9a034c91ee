//! Rows of `pg_stat_activity` → attribution → findings.
//!
//! A census is fed one sample after the other and judges at the end. Two rules make it trustworthy:
//!
//! - *No row is lost.* Every row falls into exactly one [`Owner`], "nobody's" among them.
//! - *A closing backend is no excess.* For an instant a backend that ends can be seen beside its
//!   successor. Only sessions (the same pid and `backend_start`) that stand in two consecutive samples
//!   count against the bound; more than that in a single sample is reported as information.

use crate::budget::{Plan, database_of, role_of};
use crate::declare::Topology;
use crate::finding::{Finding, Kind, Severity};
use crate::tag::{COMMAND, Name, SlotId, Tag};
use crate::units::Connections;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One row of `pg_stat_activity`. What the reader may not see is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backend {
    /// The server process.
    pub pid: i32,
    /// When it was started, in microseconds since the epoch.
    pub started: Option<i64>,
    /// `application_name`.
    pub application_name: String,
    /// The role's name.
    pub role: Option<String>,
    /// The database's name.
    pub database: Option<String>,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: Option<String>,
    /// For how long it has been in that state, in milliseconds by the server's clock.
    pub state_ms: Option<u64>,
    /// For how long its transaction has been open, in milliseconds; none outside of one.
    pub transaction_ms: Option<u64>,
    /// What it waits for, as Postgres says it: `Lock: transactionid`, `Client: ClientRead`.
    pub waits_for: Option<String>,
    /// The beginning of its present or last statement, literals left out.
    pub query: Option<String>,
    /// `client backend`, `parallel worker`, `autovacuum worker`, …
    pub backend_type: Option<String>,
    /// The process that a parallel worker works for.
    pub leader: Option<i32>,
    /// The client's address and port, for a client that came over TCP.
    pub client: Option<String>,
    /// The client's process, where it runs on this host and could be found.
    pub client_pid: Option<u32>,
}

/// Whose a row is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A declared or undeclared slot's, by its name.
    Pool {
        /// The slot.
        slot: SlotId,
        /// The pool.
        pool: Name,
    },
    /// The supervisor's control connection.
    Control,
    /// A short-lived command of Poolwright's.
    Command,
    /// A parallel worker: it takes no client's slot.
    Parallel,
    /// The fleet's role, in the fleet's database, without a name that says whose.
    Unattributed,
    /// Somebody else's session.
    Foreign,
    /// A client that has not said yet who it is (PostgreSQL 18).
    Starting,
    /// The server's own process.
    Server,
}

/// The verdict on what was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether the declaration holds: no finding of severity error.
    pub holds: bool,
    /// The declared bound, without overhead.
    pub bound: Connections,
    /// The most connections of the fleet's pools in any sample, closing backends left out.
    pub peak: Connections,
    /// Control connections in the last sample.
    pub overhead: Connections,
    /// How many samples the verdict rests on.
    pub samples: u64,
    /// Declared and observed, slot by slot; undeclared slots come last.
    pub slots: Vec<SlotVerdict>,
    /// What is not as declared, worst first.
    pub findings: Vec<Finding>,
}

/// What was observed of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotVerdict {
    /// The slot, which is the executor id as well.
    pub slot: SlotId,
    /// Its client processes, where they run on this host.
    pub pids: Vec<u32>,
    /// Its pools.
    pub pools: Vec<PoolVerdict>,
}

/// What was observed of one pool of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolVerdict {
    /// The pool.
    pub pool: Name,
    /// The declared maximum, 0 where the plan does not have it.
    pub declared: Connections,
    /// The most in any sample, closing backends left out.
    pub peak: Connections,
    /// The last sample.
    pub now: Connections,
}

type Key = (SlotId, Name);
type Session = (i32, Option<i64>);

/// A running observation of one fleet.
pub struct Census {
    expected: BTreeMap<Key, Expected>,
    roles: BTreeSet<String>,
    databases: BTreeSet<String>,
    bound: Connections,
    seen: BTreeMap<Key, Observed>,
    before: Option<BTreeSet<Session>>,
    peak: usize,
    peak_with_closing: usize,
    control: u32,
    samples: u64,
    /// Unattributed rows of the latest sample.
    strays_now: BTreeMap<Session, Backend>,
    /// Unattributed rows that stood in two consecutive samples.
    strays: BTreeMap<Session, Backend>,
    hidden: usize,
    /// Client processes of each slot in the latest sample.
    processes: BTreeMap<SlotId, BTreeSet<u32>>,
    /// Client processes that shared a slot in two consecutive samples.
    shared: BTreeMap<SlotId, BTreeSet<u32>>,
    foreign_roles: BTreeMap<Key, (String, Backend)>,
}

struct Expected {
    max: u32,
    role: String,
}

#[derive(Default)]
struct Observed {
    sessions: BTreeSet<Session>,
    peak: usize,
    peak_with_closing: usize,
    now: usize,
    /// The youngest session while the pool was over its maximum.
    youngest: Option<Backend>,
}

impl Census {
    /// An observation that knows what was declared.
    #[must_use]
    pub fn new(topology: &Topology, plan: &Plan) -> Self {
        let mut expected = BTreeMap::new();
        for (app, pool) in topology.pools() {
            for slot in app.slots() {
                expected.insert(
                    (slot, pool.name.clone()),
                    Expected {
                        max: pool.max.value.0,
                        role: role_of(pool),
                    },
                );
            }
        }
        Self {
            expected,
            roles: topology.pools().map(|(_, pool)| role_of(pool)).collect(),
            databases: topology.pools().map(|(_, p)| database_of(p)).collect(),
            bound: plan.bound,
            seen: BTreeMap::new(),
            before: None,
            peak: 0,
            peak_with_closing: 0,
            control: 0,
            samples: 0,
            strays_now: BTreeMap::new(),
            strays: BTreeMap::new(),
            hidden: 0,
            processes: BTreeMap::new(),
            shared: BTreeMap::new(),
            foreign_roles: BTreeMap::new(),
        }
    }

    /// Whose a row is.
    #[must_use]
    pub fn attribute(&self, row: &Backend) -> Owner {
        match row.backend_type.as_deref() {
            Some("parallel worker") => return Owner::Parallel,
            // NULL for a reader without pg_read_all_stats: taken for a client's, so that nothing is
            // missed.
            None | Some("client backend") => {}
            Some(_) => return Owner::Server,
        }
        if row.role.is_none() && row.database.is_none() {
            return match row.backend_type {
                // PostgreSQL 18 shows a session before it has authenticated.
                Some(_) => Owner::Starting,
                // A process of the server's own whose type is hidden from us.
                None => Owner::Server,
            };
        }
        if row.application_name == COMMAND {
            return Owner::Command;
        }
        match row.application_name.parse::<Tag>() {
            Ok(Tag::Pool { slot, pool }) if self.is_our_app(slot.app()) => {
                Owner::Pool { slot, pool }
            }
            Ok(Tag::Control { app }) if self.is_our_app(&app) => Owner::Control,
            _ if self.is_of_the_fleet(row) => Owner::Unattributed,
            _ => Owner::Foreign,
        }
    }

    fn is_our_app(&self, app: &Name) -> bool {
        self.expected.keys().any(|(slot, _)| slot.app() == app)
    }

    fn is_of_the_fleet(&self, row: &Backend) -> bool {
        let of = |name: &Option<String>, ours: &BTreeSet<String>| {
            name.as_ref().is_some_and(|name| ours.contains(name))
        };
        of(&row.role, &self.roles) && of(&row.database, &self.databases)
    }

    /// Takes one sample: every row that `pg_stat_activity` had at one moment.
    pub fn sample(&mut self, rows: &[Backend]) {
        let mut by_pool: BTreeMap<Key, Vec<&Backend>> = BTreeMap::new();
        let mut strays = BTreeMap::new();
        let mut processes: BTreeMap<SlotId, BTreeSet<u32>> = BTreeMap::new();
        self.hidden = 0;
        self.control = 0;
        for row in rows {
            match self.attribute(row) {
                Owner::Pool { slot, pool } => {
                    if row.backend_type.is_none() {
                        self.hidden += 1;
                    }
                    if let Some(pid) = row.client_pid {
                        processes.entry(slot.clone()).or_default().insert(pid);
                    }
                    by_pool.entry((slot, pool)).or_default().push(row);
                }
                Owner::Control => self.control += 1,
                Owner::Unattributed => {
                    strays.insert(session(row), row.clone());
                }
                Owner::Command
                | Owner::Parallel
                | Owner::Foreign
                | Owner::Starting
                | Owner::Server => {}
            }
        }
        let all: BTreeSet<Session> = by_pool.values().flatten().map(|row| session(row)).collect();
        let lasting = |now: &BTreeSet<Session>, before: &Option<BTreeSet<Session>>| match before {
            Some(before) => now.intersection(before).count(),
            None => 0,
        };
        self.peak_with_closing = self.peak_with_closing.max(all.len());
        self.peak = self.peak.max(lasting(&all, &self.before));

        for observed in self.seen.values_mut() {
            observed.now = 0;
        }
        let mut absent: BTreeSet<Key> = self.seen.keys().cloned().collect();
        for (key, rows) in by_pool {
            absent.remove(&key);
            self.note_foreign_role(&key, &rows);
            let max = self.expected.get(&key).map_or(0, |expected| expected.max);
            let observed = self.seen.entry(key).or_default();
            let now: BTreeSet<Session> = rows.iter().map(|row| session(row)).collect();
            let lasting = now.intersection(&observed.sessions).count();
            observed.now = now.len();
            observed.peak_with_closing = observed.peak_with_closing.max(now.len());
            observed.peak = observed.peak.max(lasting);
            if exceeds(lasting, max) {
                observed.youngest = rows
                    .iter()
                    .max_by_key(|row| row.started)
                    .map(|row| (*row).clone());
            }
            observed.sessions = now;
        }
        for key in absent {
            if let Some(observed) = self.seen.get_mut(&key) {
                observed.sessions.clear();
            }
        }
        self.take_strays(strays);
        self.take_processes(processes);
        self.before = Some(all);
        self.samples += 1;
    }

    fn take_strays(&mut self, now: BTreeMap<Session, Backend>) {
        for (session, row) in &now {
            if self.strays_now.contains_key(session) {
                self.strays.insert(*session, row.clone());
            }
        }
        self.strays_now = now;
    }

    fn take_processes(&mut self, now: BTreeMap<SlotId, BTreeSet<u32>>) {
        for (slot, pids) in &now {
            let lasting: BTreeSet<u32> = self
                .processes
                .get(slot)
                .map(|before| pids.intersection(before).copied().collect())
                .unwrap_or_default();
            if lasting.len() > 1 {
                self.shared.insert(slot.clone(), lasting);
            }
        }
        self.processes = now;
    }

    fn note_foreign_role(&mut self, key: &Key, rows: &[&Backend]) {
        let Some(expected) = self.expected.get(key) else {
            return;
        };
        for row in rows {
            if let Some(role) = &row.role
                && *role != expected.role
            {
                self.foreign_roles
                    .insert(key.clone(), (expected.role.clone(), (*row).clone()));
            }
        }
    }

    /// What the samples so far amount to. At least two are needed to tell a lasting excess.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut findings = Vec::new();
        self.total_findings(&mut findings);
        self.pool_findings(&mut findings);
        self.slot_findings(&mut findings);
        self.stray_findings(&mut findings);
        findings.sort_by(|a, b| {
            (b.severity, a.kind, &a.slot, &a.pool).cmp(&(a.severity, b.kind, &b.slot, &b.pool))
        });
        Verdict {
            holds: findings.iter().all(|f| f.severity != Severity::Error),
            bound: self.bound,
            peak: connections(self.peak),
            overhead: Connections(self.control),
            samples: self.samples,
            slots: self.slots(),
            findings,
        }
    }

    fn slots(&self) -> Vec<SlotVerdict> {
        let declared: BTreeSet<&SlotId> = self.expected.keys().map(|(slot, _)| slot).collect();
        let undeclared: BTreeSet<&SlotId> = self
            .seen
            .keys()
            .map(|(slot, _)| slot)
            .filter(|slot| !declared.contains(slot))
            .collect();
        declared
            .into_iter()
            .chain(undeclared)
            .map(|slot| {
                let pools: BTreeSet<&Name> = self
                    .expected
                    .keys()
                    .chain(self.seen.keys())
                    .filter(|(of, _)| of == slot)
                    .map(|(_, pool)| pool)
                    .collect();
                SlotVerdict {
                    slot: slot.clone(),
                    pids: self
                        .processes
                        .get(slot)
                        .map(|pids| pids.iter().copied().collect())
                        .unwrap_or_default(),
                    pools: pools
                        .into_iter()
                        .map(|pool| self.pool(slot, pool))
                        .collect(),
                }
            })
            .collect()
    }

    fn pool(&self, slot: &SlotId, pool: &Name) -> PoolVerdict {
        let key = (slot.clone(), pool.clone());
        let seen = self.seen.get(&key);
        PoolVerdict {
            pool: pool.clone(),
            declared: Connections(self.expected.get(&key).map_or(0, |expected| expected.max)),
            peak: connections(seen.map_or(0, |seen| seen.peak)),
            now: connections(seen.map_or(0, |seen| seen.now)),
        }
    }

    fn total_findings(&self, findings: &mut Vec<Finding>) {
        if exceeds(self.peak, self.bound.0) {
            findings.push(Finding {
                kind: Kind::OverBound,
                severity: Severity::Error,
                slot: None,
                pool: None,
                message: format!(
                    "{} connections of the fleet at once, the plan's bound is {}",
                    self.peak, self.bound
                ),
                cure: "the findings below say which slot and pool they belong to".into(),
            });
        }
        if self.hidden > 0 {
            findings.push(Finding {
                kind: Kind::LimitedView,
                severity: Severity::Warning,
                slot: None,
                pool: None,
                message: format!(
                    "the state of {} sessions is hidden from this role; they were counted by name, parallel workers included",
                    self.hidden
                ),
                cure: "GRANT pg_read_all_stats to the role of [prepare].url, or give its URL".into(),
            });
        }
    }

    fn pool_findings(&self, findings: &mut Vec<Finding>) {
        for ((slot, pool), observed) in &self.seen {
            let key = (slot.clone(), pool.clone());
            let Some(expected) = self.expected.get(&key) else {
                continue;
            };
            let place = |kind, severity, message, cure: &str| Finding {
                kind,
                severity,
                slot: Some(slot.clone()),
                pool: Some(pool.to_string()),
                message,
                cure: cure.to_owned(),
            };
            if exceeds(observed.peak, expected.max) {
                let youngest = observed
                    .youngest
                    .as_ref()
                    .map(|row| format!("; the youngest is {}", describe(row)))
                    .unwrap_or_default();
                findings.push(place(
                    Kind::PoolOverDeclared,
                    Severity::Error,
                    format!(
                        "{slot}:{pool} holds {} connections, declared are {}{youngest}",
                        observed.peak, expected.max
                    ),
                    "give the worker the declared maximum, or end the session that borrows its name",
                ));
            } else if exceeds(observed.peak_with_closing, expected.max) {
                findings.push(place(
                    Kind::ClosingBackend,
                    Severity::Info,
                    format!(
                        "{slot}:{pool} showed {} connections in a single sample, declared are {}: a closing backend beside its successor",
                        observed.peak_with_closing, expected.max
                    ),
                    "nothing: it did not last until the next sample",
                ));
            }
            if self.samples > 1 && observed.peak > 0 && falls_short(observed.peak, expected.max) {
                findings.push(place(
                    Kind::PoolUnderDeclared,
                    Severity::Warning,
                    format!(
                        "{slot}:{pool} holds {} of {} declared connections",
                        observed.peak, expected.max
                    ),
                    "a pool that is opened in full at start shows at once that its budget is there",
                ));
            }
        }
        for ((slot, pool), (declared, row)) in &self.foreign_roles {
            findings.push(Finding {
                kind: Kind::ForeignRole,
                severity: Severity::Error,
                slot: Some(slot.clone()),
                pool: Some(pool.to_string()),
                message: format!(
                    "a session borrows the name {slot}:{pool}, whose pool connects as \"{declared}\": {}",
                    describe(row)
                ),
                cure: format!("end it (SELECT pg_terminate_backend({})) and give that program a name of its own", row.pid),
            });
        }
    }

    fn slot_findings(&self, findings: &mut Vec<Finding>) {
        let declared: BTreeSet<&SlotId> = self.expected.keys().map(|(slot, _)| slot).collect();
        let about = |kind, slot: &SlotId, message, cure: &str| Finding {
            kind,
            severity: Severity::Error,
            slot: Some(slot.clone()),
            pool: None,
            message,
            cure: cure.to_owned(),
        };
        for slot in &declared {
            let held: usize = self
                .seen
                .iter()
                .filter(|((of, _), _)| of == *slot)
                .map(|(_, observed)| observed.now)
                .sum();
            if held == 0 {
                findings.push(about(
                    Kind::MissingWorker,
                    slot,
                    format!("{slot} holds no connection: no worker runs as it"),
                    "start it, or declare fewer instances",
                ));
            }
            if let Some(pids) = self.shared.get(*slot) {
                let list: Vec<String> = pids.iter().map(u32::to_string).collect();
                findings.push(about(
                    Kind::SharedExecutorId,
                    slot,
                    format!(
                        "{} processes connect as {slot}, so as one executor: {}",
                        pids.len(),
                        list.join(", ")
                    ),
                    "end all but one; an executor id belongs to one process",
                ));
            }
        }
        for ((slot, pool), observed) in self.seen.iter().filter(|(_, seen)| seen.peak > 0) {
            if !declared.contains(slot) {
                findings.push(about(
                    Kind::UnknownSlot,
                    slot,
                    format!(
                        "{slot} is not in the plan and holds {} connections as {slot}:{pool}",
                        observed.peak
                    ),
                    "end it, or declare more instances",
                ));
            } else if !self.expected.contains_key(&(slot.clone(), pool.clone())) {
                findings.push(Finding {
                    pool: Some(pool.to_string()),
                    ..about(
                        Kind::UnknownPool,
                        slot,
                        format!(
                            "{slot} has a pool {pool} that the plan does not have, with {} connections",
                            observed.peak
                        ),
                        "declare the pool, or end what opened it",
                    )
                });
            }
        }
    }

    fn stray_findings(&self, findings: &mut Vec<Finding>) {
        for row in self.strays.values() {
            findings.push(Finding {
                kind: Kind::Unattributed,
                severity: Severity::Error,
                slot: None,
                pool: None,
                message: format!("a session of the fleet's role says not whose it is: {}", describe(row)),
                cure: "set its application_name (PGAPPNAME does), or give that program a role of its own".into(),
            });
        }
    }
}

/// `None` for `started` when the reader may not see it; the pid alone has to do then.
fn session(row: &Backend) -> Session {
    (row.pid, row.started)
}

fn exceeds(observed: usize, declared: u32) -> bool {
    u32::try_from(observed).map_or(true, |observed| observed > declared)
}

fn falls_short(observed: usize, declared: u32) -> bool {
    u32::try_from(observed).is_ok_and(|observed| observed < declared)
}

fn connections(count: usize) -> Connections {
    Connections(u32::try_from(count).unwrap_or(u32::MAX))
}

fn describe(row: &Backend) -> String {
    let mut text = format!("backend {} named {:?}", row.pid, row.application_name);
    if let Some(role) = &row.role {
        text += &format!(", role \"{role}\"");
    }
    if let Some(database) = &row.database {
        text += &format!(", database \"{database}\"");
    }
    if let Some(client) = &row.client {
        text += &format!(", from {client}");
    }
    if let Some(pid) = row.client_pid {
        text += &format!(" (process {pid})");
    }
    text
}
