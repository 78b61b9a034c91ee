//! Counts with their unit, so that three numbers in a row cannot be swapped.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A number of Postgres connections. Arithmetic is checked: it refuses instead of wrapping.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Connections(pub u32);

/// A number of worker processes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Workers(pub u32);

impl Connections {
    /// No connection.
    pub const ZERO: Self = Self(0);

    /// `self + other`, or `None` when the sum does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self + other`, or the largest number there is: for limits, where more than enough is enough.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of `self` after `other`; zero when `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum of all items, or `None` when it does not fit.
    #[must_use]
    pub fn checked_sum(items: impl IntoIterator<Item = Self>) -> Option<Self> {
        items
            .into_iter()
            .try_fold(Self::ZERO, |sum, item| sum.checked_add(item))
    }
}

impl Workers {
    /// The connections of this many workers at `each` per worker, or `None` when they do not fit.
    #[must_use]
    pub const fn checked_times(self, each: Connections) -> Option<Connections> {
        match self.0.checked_mul(each.0) {
            Some(product) => Some(Connections(product)),
            None => None,
        }
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
