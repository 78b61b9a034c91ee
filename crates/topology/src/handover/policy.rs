//! How patient the handover is, and what becomes of a slot whose workers keep failing.

use std::time::Duration;

/// The protocol's own times and limits; what an app declares for itself stands in its
/// [`super::SlotPlan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What a worker gets on top of its drain timeout before it is killed. It is told the timeout and may
    /// use all of it for requests in flight; closing its pools and exiting come after that.
    pub kill_grace: Duration,
    /// How long after Postgres showed backends without a process it is asked again. A backend whose
    /// client closed properly is gone within milliseconds.
    pub confirm_every: Duration,
    /// The same after it did not answer.
    pub unreachable_every: Duration,
    /// How long backends may outlive their process before they are terminated, again and again. It spans
    /// `client_connection_check_interval = 1s`, by which a server set up for it ends them by itself.
    pub terminate_after: Duration,
    /// How long a reload or a cold start waits for Postgres to show a slot's backends gone before it is
    /// reported as failed. The slot itself waits on: it is never launched unconfirmed.
    pub confirm_patience: Duration,
    /// How long a new worker has to serve before a reload believes it and goes on. It catches the
    /// release that becomes ready and dies.
    pub settle: Duration,
    /// The pause before the first restart; each further one is twice as long.
    pub backoff_first: Duration,
    /// No pause is longer.
    pub backoff_max: Duration,
    /// The failure with this number parks the slot. With the pauses as they are by default, a worker
    /// that fails at once is given up after about a minute and a half.
    pub park_after: u32,
    /// Serving for this long makes up for one failure.
    pub forgive_after: Duration,
    /// What the jitter of the pauses is drawn from. Supervisors that start together must differ in it, so
    /// that fleets which failed together do not come back together.
    pub seed: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            kill_grace: super::KILL_GRACE,
            confirm_every: Duration::from_millis(50),
            unreachable_every: Duration::from_millis(500),
            terminate_after: Duration::from_millis(1500),
            confirm_patience: Duration::from_secs(60),
            settle: Duration::from_millis(500),
            backoff_first: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            park_after: 10,
            forgive_after: Duration::from_secs(60),
            seed: 0,
        }
    }
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// The slot's next worker starts after this pause, and when its backends are gone.
    Restart {
        /// The pause.
        after: Duration,
    },
    /// The slot is given up, until a reload or a restart tries it again.
    Park {
        /// How many failures it took, those that were made up for not counted.
        failures: u32,
    },
}

/// The failures of one slot that it has not made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Failures(u32);

impl Failures {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn count(self) -> u32 {
        self.0
    }

    /// One more, after the worker served for `served`; `salt` tells the slots of a fleet apart.
    pub(super) fn add(&mut self, served: Duration, salt: u64, policy: &Policy) -> Consequence {
        let forgiven = match policy.forgive_after.as_nanos() {
            0 => 0,
            each => served.as_nanos() / each,
        };
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.0 = self.0.saturating_sub(forgiven).saturating_add(1);
        if self.0 >= policy.park_after {
            Consequence::Park { failures: self.0 }
        } else {
            Consequence::Restart {
                after: backoff(self.0, salt, policy),
            }
        }
    }
}

/// Twice the pause before, up to the longest, give or take a quarter.
fn backoff(failures: u32, salt: u64, policy: &Policy) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let pause = policy
        .backoff_first
        .saturating_mul(doubled)
        .min(policy.backoff_max);
    let drawn = splitmix(policy.seed ^ salt.rotate_left(32) ^ u64::from(failures));
    // 96 to 160 of 128: from three quarters to five quarters.
    let factor = 96 + u32::try_from(drawn % 65).unwrap_or(32);
    pause.saturating_mul(factor) / 128
}

/// SplitMix64's output function: spreads neighbouring inputs over all bits.
const fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_a_quarter_up_to_the_longest() {
        let policy = Policy::default();
        for seed in 0..50 {
            let policy = Policy {
                seed,
                ..policy.clone()
            };
            for (failures, millis) in [(1, 200), (2, 400), (5, 3_200), (9, 30_000), (40, 30_000)] {
                let pause = backoff(failures, 7, &policy).as_millis();
                assert!(
                    (millis * 3 / 4..=millis * 5 / 4).contains(&pause),
                    "{pause}"
                );
            }
        }
    }

    #[test]
    fn slots_that_fail_together_do_not_come_back_together() {
        let policy = Policy::default();
        let pauses: std::collections::BTreeSet<_> =
            (0..20).map(|salt| backoff(4, salt, &policy)).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
    }

    #[test]
    fn a_slot_is_parked_at_the_limit_and_serving_makes_up_for_failures() {
        let policy = Policy {
            park_after: 3,
            ..Policy::default()
        };
        let mut failures = Failures::default();
        let restarts = |then| matches!(then, Consequence::Restart { .. });
        assert!(restarts(failures.add(Duration::ZERO, 0, &policy)));
        assert!(restarts(failures.add(Duration::ZERO, 0, &policy)));
        assert!(restarts(failures.add(policy.forgive_after, 0, &policy)));
        assert_eq!(
            failures.add(Duration::ZERO, 0, &policy),
            Consequence::Park { failures: 3 }
        );
    }
}
