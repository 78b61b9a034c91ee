//! Rows of `pg_stat_activity` → attribution → findings.
//!
//! A census is fed one sample after the other and judges at the end. Two rules make it trustworthy:
//!
//! - *No row is lost.* Every row falls into exactly one [`Owner`], "nobody's" among them.
//! - *No name is guessed.* A session that names its slot and no pool is the one pool's of that app that connects as it does.
//!   Where several do, or none, it stays the slot's, and is counted against what they may have together.
//! - *A closing backend is no excess.* For an instant a backend that ends can be seen beside its
//!   successor. Only sessions (the same pid and `backend_start`) that stand in two consecutive samples
//!   count against the bound; more than that in a single sample is reported as information.

mod declared;
mod findings;

use crate::budget::Plan;
use crate::declare::Topology;
use crate::finding::{Finding, Severity};
use crate::tag::{Name, SlotId};
use crate::units::Connections;
use declared::Declared;
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
    /// A slot's, by its name, which says nothing of a pool.
    Slot {
        /// The slot.
        slot: SlotId,
        /// The app's pools that connect as this role to this database: several, or none.
        among: Vec<Name>,
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
    /// Its sessions that no single pool of it accounts for; most often there are none, and then nothing stands here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unnamed: Vec<UnnamedVerdict>,
}

/// What was observed of the sessions that name a slot and no pool, where no single pool connects as they do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnnamedVerdict {
    /// The pools that they may be of; none where no pool connects as they do.
    pub among: Vec<Name>,
    /// What these pools may have together; all of the slot's where there is none.
    pub declared: Connections,
    /// The most of them in any sample, closing backends left out.
    pub peak: Connections,
    /// The last sample.
    pub now: Connections,
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
/// A slot, and the pools that its sessions may be of.
type Among = (SlotId, Vec<Name>);
type Session = (i32, Option<i64>);

/// A running observation of one fleet.
pub struct Census {
    declared: Declared,
    bound: Connections,
    /// Slots that are known to serve, of programs that open connections when they need them.
    on_demand: BTreeSet<SlotId>,
    seen: BTreeMap<Key, Observed>,
    unnamed: BTreeMap<Among, Observed>,
    /// The unnamed sessions together with those of the pools that they may be of.
    together: BTreeMap<Among, Observed>,
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
    /// Whose name was borrowed, as which roles it should have connected, and by whom.
    foreign_roles: BTreeMap<(SlotId, Option<Name>), (String, Backend)>,
}

#[derive(Default)]
struct Observed {
    sessions: BTreeSet<Session>,
    peak: usize,
    peak_with_closing: usize,
    now: usize,
    /// The youngest session while there were more than declared.
    youngest: Option<Backend>,
}

impl Observed {
    /// The sessions of a sample, of which `max` are declared.
    fn take(&mut self, rows: &[&Backend], max: u32) {
        let now: BTreeSet<Session> = rows.iter().map(|row| session(row)).collect();
        let lasting = now.intersection(&self.sessions).count();
        self.now = now.len();
        self.peak_with_closing = self.peak_with_closing.max(now.len());
        self.peak = self.peak.max(lasting);
        if exceeds(lasting, max) {
            let youngest = rows.iter().max_by_key(|row| row.started);
            self.youngest = youngest.map(|row| (*row).clone());
        }
        self.sessions = now;
    }
}

impl Census {
    /// An observation that knows what was declared.
    #[must_use]
    pub fn new(topology: &Topology, plan: &Plan) -> Self {
        Self {
            declared: Declared::of(topology),
            bound: plan.bound,
            on_demand: BTreeSet::new(),
            seen: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            together: BTreeMap::new(),
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

    /// The same, where somebody knows that these slots serve and that their program opens connections when it needs them:
    /// that one of them holds none is no fault then.
    #[must_use]
    pub fn with_pools_on_demand(mut self, slots: impl IntoIterator<Item = SlotId>) -> Self {
        self.on_demand = slots.into_iter().collect();
        self
    }

    /// Whose a row is.
    #[must_use]
    pub fn attribute(&self, row: &Backend) -> Owner {
        self.declared.attribute(row)
    }

    /// Takes one sample: every row that `pg_stat_activity` had at one moment.
    pub fn sample(&mut self, rows: &[Backend]) {
        let mut by_pool: BTreeMap<Key, Vec<&Backend>> = BTreeMap::new();
        let mut unnamed: BTreeMap<Among, Vec<&Backend>> = BTreeMap::new();
        let mut strays = BTreeMap::new();
        let mut processes: BTreeMap<SlotId, BTreeSet<u32>> = BTreeMap::new();
        self.hidden = 0;
        self.control = 0;
        for row in rows {
            let slot = match self.attribute(row) {
                Owner::Pool { slot, pool } => {
                    by_pool.entry((slot.clone(), pool)).or_default().push(row);
                    slot
                }
                Owner::Slot { slot, among } => {
                    unnamed.entry((slot.clone(), among)).or_default().push(row);
                    slot
                }
                Owner::Control => {
                    self.control += 1;
                    continue;
                }
                Owner::Unattributed => {
                    strays.insert(session(row), row.clone());
                    continue;
                }
                Owner::Command
                | Owner::Parallel
                | Owner::Foreign
                | Owner::Starting
                | Owner::Server => continue,
            };
            if row.backend_type.is_none() {
                self.hidden += 1;
            }
            if let Some(pid) = row.client_pid {
                processes.entry(slot).or_default().insert(pid);
            }
        }
        let ours = by_pool.values().chain(unnamed.values()).flatten();
        let all: BTreeSet<Session> = ours.map(|row| session(row)).collect();
        let lasting = match &self.before {
            Some(before) => all.intersection(before).count(),
            None => 0,
        };
        self.peak_with_closing = self.peak_with_closing.max(all.len());
        self.peak = self.peak.max(lasting);
        self.take_pools(&by_pool);
        self.take_unnamed(&unnamed, &by_pool);
        self.take_strays(strays);
        self.take_processes(processes);
        self.before = Some(all);
        self.samples += 1;
    }

    /// What is known already and has no row in this sample is taken too: it has none now.
    fn take_pools(&mut self, by_pool: &BTreeMap<Key, Vec<&Backend>>) {
        for (key, rows) in by_pool {
            self.note_foreign_role(key, rows);
            self.seen.entry(key.clone()).or_default();
        }
        for (key, observed) in &mut self.seen {
            let rows = by_pool.get(key).map(Vec::as_slice).unwrap_or_default();
            observed.take(rows, self.declared.max(key));
        }
    }

    fn take_unnamed(
        &mut self,
        unnamed: &BTreeMap<Among, Vec<&Backend>>,
        by_pool: &BTreeMap<Key, Vec<&Backend>>,
    ) {
        for (key, rows) in unnamed {
            self.note_borrowed_slot(key, rows);
            self.unnamed.entry(key.clone()).or_default();
        }
        for (key, observed) in &mut self.unnamed {
            let (slot, among) = key;
            let max = self.declared.together(slot, among).0;
            let rows = unnamed.get(key).map(Vec::as_slice).unwrap_or_default();
            observed.take(rows, max);
            let with = |(of, pool): &Key| of == slot && (among.is_empty() || among.contains(pool));
            let named = by_pool.iter().filter(|(key, _)| with(key));
            let others = unnamed
                .iter()
                .filter(|(other, _)| *other != key && other.0 == *slot && among.is_empty());
            let all: Vec<&Backend> = rows
                .iter()
                .chain(named.flat_map(|(_, rows)| rows))
                .chain(others.flat_map(|(_, rows)| rows))
                .copied()
                .collect();
            let together = self.together.entry(key.clone()).or_default();
            together.take(&all, max);
        }
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
        let Some(expected) = self.declared.role(key) else {
            return;
        };
        let foreign = rows.iter().rfind(|row| is_not(row, &[expected]));
        if let Some(row) = foreign {
            let (slot, pool) = key.clone();
            let found = (format!("\"{expected}\""), (*row).clone());
            self.foreign_roles.insert((slot, Some(pool)), found);
        }
    }

    /// A slot's name under a role that no pool of its app has.
    fn note_borrowed_slot(&mut self, (slot, _): &Among, rows: &[&Backend]) {
        let expected = self.declared.roles(slot.app());
        if let Some(row) = rows.iter().rfind(|row| is_not(row, &expected)) {
            let expected: Vec<_> = expected.iter().map(|role| format!("\"{role}\"")).collect();
            let found = (expected.join(" or "), (*row).clone());
            self.foreign_roles.insert((slot.clone(), None), found);
        }
    }

    /// What the samples so far amount to. At least two are needed to tell a lasting excess.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let findings = self.findings();
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
        let seen = self.seen.keys().map(|(slot, _)| slot);
        let seen: BTreeSet<&SlotId> = seen.chain(self.unnamed.keys().map(|(s, _)| s)).collect();
        let declared = self.declared.slots();
        let undeclared = seen.into_iter().filter(|slot| !declared.contains(slot));
        declared
            .iter()
            .chain(undeclared)
            .map(|slot| SlotVerdict {
                slot: slot.clone(),
                pids: self
                    .processes
                    .get(slot)
                    .map(|pids| pids.iter().copied().collect())
                    .unwrap_or_default(),
                pools: self.pools(slot),
                unnamed: self.unnamed_of(slot),
            })
            .collect()
    }

    fn pools(&self, slot: &SlotId) -> Vec<PoolVerdict> {
        let declared = self.declared.pools_of(slot).map(|pool| &pool.name);
        let seen = self.seen.keys().filter(|(of, _)| of == slot);
        let all: BTreeSet<&Name> = declared.chain(seen.map(|(_, pool)| pool)).collect();
        let verdict = |pool: &Name| {
            let key = (slot.clone(), pool.clone());
            let seen = self.seen.get(&key);
            PoolVerdict {
                pool: pool.clone(),
                declared: Connections(self.declared.max(&key)),
                peak: connections(seen.map_or(0, |seen| seen.peak)),
                now: connections(seen.map_or(0, |seen| seen.now)),
            }
        };
        all.into_iter().map(verdict).collect()
    }

    fn unnamed_of(&self, slot: &SlotId) -> Vec<UnnamedVerdict> {
        let of_slot = self.unnamed.iter().filter(|((of, _), _)| of == slot);
        of_slot
            .map(|((_, among), seen)| UnnamedVerdict {
                among: among.clone(),
                declared: self.declared.together(slot, among),
                peak: connections(seen.peak),
                now: connections(seen.now),
            })
            .collect()
    }
}

/// Whether a row is known to be of none of these roles.
fn is_not(row: &Backend, roles: &[&str]) -> bool {
    row.role
        .as_deref()
        .is_some_and(|role| !roles.contains(&role))
}

/// `None` for `started` when the reader may not see it; the pid alone has to do then.
fn session(row: &Backend) -> Session {
    (row.pid, row.started)
}

fn exceeds(observed: usize, declared: u32) -> bool {
    u32::try_from(observed).map_or(true, |observed| observed > declared)
}

fn connections(count: usize) -> Connections {
    Connections(u32::try_from(count).unwrap_or(u32::MAX))
}
