//! What a world is made of, and what may be broken in it.

/// A protocol that is broken on purpose: what stands between the machine and the world does something
/// else than it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Postgres is said to show nothing, without being asked.
    StartsBeforeTheBackendsAreGone,
    /// The same, of slots whose process was killed.
    TrustsASigkill,
    /// No answer counts as an empty one.
    TakesSilenceForGone,
    /// The successor is not made to wait.
    LaunchesTheSuccessorWhenItIsBooted,
    /// Nobody waits for the launch of another slot.
    LaunchesWhoeverIsBooted,
    /// A worker that is asked to leave takes the others with it.
    DrainsTwoSlotsAtOnce,
    /// Postgres is not asked.
    ForgetsToAsk,
    /// SIGKILL is not sent.
    ForgetsToKill,
}

/// What the world is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Laws {
    pub(crate) slots: usize,
    pub(crate) most: usize,
    pub(crate) program: Program,
    pub(crate) restarts: bool,
    pub(crate) ends: bool,
    pub(crate) parks: bool,
    pub(crate) mutation: Option<Mutation>,
}

/// What runs in the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// It opens its connections when it is told to.
    Waits,
    /// It opens them when it likes, and was declared as one that waits.
    Foreign,
    /// It opens them when it likes, as was declared.
    DeclaredForeign,
}

impl Program {
    pub(crate) const fn waits(self) -> bool {
        matches!(self, Self::Waits)
    }
}
