//! Records scheduling delays: how long runnable threads waited for a CPU.
//!
//! Simulated time has no such delays. In real time, the invariants extend their deadlines by the measured delay.

use super::plan::Millis;

/// A window in ms and the total lag in it, in ms, from which on calls count as delayed.
const STARVED: (Millis, Millis) = (1_000, 700);

/// The measured delays, in chronological order.
#[derive(Debug, Default)]
pub struct Lags {
    pieces: Vec<Lag>,
    /// The length of the longest piece.
    longest: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Lag {
    from: Millis,
    to: Millis,
    waited: Millis,
}

impl Lags {
    /// Adds a delay that was measured between two instants. A delay is only known at its end, so it may have begun
    /// before `from`.
    pub fn add(&mut self, from: Millis, to: Millis, waited: Millis) {
        let from = from.min(to.saturating_sub(waited));
        self.longest = self.longest.max(to - from);
        self.pieces.push(Lag { from, to, waited });
    }

    /// The upper bound of the delay between two instants.
    pub fn between(&self, from: Millis, to: Millis) -> Millis {
        let first = self.pieces.partition_point(|lag| lag.to < from);
        let may_overlap = self.pieces[first..].iter().take_while(|lag| lag.to <= to + self.longest);
        may_overlap.filter(|lag| lag.from <= to).map(|lag| lag.waited).sum()
    }

    /// The total delay.
    pub fn total(&self) -> Millis {
        self.pieces.iter().map(|lag| lag.waited).sum()
    }

    /// The times at which delays were long enough to make calls late or time out.
    pub fn starved(&self) -> Vec<(Millis, Millis)> {
        let mut starved = Vec::<(Millis, Millis)>::new();
        for lag in &self.pieces {
            if self.between(lag.to.saturating_sub(STARVED.0), lag.to) < STARVED.1 {
                continue;
            }
            let from = lag.from.min(lag.to.saturating_sub(STARVED.0));
            match starved.last_mut() {
                Some((_, to)) if from <= *to => *to = lag.to,
                _ => starved.push((from, lag.to)),
            }
        }
        starved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lags(pieces: &[(Millis, Millis, Millis)]) -> Lags {
        let mut lags = Lags::default();
        for (from, to, waited) in pieces {
            lags.add(*from, *to, *waited);
        }
        lags
    }

    #[test]
    fn between_sums_up_overlapping_delays() {
        let lags = lags(&[(0, 100, 10), (100, 200, 5), (200, 300, 20)]);
        assert_eq!(lags.between(0, 300), 35);
        assert_eq!(lags.between(110, 190), 5);
        assert_eq!(lags.between(301, 900), 0);
        assert_eq!(lags.total(), 35);
    }

    #[test]
    fn a_delay_longer_than_its_measurement_began_before_it() {
        let lags = lags(&[(0, 100, 0), (900, 1_000, 800)]);
        assert_eq!(lags.between(300, 400), 800);
        assert_eq!(lags.between(0, 150), 0);
    }

    #[test]
    fn only_long_delays_excuse_late_calls() {
        let short: Vec<_> = (0..100).map(|nth| (nth * 100, nth * 100 + 100, 20)).collect();
        assert!(lags(&short).starved().is_empty());
        let mut long = short;
        long[50].2 = 600;
        assert_eq!(lags(&long).starved(), [(3_500, 6_100)]);
    }
}
