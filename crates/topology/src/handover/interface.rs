//! What goes into the handover and what comes out.

use super::exit::Exit;
use super::failure::Failure;
use crate::channel::FromWorker;
use crate::tag::SlotId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How a worker shows that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// It says `ready` on the channel.
    Channel,
    /// It says `READY=1` on `NOTIFY_SOCKET`.
    Notify,
    /// It listens on its declared port.
    Listening,
}

/// What is planned for one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotPlan {
    /// The slot, and the only executor id its worker may report.
    pub slot: SlotId,
    /// How its worker shows that it serves.
    pub readiness: Readiness,
    /// How long it may take from its start to `booted`, and again from `launch` to ready.
    pub ready_timeout: Duration,
    /// How long it may take from SIGTERM to its end, before [`super::KILL_GRACE`].
    pub drain_timeout: Duration,
    /// The declared maximum of each pool, by name.
    pub pools: BTreeMap<String, u32>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The fleet is wanted. Only the first one counts.
    Start,
    /// Something happened to the worker in `slot`.
    Slot {
        /// The slot.
        slot: SlotId,
        /// What happened.
        event: SlotEvent,
    },
    /// The moment that [`super::Fleet::poll_timeout`] named has come. One that comes early does nothing.
    Timeout,
    /// The fleet shall drain and end.
    Stop,
    /// The fleet shall end at once.
    Kill,
}

/// Something that happened to one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotEvent {
    /// The process that [`Action::Spawn`] asked for runs.
    Spawned,
    /// It could not be started.
    SpawnFailed {
        /// Why, in words.
        reason: String,
    },
    /// It said something on its channel.
    Said(FromWorker),
    /// It was seen to serve, by other means than its channel.
    SeenReady,
    /// It is gone.
    Exited(Exit),
}

/// What the supervisor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a process for this slot; answer with [`SlotEvent::Spawned`] or
    /// [`SlotEvent::SpawnFailed`].
    Spawn(SlotId),
    /// Send `launch`.
    Launch(SlotId),
    /// Send SIGTERM.
    Terminate(SlotId),
    /// Send SIGKILL.
    Kill(SlotId),
    /// Nothing to do but to tell: a slot changed its state.
    Moved {
        /// The slot.
        slot: SlotId,
        /// The state it left.
        from: SlotState,
        /// The state it is in now.
        to: SlotState,
    },
    /// Nothing to do but to tell: every slot serves.
    AllServing,
    /// Nothing to do but to tell: the fleet stops because of this; the others drain.
    Failed(Failure),
    /// Every process is gone; nothing comes after this.
    Ended(Outcome),
}

/// The state of a slot, as shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// No process.
    Vacant,
    /// The process is asked for or runs, and has opened nothing.
    Booting,
    /// It waits for its turn to launch.
    Booted,
    /// It opens its pools and launches its executor.
    Launching,
    /// It answers requests.
    Serving,
    /// It finishes what it has.
    Draining,
}

/// How the fleet ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to stop.
    Stopped,
    /// A worker failed; the others were drained.
    Failed(Failure),
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vacant => "vacant",
            Self::Booting => "booting",
            Self::Booted => "booted",
            Self::Launching => "launching",
            Self::Serving => "serving",
            Self::Draining => "draining",
        })
    }
}
