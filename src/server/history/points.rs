//! The tallies of a cut range, filled from rows in any order.

use std::borrow::Cow;

use super::{Cuts, Joins, Minute, Span, Tally, minute::MINUTE_MS};
use crate::domain::Timestamp;

/// One step of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its start.
    pub at: Timestamp,
    /// Its end, which is the start of the next one.
    pub until: Timestamp,
    /// What is known of it.
    pub tally: Tally,
    /// Joins with and without a ticket; `None` if none was recorded.
    pub joins: Option<Joins>,
}

impl Point {
    /// The share of the step in which the count was known, 0–1. Of a step that is not over, the share of its part until
    /// `now`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub fn observed(&self, now: Timestamp) -> f64 {
        let length = self.until.min(now).as_millis().saturating_sub(self.at.as_millis()).max(1);
        self.tally.observed_ms.min(length) as f64 / length as f64
    }

    /// The lowest, the mean and the highest count; `None` if nothing was observed.
    #[must_use]
    pub fn counts(&self) -> Option<(u32, f64, u32)> {
        Some((self.tally.lowest?, self.tally.average()?, self.tally.peak?.count))
    }
}

/// The steps of a range, to be filled from rows.
#[derive(Debug)]
pub struct Points(Vec<Point>);

impl Points {
    /// Steps of which nothing is known yet.
    #[must_use]
    pub fn new(cuts: &Cuts) -> Self {
        let point = |at, until| Point { at, until, tally: Tally::default(), joins: None };
        Self(cuts.bounds.windows(2).map(|ends| point(ends[0], ends[1])).collect())
    }

    /// Adds a minute that starts at `start`, merged from all nodes. Each second goes to the step that holds its
    /// start. Of the seconds in which the range starts and ends, the part [within](Minute::within) the range counts.
    /// Arrivals go to the first step of the range that the minute touches.
    pub fn add_minute(&mut self, start: Timestamp, minute: &Minute) {
        let Some(range) =
            self.0.first().zip(self.0.last()).map(|(first, last)| Span::new(first.at, last.until))
        else {
            return;
        };
        let is_cut = [range.from, range.to].into_iter().any(|bound| Minute::start_of(bound) == start);
        let minute = if is_cut { Cow::Owned(minute.within(start, range)) } else { Cow::Borrowed(minute) };
        let mut arrivals = Some(minute.arrivals());
        let start_ms = start.as_millis();
        for point in self.touched(start, MINUTE_MS) {
            // Seconds from the start of the minute, the first step's rounded down and all others up.
            let bound = |at: Timestamp, is_start_of_range: bool| {
                let millis = at.as_millis().saturating_sub(start_ms);
                let seconds = if is_start_of_range { millis / 1000 } else { millis.div_ceil(1000) };
                usize::try_from(seconds).map_or(60, |seconds| seconds.min(60))
            };
            let (is_first, point) = point;
            let seconds = bound(point.at, is_first)..bound(point.until, false);
            point.tally.add(&Tally::of_seconds(start, &minute, seconds));
            if let Some(arrivals) = arrivals.take() {
                point.tally.add_arrivals(arrivals);
            }
        }
    }

    /// Adds a row of several minutes of which no details are kept: `length_ms` milliseconds from `start`. A step that
    /// holds a part of it gets that share of the observed time. Arrivals go to the first step that the row touches.
    pub fn add_tally(&mut self, start: Timestamp, length_ms: u64, tally: &Tally) {
        let mut is_first_touched = true;
        let end = start.as_millis().saturating_add(length_ms);
        for (_, point) in self.touched(start, length_ms) {
            let part = point.until.as_millis().min(end) - point.at.max(start).as_millis();
            let mut share = tally.share(part, length_ms);
            if std::mem::take(&mut is_first_touched) {
                share.arrivals = tally.arrivals.clone();
            }
            point.tally.add(&share);
        }
    }

    /// The steps.
    #[must_use]
    pub fn finish(self) -> Vec<Point> {
        self.0
    }

    /// The steps that overlap with a span, each with whether it is the first one of the range.
    fn touched(&mut self, start: Timestamp, length_ms: u64) -> impl Iterator<Item = (bool, &mut Point)> {
        let end = Timestamp::from_millis(start.as_millis().saturating_add(length_ms));
        let first = self.0.partition_point(|point| point.until <= start);
        let points = self.0.iter_mut().enumerate().skip(first);
        points.take_while(move |(_, point)| point.at < end).map(|(index, point)| (index == 0, point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::history::{Place, Zone};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_790_000_040_000 + millis)
    }

    fn busy_minute() -> Minute {
        let mut minute = Minute::default();
        for second in 0..60_u32 {
            minute.watch(at(u64::from(second) * 1000), 1000, second);
        }
        for place in [Place::Site, Place::Site, Place::Embed("a.example")] {
            minute.arrive(1, place);
        }
        minute
    }

    #[test]
    fn the_steps_of_a_range_add_up_to_the_range() {
        let minute = busy_minute();
        let whole = Tally::of_minute(at(0), &minute);
        for step in [1, 7, 10, 59, 60, 61, 3600] {
            let cuts = Cuts::new(at(0), at(60_000), Some(step), &Zone::utc()).unwrap();
            let mut points = Points::new(&cuts);
            points.add_minute(at(0), &minute);
            let mut sum = Tally::default();
            for point in points.finish() {
                assert!(
                    (point.observed(Timestamp::from_millis(u64::MAX)) - 1.0).abs() < 1e-9,
                    "{step} {point:?}"
                );
                sum.add(&point.tally);
            }
            assert_eq!(sum, whole, "{step}");
        }
    }

    #[test]
    fn arrivals_count_once_also_in_a_minute_that_the_range_cuts() {
        let cuts = Cuts::new(at(30_500), at(90_000), Some(20), &Zone::utc()).unwrap();
        let mut points = Points::new(&cuts);
        points.add_minute(at(0), &busy_minute());
        let points = points.finish();
        let arrivals: Vec<_> = points.iter().map(|point| point.tally.arrivals.total()).collect();
        assert_eq!(arrivals.iter().sum::<u64>(), 3);
        assert_eq!(arrivals[0], 3);
        assert_eq!(points[0].counts().map(|(lowest, _, highest)| (lowest, highest)), Some((30, 39)));
        assert_eq!(points.last().unwrap().counts(), None, "nothing is known, so nothing is 0");
        assert!(points.last().unwrap().observed(Timestamp::from_millis(u64::MAX)) < 1e-9);
    }

    #[test]
    fn rows_without_details_are_shared_between_the_steps() {
        let row = Tally::of_minute(at(0), &busy_minute());
        let cuts = Cuts::new(at(0), at(60_000), Some(15), &Zone::utc()).unwrap();
        let mut points = Points::new(&cuts);
        points.add_tally(at(0), 60_000, &row);
        let mut sum = Tally::default();
        for point in points.finish() {
            assert_eq!(point.tally.average(), row.average());
            sum.add(&point.tally);
        }
        assert_eq!(sum, row);
    }
}
