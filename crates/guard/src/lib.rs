//! What a test may leave out, to see that what it breaks is noticed. Debug builds only: a release has no such switch.

/// Something that keeps a promise of Poolwright's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A slot's successor waits for Postgres' word that its predecessor's sessions are gone.
    Confirmation,
    /// An executor id is locked before anything is opened.
    Lock,
    /// A worker answers what it has accepted before it ends.
    Drain,
    /// What an executor that will not return has left is given back to its queue.
    Recovery,
}

impl Guard {
    /// Its name in `POOLWRIGHT_TEST_WITHOUT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Confirmation => "confirmation",
            Self::Lock => "lock",
            Self::Drain => "drain",
            Self::Recovery => "recovery",
        }
    }

    /// Whether `POOLWRIGHT_TEST_WITHOUT` names it, in a debug build.
    #[must_use]
    pub fn is_left_out(self) -> bool {
        cfg!(debug_assertions)
            && std::env::var_os("POOLWRIGHT_TEST_WITHOUT").is_some_and(|named| named == self.name())
    }
}
