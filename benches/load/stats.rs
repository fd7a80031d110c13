//! Percentiles of many measurements, and medians of a few rounds.

/// A percentile by nearest rank; `share` is from 0 to 1. The measurements must be sorted.
pub fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the length")]
    let rank = (share * sorted.len() as f64).ceil().clamp(1.0, sorted.len().max(1) as f64) as usize;
    sorted.get(rank - 1).copied()
}

/// A summary of the rounds of one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rounds {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Rounds {
    /// Summarizes rounds; `None` if there are none.
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, least, most })
    }

    /// The range of the rounds, as a share of the median.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.most - self.least) / self.median.abs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements_by_nearest_rank() {
        let hundred: Vec<u32> = (1..=100).collect();
        for (share, expected) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)] {
            assert_eq!(percentile(&hundred, share), Some(expected), "{share}");
        }
        assert_eq!(percentile(&[7], 0.99), Some(7));
        assert_eq!(percentile::<u32>(&[], 0.5), None);
    }

    #[test]
    fn rounds_are_summarized_in_any_order() {
        let rounds = Rounds::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!(rounds, Rounds { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(rounds.spread(), 1.0);
        assert_eq!(Rounds::of(&[4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Rounds::of(&[]), None);
        assert_eq!(Rounds::of(&[0.0, 0.0]).unwrap().spread(), 0.0);
    }
}
