//! One view of a running fleet from both sides: what its workers and its supervisor say, and what Postgres shows.
//!
//! Either side alone can be wrong. A worker counts what it believes to have open; Postgres shows what is there, and not
//! who waits for it. So each number keeps its side's name here ([`SlotStatus::gauges`] was said, [`Shown`] was
//! seen), and where the two differ for longer than a sample, that is a finding ([`Join`]).
//!
//! The alternative that lost: one merged number per pool. It is right until the day on which somebody looks at it.

mod history;
mod join;
mod prometheus;
mod starved;
#[cfg(test)]
mod tests;

pub use history::{History, Mark};
pub use join::Join;
pub use prometheus::{METRICS, Metric, MetricKind};

use crate::census::Backend;
use crate::finding::Finding;
use crate::status::SlotStatus;
use crate::tag::{Name, SlotId};
use crate::units::Connections;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A picture, and what is only told to whoever asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The fleet.
    pub picture: Picture,
    /// The sessions of each slot, by pool and age of their transaction, oldest first.
    pub sessions: BTreeMap<SlotId, Vec<Session>>,
}

/// A fleet at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The supervisor's process.
    pub pid: u32,
    /// Since when it runs, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// What the supervisor itself costs.
    pub usage: Option<Usage>,
    /// The budget, and what of it is used.
    pub budget: Budget,
    /// Whether Postgres answered; when not, everything that it showed is from the last time it did.
    pub postgres: Reach,
    /// The apps, in the order in which they launch.
    pub apps: Vec<AppPicture>,
    /// What is not as declared, worst first.
    pub findings: Vec<Finding>,
}

/// Declared and seen, over all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// What the pools may open, for the workers that the fleet has now.
    pub bound: Connections,
    /// The supervisor's own connections.
    pub overhead: Connections,
    /// What the servers have for ordinary roles.
    pub usable: Connections,
    /// The connections of the fleet's pools that Postgres showed.
    pub seen: Connections,
}

/// Whether Postgres answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Reach {
    /// It did.
    Answers,
    /// It does not.
    Silent {
        /// Why, in words.
        reason: String,
    },
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppPicture {
    /// Its name.
    pub app: Name,
    /// Where it listens.
    pub listen: Option<SocketAddr>,
    /// How many workers it is to have.
    pub instances: u32,
    /// Whether one of its pools belongs to a DBOS executor, so that each of its workers has one.
    #[serde(default)]
    pub executor: bool,
    /// Its slots, lowest first.
    pub slots: Vec<SlotPicture>,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotPicture {
    /// What supervisor and worker say: state, process, restarts, declared maxima, gauges.
    #[serde(flatten)]
    pub status: SlotStatus,
    /// What its process costs.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// What Postgres showed of each pool, by name; a pool that is missing had no session.
    #[serde(default)]
    pub shown: BTreeMap<String, Shown>,
    /// What it showed under the slot's name alone, where no single pool accounts for it; nothing where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<Shown>,
}

/// What a process costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// Processor time since the last sample, in cores: 1.0 is one core, all the time.
    pub cores: f64,
}

/// What Postgres showed of one pool of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shown {
    /// Its sessions.
    pub open: u32,
    /// The same by state: `active`, `idle`, `idle in transaction`, …; `hidden` where this role may not see it.
    pub states: BTreeMap<String, u32>,
    /// For how long its oldest transaction has been open, in milliseconds.
    pub oldest_transaction_ms: Option<u64>,
}

/// One session, for whoever wants to know what a slot does right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The pool's name, or nothing for a session that names its slot alone and may be of several pools, or of none.
    pub pool: Option<String>,
    /// The server's process.
    pub pid: i32,
    /// Its state.
    pub state: String,
    /// For how long, in milliseconds.
    pub state_ms: Option<u64>,
    /// For how long its transaction has been open, in milliseconds.
    pub transaction_ms: Option<u64>,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// The beginning of its present or last statement, literals left out.
    pub query: Option<String>,
}

impl Shown {
    fn add(&mut self, row: &Backend) {
        self.open += 1;
        let state = row.state.as_deref().unwrap_or("hidden");
        *self.states.entry(state.to_owned()).or_default() += 1;
        self.oldest_transaction_ms = self.oldest_transaction_ms.max(row.transaction_ms);
    }
}

impl Session {
    fn of(pool: Option<&Name>, row: &Backend) -> Self {
        Self {
            pool: pool.map(Name::to_string),
            pid: row.pid,
            state: row.state.clone().unwrap_or_else(|| "hidden".to_owned()),
            state_ms: row.state_ms,
            transaction_ms: row.transaction_ms,
            waits_for: row.waits_for.clone(),
            query: row.query.clone(),
        }
    }
}
