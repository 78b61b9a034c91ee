//! A running fleet as its supervisor knows it: what `status` shows, and one side of the [`picture`](crate::picture).

use crate::channel::Gauge;
use crate::handover::SlotState;
use crate::tag::{Name, SlotId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// How many steps before the last one are told of a slot: with it the three of a whole reload, and the one before.
pub const EARLIER_STEPS: usize = 3;

/// A running fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The supervisor's process.
    pub pid: u32,
    /// Since when it runs, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Its apps, in the order in which they launch.
    pub apps: Vec<AppStatus>,
}

/// An app of a running fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    /// Its name.
    pub app: Name,
    /// Where it listens.
    pub listen: Option<SocketAddr>,
    /// How many workers it is to have: what `scale` said last. A slot beyond them is leaving.
    pub instances: u32,
    /// Its slots, lowest first.
    pub slots: Vec<SlotStatus>,
}

/// A slot of a running fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// The slot.
    pub slot: SlotId,
    /// What it is doing.
    pub state: SlotState,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// The last step of a reload or restart that it took.
    #[serde(default)]
    pub last_step: Option<StepTaken>,
    /// Those before it, oldest first, at most [`EARLIER_STEPS`]: some follow each other faster than anybody looks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_steps: Vec<StepTaken>,
    /// Its process, if there is one.
    pub pid: Option<u32>,
    /// The process of the successor that boots beside it, during a reload.
    #[serde(default)]
    pub successor_pid: Option<u32>,
    /// Which reload or restart its process comes from: 1 is the fleet's start.
    #[serde(default)]
    pub generation: Option<u32>,
    /// How often its process was started again after a failure, in all.
    pub restarts: u32,
    /// How many failures it has not made up for by serving since: these decide the pauses, and when the
    /// slot is parked.
    #[serde(default)]
    pub failures: u32,
    /// Its last failure in words: of a parked slot, the reason.
    #[serde(default)]
    pub last_failure: Option<String>,
    /// The executor id that its worker reported, or that a foreign program was given; none where no pool belongs to an
    /// executor.
    pub executor_id: Option<String>,
    /// What its worker says it is doing (`STATUS=` of `sd_notify`), if it says anything.
    #[serde(default)]
    pub says: Option<String>,
    /// The declared maximum of each pool, by name.
    pub pools: BTreeMap<String, u32>,
    /// The state of each pool as its worker last reported it, by name.
    pub gauges: BTreeMap<String, Gauge>,
}

/// What a slot does in a reload or restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The successor boots beside its predecessor.
    Boots,
    /// The predecessor was asked to leave.
    Drains,
    /// The new worker serves.
    Serves,
}

/// A step of a reload or restart, and when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTaken {
    /// What.
    pub step: Step,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
}
