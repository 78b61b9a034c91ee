//! What is done to a fleet, one step after the other.

use poolwright_supervisor::{Policy, SlotState};
use std::time::Duration;

/// How long a [`Step::Wait`] lets pass: everything that a fleet waits for falls due in it, but [`Policy::confirm_patience`].
pub(crate) const TICK: Duration = Duration::from_secs(60);

/// As in the manifest of the test.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// As in the manifest of the test.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Pauses on one side of a tick, whatever the jitter makes of them. Postgres is asked again at once: its answers take no time in the
/// reference, and are waited for in the real fleet, without any time passing.
pub(crate) fn policy() -> Policy {
    Policy {
        confirm_every: Duration::ZERO,
        unreachable_every: Duration::ZERO,
        confirm_patience: Duration::from_secs(90),
        backoff_first: Duration::from_secs(1),
        backoff_max: Duration::from_secs(10),
        park_after: 3,
        forgive_after: Duration::from_secs(100),
        ..Policy::default()
    }
}

/// What workers run that are started from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    Good,
    ExitsBeforeBooted,
    NeverBoots,
    ExitsOnLaunch,
    NeverReady,
    WrongMaxima,
    IgnoresSigterm,
}

impl Release {
    pub(crate) const ALL: [Self; 7] = [
        Self::Good,
        Self::ExitsBeforeBooted,
        Self::NeverBoots,
        Self::ExitsOnLaunch,
        Self::NeverReady,
        Self::WrongMaxima,
        Self::IgnoresSigterm,
    ];

    /// Its name in `FAKE_WORKER`.
    pub(crate) const fn behaviour(self) -> &'static str {
        match self {
            Self::Good => "serve",
            Self::ExitsBeforeBooted => "exit-before-booted",
            Self::NeverBoots => "silent",
            Self::ExitsOnLaunch => "exit-on-launch",
            Self::NeverReady => "never-ready",
            Self::WrongMaxima => "wrong-maxima",
            Self::IgnoresSigterm => "ignore-sigterm",
        }
    }

    /// Whether a worker of it, once launched, keeps others waiting until it is given up.
    pub(crate) const fn blocks(self) -> bool {
        matches!(self, Self::NeverReady)
    }
}

/// A step. Slots are named by their index; [`Step::Restart`] may name one that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// `poolwright up`, with as many workers as are declared.
    Start,
    /// Time passes.
    Wait,
    Release(Release),
    Reload,
    Restart(u32),
    Scale(u32),
    /// SIGKILL of the process that a slot's state is about.
    Kill(u32),
    /// SIGKILL of the one that boots beside it.
    KillSuccessor(u32),
    /// A session of the slot's worker begins a query that outlives the worker, however that ends.
    Query(u32),
    /// The supervisor's connections to Postgres are cut, and new ones refused.
    Away,
    /// They are let through again.
    Back,
    Stop,
    /// Without a drain.
    StopNow,
}

/// A slot as whoever asks for `status` sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotSeen {
    pub(crate) slot: String,
    pub(crate) state: SlotState,
    pub(crate) failures: u32,
    /// Whether a process boots beside it, and whether it has booted.
    pub(crate) successor: Option<Booted>,
    /// How many processes were started in it since the fleet was; not compared once the fleet stops, when it depends on who
    /// was first.
    pub(crate) spawned: Option<u32>,
}

/// Whether a process has said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Booted(pub(crate) bool);

/// What was asked for and takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Roll,
    Scaling,
}

/// The end of what was asked for: which failure it was, or why it did not happen, in words.
pub(crate) type Answer = Result<Option<String>, String>;
