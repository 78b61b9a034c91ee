//! From which size on more connections are not worth having.

/// What counts as nearly as good as the best: less than this differs between two runs of the same.
pub const ENOUGH: f64 = 0.95;

/// A size and what it reaches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// How many there are.
    pub size: u32,
    /// What they reach, in whatever unit.
    pub rate: f64,
}

/// The smallest size that reaches [`ENOUGH`] of the best rate; none where nothing was reached.
#[must_use]
pub fn knee(points: &[Point]) -> Option<u32> {
    let best = points.iter().map(|point| point.rate).fold(0.0, f64::max);
    let enough = points
        .iter()
        .filter(|point| best > 0.0 && point.rate >= ENOUGH * best);
    enough.map(|point| point.size).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(rates: &[f64]) -> Vec<Point> {
        (2..)
            .zip(rates)
            .map(|(size, rate)| Point { size, rate: *rate })
            .collect()
    }

    #[test]
    fn it_is_the_smallest_that_is_nearly_the_best() {
        assert_eq!(knee(&points(&[100.0, 190.0, 270.0, 280.0, 279.0])), Some(4));
        assert_eq!(knee(&points(&[100.0, 200.0, 300.0])), Some(4));
        assert_eq!(knee(&points(&[300.0, 290.0])), Some(2));
    }

    #[test]
    fn nothing_that_was_answered_has_none() {
        assert_eq!(knee(&points(&[0.0, 0.0])), None);
        assert_eq!(knee(&[]), None);
    }
}
