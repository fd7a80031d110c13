//! A range cut into steps in a time zone.
//!
//! Steps below a day start at the beginning of each local day, so that hours and quarters are those of the clock on
//! the wall; the last step of a day is shorter if the day is. Steps of days end at local midnights, so that a day
//! with a change of daylight saving has 23 or 25 hours. The first and the last step end at the ends of the range.

use super::{Zone, instant::to_jiff};
use crate::domain::Timestamp;

/// The highest number of steps.
pub const MAX_POINTS: usize = 1500;

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// The number of days that the automatic step leaves for a range, with a reserve for partial days.
const MAX_DAYS: u64 = 1400;

/// The range cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The range is empty.
    #[error("the range must end after it starts")]
    Empty,
    /// An end of the range is out of bounds.
    #[error("the range must lie between the years 1970 and 9000")]
    OutOfBounds,
    /// The step is 0, or more than a day and not whole days.
    #[error("the step must be 1 to 86400 seconds or whole days")]
    Step,
    /// There are too many steps.
    #[error("the range has more than {MAX_POINTS} steps")]
    TooMany,
}

/// A range cut into steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cuts {
    /// The length of a step in seconds.
    pub step: u64,
    /// The ends of the steps, in ascending order: one more than there are steps.
    pub bounds: Vec<Timestamp>,
}

impl Cuts {
    /// Cuts a range into steps of `step` seconds, or else of a length that fits the range ([`automatic_step`]).
    ///
    /// # Errors
    /// See [`CutError`].
    pub fn new(from: Timestamp, to: Timestamp, step: Option<u64>, zone: &Zone) -> Result<Self, CutError> {
        if from >= to {
            return Err(CutError::Empty);
        }
        let step = step.unwrap_or_else(|| automatic_step(from, to));
        if step == 0 || (step > DAY && !step.is_multiple_of(DAY)) {
            return Err(CutError::Step);
        }
        let mut bounds = vec![from];
        let first = to_jiff(from).ok_or(CutError::OutOfBounds)?.to_zoned_datetime(zone.0.clone());
        let mut day = first.start_of_day().map_err(|_| CutError::OutOfBounds)?;
        let days = i64::try_from(step.div_ceil(DAY)).map_err(|_| CutError::OutOfBounds)?;
        to_jiff(to).ok_or(CutError::OutOfBounds)?;
        loop {
            let next = jiff::Span::new()
                .try_days(days)
                .and_then(|days| day.date().checked_add(days))
                .and_then(|date| date.to_zoned_datetime(zone.0.clone()))
                .and_then(|zoned| zoned.start_of_day())
                .map_err(|_| CutError::OutOfBounds)?;
            let (start, end) = (millis(&day), millis(&next));
            // The first bound after `from`, or the first of this day.
            let length = if step < DAY { step * 1000 } else { end.saturating_sub(start).max(1) };
            let passed = from.as_millis().saturating_sub(start) / length;
            let mut at = start + passed * length;
            while at < end.min(to.as_millis()) {
                if at > from.as_millis() {
                    bounds.push(Timestamp::from_millis(at));
                }
                if bounds.len() > MAX_POINTS {
                    return Err(CutError::TooMany);
                }
                at += length;
            }
            if end >= to.as_millis() {
                bounds.push(to);
                return Ok(Self { step, bounds });
            }
            day = next;
        }
    }

    /// The number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Whether there are no steps, which never happens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The step in seconds that suits a range: 60 up to 3 hours, 300 up to a day, 900 up to 7 days, 3600 up to 31 days,
/// then days, and several days for more than 1,400 of them.
#[must_use]
pub fn automatic_step(from: Timestamp, to: Timestamp) -> u64 {
    let range = to.as_millis().saturating_sub(from.as_millis()).div_ceil(1000);
    match range {
        0..=10_800 => 60,
        10_801..=DAY => 300,
        _ if range <= 7 * DAY => 900,
        _ if range <= 31 * DAY => HOUR,
        _ => DAY * range.div_ceil(DAY * MAX_DAYS),
    }
}

fn millis(zoned: &jiff::ZonedDateTime) -> u64 {
    u64::try_from(zoned.timestamp().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
