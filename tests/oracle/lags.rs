//! How far the machine held a world up: what waited for a processor though it was ready to run.
//!
//! In simulated time nothing waits. In real time the promises hold for what is not waited for in this way, so the judge
//! allows for as much as was measured, and no more.

use super::plan::Millis;

/// Lags that are summed up over this long, and come to so much of it, hold up calls like a slow network.
const STARVED: (Millis, Millis) = (1_000, 700);

/// What waited, and for how long, piece by piece in the order of time.
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
    /// Between these instants so much was waited for. A wait is known when it is over, so it may have begun before.
    pub fn add(&mut self, from: Millis, to: Millis, waited: Millis) {
        let from = from.min(to.saturating_sub(waited));
        self.longest = self.longest.max(to - from);
        self.pieces.push(Lag { from, to, waited });
    }

    /// How long was waited for between two instants, at most.
    pub fn between(&self, from: Millis, to: Millis) -> Millis {
        let first = self.pieces.partition_point(|lag| lag.to < from);
        let may_overlap = self.pieces[first..].iter().take_while(|lag| lag.to <= to + self.longest);
        may_overlap.filter(|lag| lag.from <= to).map(|lag| lag.waited).sum()
    }

    /// How long was waited for in all.
    pub fn total(&self) -> Millis {
        self.pieces.iter().map(|lag| lag.waited).sum()
    }

    /// When so much was waited for that calls were late or given up because of it.
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
    fn what_was_waited_for_in_between_is_summed_up() {
        let lags = lags(&[(0, 100, 10), (100, 200, 5), (200, 300, 20)]);
        assert_eq!(lags.between(0, 300), 35);
        assert_eq!(lags.between(110, 190), 5);
        assert_eq!(lags.between(301, 900), 0);
        assert_eq!(lags.total(), 35);
    }

    #[test]
    fn a_wait_that_was_longer_than_its_piece_began_before_it() {
        let lags = lags(&[(0, 100, 0), (900, 1_000, 800)]);
        assert_eq!(lags.between(300, 400), 800);
        assert_eq!(lags.between(0, 150), 0);
    }

    #[test]
    fn little_waits_excuse_no_call_and_long_ones_do() {
        let little: Vec<_> = (0..100).map(|nth| (nth * 100, nth * 100 + 100, 20)).collect();
        assert!(lags(&little).starved().is_empty());
        let mut long = little;
        long[50].2 = 600;
        assert_eq!(lags(&long).starved(), [(3_500, 6_100)]);
    }
}
