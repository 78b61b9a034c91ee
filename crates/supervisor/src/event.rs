//! What the caller gets to know, as data; it renders.

use poolwright_topology::channel::Gauge;
use poolwright_topology::handover::{Consequence, Exit, Failure, RollNews, SlotState};
use poolwright_topology::tag::{Name, SlotId};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Something that happened in the fleet.
///
/// None is lost but those of the workers' own making ([`Event::Output`], which is counted,
/// [`Event::Gauges`], [`Event::BadLine`], [`Event::Stranger`] and [`Event::Started`]), and those only to a caller that is too slow.
/// They come in the order in which things happened, but for [`Event::Output`]: a worker's lines are
/// in order among themselves, and all of them come before its [`Event::Exited`].
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The supervisor holds this socket for an app.
    Holding {
        /// The app.
        app: Name,
        /// The address, with the port that the system chose when 0 was asked for.
        address: SocketAddr,
    },
    /// A process runs in a slot.
    Spawned {
        /// The slot.
        slot: SlotId,
        /// Its process, and the leader of its process group.
        pid: u32,
    },
    /// A slot changed its state.
    Moved {
        /// The slot.
        slot: SlotId,
        /// The state it left.
        from: SlotState,
        /// The state it is in now.
        to: SlotState,
    },
    /// A worker reported what it opened. It may yet be refused for it.
    Started {
        /// The slot.
        slot: SlotId,
        /// The process, as it says.
        pid: u32,
        /// The executor id, as it says.
        executor_id: String,
        /// The maxima, as it says.
        pools: BTreeMap<String, u32>,
    },
    /// A worker reported the state of its pools.
    Gauges {
        /// The slot.
        slot: SlotId,
        /// By the pool's name.
        pools: BTreeMap<String, Gauge>,
    },
    /// Every slot serves.
    AllServing,
    /// A worker said something on its channel that is no message. It is passed over.
    BadLine {
        /// The slot.
        slot: SlotId,
        /// What was wrong with it, in words.
        error: String,
    },
    /// A process that is not of the worker's process group wrote to its `NOTIFY_SOCKET`. It does not count.
    /// Told once of each worker.
    Stranger {
        /// The slot.
        slot: SlotId,
        /// The process.
        pid: i32,
    },
    /// A worker that was declared to speak the channel said `ready` and nothing before: it was written for PM2, and
    /// [`Readiness::Pm2`](crate::Readiness::Pm2) is the declaration for it. Told once of each app.
    OnlyReady {
        /// The slot.
        slot: SlotId,
    },
    /// A worker wrote a line.
    Output {
        /// The slot.
        slot: SlotId,
        /// Where to.
        stream: Stream,
        /// The line, without its end, cut at [`crate::event::MAX_OUTPUT_LINE`] bytes.
        line: String,
    },
    /// Lines that the caller did not get because it was too slow to take them. The worker was not
    /// held up.
    OutputDropped {
        /// The slot.
        slot: SlotId,
        /// How many since the last one that got through.
        lines: u64,
    },
    /// A worker is failing the fleet; the others drain.
    Failed {
        /// Which, and why.
        failure: Failure,
        /// The last lines it wrote to standard error.
        last_words: Vec<String>,
    },
    /// A worker failed; the fleet goes on. A slot that is parked for it is not tried again until a reload
    /// or a restart, and its executor's work waits that long.
    Crashed {
        /// Which, and why.
        failure: Failure,
        /// The last lines it wrote to standard error.
        last_words: Vec<String>,
        /// What follows for the slot.
        then: Consequence,
    },
    /// How a reload or restart goes.
    Roll(RollNews),
    /// A slot was scaled away and its backends are gone: its executor will not return.
    Removed {
        /// The slot.
        slot: SlotId,
    },
    /// What a larger fleet was given could not be taken back after it had come down.
    NotRelinquished {
        /// Why, in words.
        reason: String,
    },
    /// Postgres does not answer, so no slot whose process is gone is launched again. Told once, until
    /// [`Event::Reachable`].
    Unreachable {
        /// Why, in words.
        reason: String,
    },
    /// Postgres answers again.
    Reachable,
    /// Backends outlived their process and are terminated.
    TerminatingBackends {
        /// The slot.
        slot: SlotId,
        /// How many Postgres showed last.
        count: u32,
    },
    /// Postgres did not let it be done; they are waited for.
    NotTerminated {
        /// The slot.
        slot: SlotId,
        /// Why, in words.
        reason: String,
    },
    /// The fleet drains, and why.
    Stopping(StopReason),
    /// A worker did not leave in time, or was not given time, and gets SIGKILL.
    Killing {
        /// The slot.
        slot: SlotId,
    },
    /// A process is gone.
    Exited {
        /// The slot.
        slot: SlotId,
        /// The process.
        pid: u32,
        /// How it ended.
        exit: Exit,
    },
}

/// The longest line of a worker's output that is passed on whole, in bytes.
pub const MAX_OUTPUT_LINE: usize = 16 * 1024;

/// How many of a worker's last lines on standard error are kept for the report of its failure. Node tells of an uncaught
/// error in some thirty, the error itself at their top.
pub const LAST_WORDS: usize = 40;

/// Where a worker wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Who asked the fleet to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A signal, by its name.
    Signal(&'static str),
    /// A second signal: no drain.
    SecondSignal(&'static str),
    /// `stop` on the control socket.
    Request,
    /// `stop` without a drain on the control socket.
    KillRequest,
}

/// How the fleet ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to.
    Stopped,
    /// A worker failed, and the others were drained.
    Failed {
        /// Which, and why.
        failure: Failure,
        /// The last lines it wrote to standard error.
        last_words: Vec<String>,
    },
}
