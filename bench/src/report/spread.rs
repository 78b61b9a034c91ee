//! Several rounds of the same as one cell of a table.

use anyhow::{Context, Result};

/// The middle of the rounds and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// None of no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            min: *values.first()?,
            max: *values.last()?,
        })
    }

    /// Of one figure of every round.
    pub(super) fn over<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> Result<Self> {
        Self::of(rounds.iter().map(figure)).context("nothing was measured")
    }

    /// The median, and between what the middle half lies: where single values scatter more than what is to be told. None of no values.
    pub(super) fn of_middle_half(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |quarters: usize| values.get(values.len() * quarters / 4).copied();
        Some(Self {
            median: at(2)?,
            min: at(1)?,
            max: at(3)?,
        })
    }

    /// In percent of what is best.
    pub(super) fn of_best(self, best: f64) -> Self {
        let [median, min, max] =
            [self.median, self.min, self.max].map(|value| value / best * 100.0);
        Self { median, min, max }
    }

    /// As it stands in a table.
    pub(super) fn cell(self) -> String {
        let [median, min, max] = [self.median, self.min, self.max].map(number);
        if min == max {
            median
        } else {
            format!("{median} ({min}–{max})")
        }
    }
}

/// The mean of independent values and its standard error. None of fewer than two.
pub(super) fn mean_and_error(values: &[f64]) -> Option<(f64, f64)> {
    let count = f64::from(u32::try_from(values.len()).ok()?);
    if count < 2.0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (squares / (count - 1.0) / count).sqrt()))
}

pub(super) fn number(value: f64) -> String {
    if value == value.trunc() || value >= 100.0 {
        format!("{value:.0}")
    } else if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

/// The sentence that says in which figures `who` is not the better one.
pub(super) fn not_ahead(who: &str, behind: &[String]) -> String {
    match behind {
        [] => format!("In none of these is {who} behind."),
        behind => format!("**Where {who} is not ahead:** {}.", behind.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_shows_the_median_and_how_far_the_rounds_lie_apart() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied()).unwrap().cell();
        assert_eq!(spread(&[1200.4, 1100.0, 1300.0]), "1200 (1100–1300)");
        assert_eq!(spread(&[18.0, 18.0, 18.0]), "18");
        assert_eq!(spread(&[2.345]), "2.35");
        assert!(Spread::of([]).is_none());
    }

    #[test]
    fn the_error_of_a_mean_is_that_of_independent_values() {
        // Deviations of 2 and 2: a standard deviation of √8, over √2.
        assert_eq!(mean_and_error(&[1.0, 5.0]), Some((3.0, 2.0)));
        assert_eq!(mean_and_error(&[7.0]), None);
    }
}
