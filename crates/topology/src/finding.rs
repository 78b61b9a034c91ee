//! What `verify` (and `doctor`) found, as data. Text, JSON and colour are the command line's.

use crate::tag::SlotId;
use serde::{Deserialize, Serialize};

/// One thing that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind; stable.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// The slot it concerns, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotId>,
    /// The pool it concerns, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// What was found, in one sentence.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

/// The kinds of finding. The names in JSON are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The fleet as a whole holds more than the plan's bound.
    OverBound,
    /// One pool of one worker holds more than was declared.
    PoolOverDeclared,
    /// One worker holds more than its pools were declared with together, in sessions that name no pool.
    SlotOverDeclared,
    /// One pool of one worker never held what was declared.
    PoolUnderDeclared,
    /// A slot that the plan does not have.
    UnknownSlot,
    /// A pool that the plan does not have.
    UnknownPool,
    /// A slot of the plan without a single connection.
    MissingWorker,
    /// A worker that serves and holds no connection, of a program that opens them when it needs them.
    IdleWorker,
    /// Two client processes behind one executor id.
    SharedExecutorId,
    /// A session under a pool's name, but as another role than the pool's.
    ForeignRole,
    /// A session of the fleet's role without a name that says whose it is.
    Unattributed,
    /// More than declared for less than two samples: a closing backend beside its successor.
    ClosingBackend,
    /// The verifying role may not see the sessions' state.
    LimitedView,
    /// A worker counts other connections of its pool than Postgres does, for longer than a sample.
    TwoCounts,
    /// Every connection of a pool is lent out, somebody waits for one, and nothing moves.
    PoolStarved,
    /// A slot keeps failing and is not tried again.
    SlotParked,
}

/// How bad a finding is. Only [`Severity::Error`] breaks the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Likely to become an error.
    Warning,
    /// The declaration does not hold.
    Error,
}
