//! What came of a look at a system database, as data. The fields' names in JSON are stable.

use serde::Serialize;

/// One system database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Where the work is kept, `host:port/database`.
    pub store: String,
    /// Executors that are not at their work, by id. One that the fleet has and that lives is none of them.
    pub executors: Vec<Left>,
    /// The versions of the application that living executors run.
    pub versions: Vec<Version>,
    /// What none of them can take.
    pub stuck: Vec<Stuck>,
}

/// What one executor left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Its id.
    pub executor_id: String,
    /// How many workflows are `PENDING` under it, or were.
    pub workflows: u64,
    /// The versions that they belong to.
    pub versions: Vec<String>,
    /// What became of them.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of the work of one executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Re-enqueued.
    Reenqueued,
    /// Nobody comes back for it; it was only looked at.
    Abandoned,
    /// The executor lives, so nothing was touched.
    Living {
        /// How it is known.
        sign: Sign,
    },
    /// The fleet has this executor, although it does not run now: its next process takes them up.
    Expected,
    /// The executor is none of this fleet's.
    Foreign,
}

/// How an executor is known to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// A process of this host holds its id.
    Held,
    /// It has a session in the system database.
    Connected,
}

/// A version that a living executor runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version {
    /// What the application calls it.
    pub version: String,
    /// Whether no work shows it: the executor has taken none since it connected, and this is the version that was registered
    /// last.
    pub assumed: bool,
}

/// Workflows that no running version can take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stuck {
    /// The application that they belong to, where they say it.
    pub application: Option<String>,
    /// The version that they wait for; `PENDING` without one are nobody's for good.
    pub version: Option<String>,
    /// `PENDING` or `ENQUEUED`.
    pub status: String,
    /// How many.
    pub workflows: u64,
}

impl Report {
    /// A system database in which there is nothing.
    pub(crate) const fn empty(store: String) -> Self {
        Self {
            store,
            executors: Vec::new(),
            versions: Vec::new(),
            stuck: Vec::new(),
        }
    }

    /// How many workflows were re-enqueued.
    #[must_use]
    pub fn reenqueued(&self) -> u64 {
        let of = |left: &&Left| left.outcome == Outcome::Reenqueued;
        self.executors
            .iter()
            .filter(of)
            .map(|left| left.workflows)
            .sum()
    }
}
