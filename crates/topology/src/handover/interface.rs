//! What goes into the handover and what comes out.

use super::exit::Exit;
use super::failure::Failure;
use super::policy::Consequence;
use crate::channel::FromWorker;
use crate::tag::{Name, SlotId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How a worker shows that it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// It says `booted` on the channel and waits for its turn, then `started` and `ready`. One that only says `ready` is
    /// taken for a foreign program from then on.
    Channel,
    /// It says `ready` on the channel, and nothing else.
    Pm2,
    /// It says `READY=1` on `NOTIFY_SOCKET`.
    Notify,
    /// It listens on its declared port.
    Listening,
    /// It waits for connections on the socket that it was handed.
    Accepting,
}

impl Readiness {
    /// Whether the program is known to be foreign: it opens its connections from its start, when it likes.
    #[must_use]
    pub const fn is_foreign(self) -> bool {
        !matches!(self, Self::Channel)
    }
}

/// What is planned for one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotPlan {
    /// The slot, and the only executor id its worker may report.
    pub slot: SlotId,
    /// How its worker shows that it serves.
    pub readiness: Readiness,
    /// How long it may take from its start to `booted`, and again from `launch` to ready; a foreign program, from its
    /// start to ready.
    pub ready_timeout: Duration,
    /// How long it may take from SIGTERM to its end, before [`super::Policy::kill_grace`].
    pub drain_timeout: Duration,
    /// The declared maximum of each pool, by name.
    pub pools: BTreeMap<String, u32>,
}

/// Which of a slot's two possible processes: during a handover the successor boots beside its
/// predecessor. A seat is taken again only after its process is gone, so that a slot and a seat name one
/// living process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seat {
    /// The one.
    A,
    /// The other.
    B,
}

/// A process of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    /// Its slot.
    pub slot: SlotId,
    /// Which of the slot's processes.
    pub seat: Seat,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The fleet is wanted. Only the first one counts.
    Start,
    /// Something happened to a process. The last event of a process is [`WorkerEvent::Exited`] or
    /// [`WorkerEvent::SpawnFailed`].
    Worker {
        /// The process.
        worker: WorkerId,
        /// What happened.
        event: WorkerEvent,
    },
    /// The answer to [`Action::Confirm`], read from Postgres after the action was given.
    Backends {
        /// The slot.
        slot: SlotId,
        /// What Postgres showed.
        seen: Seen,
    },
    /// Replace the workers of these slots, one after the other, in the order of the plan.
    /// Answered by [`Action::Refused`] or, at its end, [`RollNews::Ended`].
    Roll {
        /// The slots; one that is not there any more is passed over.
        slots: Vec<SlotId>,
        /// How.
        how: How,
    },
    /// From now on these are the slots of an app, lowest first. Those above leave; new ones are
    /// started. Slots that stay keep the plan they have.
    Scale {
        /// The app.
        app: Name,
        /// Its slots.
        plans: Vec<SlotPlan>,
    },
    /// The moment that [`super::Fleet::poll_timeout`] named has come. One that comes early does nothing.
    Timeout,
    /// The fleet shall drain and end.
    Stop,
    /// The fleet shall end at once.
    Kill,
}

/// How workers are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// `reload`: the successor boots first, where the program speaks the channel.
    Warm,
    /// `restart`: stop, then start.
    Cold,
}

/// Something that happened to one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEvent {
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

/// What Postgres showed of a slot without a launched process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// None of its backends.
    Gone,
    /// This many.
    Remaining(u32),
    /// Nothing: Postgres does not answer.
    Unreachable,
}

/// What the supervisor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a process; answer with [`WorkerEvent::Spawned`] or [`WorkerEvent::SpawnFailed`].
    Spawn(WorkerId),
    /// Send `launch`.
    Launch(WorkerId),
    /// Send the signal that asks the worker to leave: SIGTERM, unless its app has another.
    Terminate(WorkerId),
    /// Send SIGKILL.
    Kill(WorkerId),
    /// Ask Postgres for the slot's backends; answer with [`Event::Backends`].
    Confirm(SlotId),
    /// Have Postgres terminate the slot's backends. No process of the slot may have any.
    TerminateBackends(SlotId),
    /// Nothing to do but to tell: a slot changed its state.
    Moved {
        /// The slot.
        slot: SlotId,
        /// The state it left.
        from: SlotState,
        /// The state it is in now.
        to: SlotState,
    },
    /// Nothing to do but to tell: every slot serves, for the first time.
    AllServing,
    /// Nothing to do but to tell: the fleet stops because of this; the others drain.
    Failed(Failure),
    /// Nothing to do but to tell: a worker failed; the fleet goes on.
    Crashed {
        /// Which, and why.
        failure: Failure,
        /// What follows for the slot.
        then: Consequence,
    },
    /// Nothing to do but to tell: a slot was scaled away, and Postgres has shown its backends gone.
    Removed(SlotId),
    /// Nothing to do but to tell: a reload or restart.
    Roll(RollNews),
    /// What the event asked for does not happen, and nothing has changed.
    Refused(Refusal),
    /// Every process is gone; nothing comes after this but refusals.
    Ended(Outcome),
}

/// How a reload or restart goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollNews {
    /// A slot's successor boots beside its predecessor.
    Boots(SlotId),
    /// A slot's predecessor was asked to leave.
    Drains(SlotId),
    /// A slot's new worker serves.
    Serves(SlotId),
    /// It is over.
    Ended(RollEnd),
}

/// How a reload or restart ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollEnd {
    /// Every slot's new worker serves.
    Done,
    /// A slot failed. Those whose turn had not come run what they ran before.
    Failed(Failure),
    /// The fleet stops.
    Stopped,
}

/// Why something that was asked for does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Not every slot has served yet.
    #[error("the fleet is still starting; ask again when every worker serves")]
    Starting,
    /// It is about to end.
    #[error("the fleet is stopping")]
    Stopping,
    /// One at a time.
    #[error("another reload or restart is under way; ask again when it has ended")]
    Rolling,
    /// There is nothing to be done.
    #[error("there is no such slot")]
    NoSuchSlot,
}

/// The state of a slot, as shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// No process, and none is wanted.
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
    /// The process is gone; Postgres has not yet shown that its backends are.
    Vanishing,
    /// The worker failed; the next one starts after a pause.
    Resting,
    /// The workers kept failing; the slot is given up until a reload or a restart.
    Parked,
}

/// A slot as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotView<'a> {
    /// The slot.
    pub slot: &'a SlotId,
    /// Its state: that of its predecessor while a successor boots.
    pub state: SlotState,
    /// The process that the state is about.
    pub seat: Option<Seat>,
    /// Whether a successor is under way beside it.
    pub successor: Option<Seat>,
    /// Failures that are not made up for.
    pub failures: u32,
    /// Whether it is scaled away and about to leave.
    pub leaving: bool,
}

/// How the fleet ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was asked to stop.
    Stopped,
    /// A worker failed; the others were drained.
    Failed(Failure),
}

impl Seat {
    /// The other seat of the slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
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
            Self::Vanishing => "vanishing",
            Self::Resting => "resting",
            Self::Parked => "parked",
        })
    }
}
