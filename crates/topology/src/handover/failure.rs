//! Which worker failed, and why, in words.

use super::exit::Exit;
use super::interface::{Seen, SlotState};
use crate::tag::SlotId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which worker failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{slot} {cause}")]
pub struct Failure {
    /// The slot.
    pub slot: SlotId,
    /// Why.
    pub cause: Cause,
}

/// Why a worker failed; reads on after the slot's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Cause {
    /// No process came to be.
    #[error("could not be started: {reason}")]
    NotStarted {
        /// Why, in words.
        reason: String,
    },
    /// It ended by itself.
    #[error("{exit} while {state}, without being asked to stop")]
    Exited {
        /// The state it was in.
        state: SlotState,
        /// How it ended.
        exit: Exit,
    },
    /// It did not say `booted`, or show that it serves, in time.
    #[error("did not boot within its ready_timeout of {after:?}")]
    BootTimeout {
        /// The timeout.
        after: Duration,
    },
    /// It was told to launch and did not become ready in time.
    #[error("was launched and did not become ready within its ready_timeout of {after:?}")]
    ReadyTimeout {
        /// The timeout.
        after: Duration,
    },
    /// It reports other pools than the plan's.
    #[error(
        "was refused: it reports the pools {}, the plan says {}",
        show_pools(found),
        show_pools(expected)
    )]
    OtherPools {
        /// What it reported.
        found: BTreeMap<String, u32>,
        /// What the plan says.
        expected: BTreeMap<String, u32>,
    },
    /// It reports another executor id than its slot's.
    #[error("was refused: it reports the executor id {found:?}, its slot's is \"{expected}\"")]
    OtherExecutor {
        /// What it reported.
        found: String,
        /// Its slot.
        expected: SlotId,
    },
    /// It said something before it was told to launch, or without what has to come first.
    #[error("was refused: it said `{said}` while {state}, expected {expected}")]
    OutOfTurn {
        /// The message.
        said: &'static str,
        /// The state it was in.
        state: SlotState,
        /// What would have been right.
        expected: &'static str,
    },
    /// Postgres has not shown its predecessor's backends gone.
    #[error("{}, {after:?} after its process was gone, and was not launched", show_seen(*seen))]
    Unconfirmed {
        /// How long it was waited.
        after: Duration,
        /// What Postgres showed last.
        seen: Seen,
    },
}

fn show_seen(seen: Seen) -> String {
    match seen {
        Seen::Remaining(count) => format!("still has {count} backends in Postgres"),
        Seen::Gone | Seen::Unreachable => {
            "cannot be confirmed gone, Postgres does not answer".to_owned()
        }
    }
}

fn show_pools(pools: &BTreeMap<String, u32>) -> String {
    if pools.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<_> = pools
        .iter()
        .map(|(name, max)| format!("{name} = {max}"))
        .collect();
    shown.join(", ")
}
