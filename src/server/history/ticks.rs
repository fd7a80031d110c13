//! The marks on the time axis of a chart: round times of the clock on the wall.
//!
//! A mark below a day is at a multiple of its step since midnight, also on days with a change of daylight saving. Marks
//! of days are at local midnights.

use super::{Wall, Zone, instant::to_jiff};
use crate::domain::Timestamp;

/// The steps between marks, in minutes.
const MINUTES: [u16; 11] = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720];

/// The steps between marks, in days.
const DAYS: [u32; 11] = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000];

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 1440 * MINUTE_MS;

/// The longest range with marks: 100 years.
const LONGEST_MS: u64 = 36_525 * DAY_MS;

/// A mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Where it is.
    pub at: Timestamp,
    /// What the clock on the wall shows.
    pub wall: Wall,
    /// Whether it is the start of a day.
    pub is_midnight: bool,
    /// Whether it stays when there is space for few marks.
    pub is_major: bool,
}

/// At most `most` marks within a range, or one more where days have 25 hours. At most `few` of them are major.
#[must_use]
pub fn ticks(from: Timestamp, to: Timestamp, zone: &Zone, most: u32, few: u32) -> Vec<Tick> {
    let length = to.as_millis().saturating_sub(from.as_millis());
    if length == 0 || length > LONGEST_MS {
        return Vec::new();
    }
    let fits = |step_ms: u64| length / step_ms < u64::from(most);
    let step = MINUTES.into_iter().find(|step| fits(u64::from(*step) * MINUTE_MS));
    let found = match step {
        Some(step) => of_days(from, to, zone, 1, step),
        None => {
            let days = DAYS.into_iter().find(|days| fits(u64::from(*days) * DAY_MS));
            of_days(from, to, zone, days.unwrap_or(DAYS[DAYS.len() - 1]), 1440)
        }
    };
    let step_ms = step.map_or_else(|| gap(&found), |step| u64::from(step) * MINUTE_MS);
    let every = (1..).find(|every| length / (step_ms * every) < u64::from(few.max(1))).unwrap_or(1);
    let mark = |(index, at): (u64, Timestamp)| {
        let wall = zone.wall(at);
        Tick { at, wall, is_midnight: index == 0 || step.is_none(), is_major: index.is_multiple_of(every) }
    };
    match step {
        Some(_) => found.into_iter().map(mark).collect(),
        // Days have no natural multiples, so their marks are counted from the first one.
        None => (0..).zip(found).map(|(nth, (_, at))| mark((nth, at))).collect(),
    }
}

/// The distance of the first two marks.
fn gap(marks: &[(u64, Timestamp)]) -> u64 {
    let distance = marks.windows(2).next().map(|pair| pair[1].1.as_millis() - pair[0].1.as_millis());
    distance.unwrap_or(DAY_MS)
}

/// The multiples of `step` minutes since midnight on every `days`th day, within a range. Each with its number since
/// midnight.
fn of_days(from: Timestamp, to: Timestamp, zone: &Zone, days: u32, step: u16) -> Vec<(u64, Timestamp)> {
    let mut found: Vec<(u64, Timestamp)> = Vec::new();
    let Some(first) = to_jiff(from) else { return found };
    let mut date = first.to_zoned_datetime(zone.0.clone()).date();
    loop {
        for (index, minute) in (0_u64..).zip((0..1440).step_by(usize::from(step))) {
            let hour = i8::try_from(minute / 60).unwrap_or_default();
            let minute = i8::try_from(minute % 60).unwrap_or_default();
            // A time that the day does not have is moved by the length of the change.
            let Ok(zoned) = date.at(hour, minute, 0, 0).to_zoned_datetime(zone.0.clone()) else { continue };
            let millis = u64::try_from(zoned.timestamp().as_millisecond()).unwrap_or_default();
            let at = Timestamp::from_millis(millis);
            if at > to {
                return found;
            }
            if at >= from && found.last().is_none_or(|(_, last)| *last < at) {
                found.push((index, at));
            }
        }
        match date.checked_add(jiff::Span::new().days(days)) {
            Ok(next) => date = next,
            Err(_) => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::history::instant::parse_instant;

    fn marks(from: &str, to: &str, zone: &str, most: u32, few: u32) -> Vec<Tick> {
        let at = |text| parse_instant(text).unwrap();
        ticks(at(from), at(to), &Zone::parse(zone).unwrap(), most, few)
    }

    fn times(marks: &[Tick]) -> Vec<String> {
        let time = |wall: Wall| format!("{}T{:02}:{:02}", wall.day, wall.hour, wall.minute);
        marks.iter().map(|mark| time(mark.wall)).collect()
    }

    #[test]
    fn marks_are_round_times_of_the_zone() {
        let marks = marks("2026-05-01T13:07:00Z", "2026-05-02T13:07:00Z", "Asia/Kathmandu", 9, 5);
        assert_eq!(
            times(&marks),
            ["1T21:00", "2T00:00", "2T03:00", "2T06:00", "2T09:00", "2T12:00", "2T15:00", "2T18:00"]
        );
        let major = marks.iter().map(|mark| mark.is_major).collect::<Vec<_>>();
        assert_eq!(major, [false, true, false, true, false, true, false, true]);
        assert_eq!(marks.iter().filter(|mark| mark.is_midnight).count(), 1);
    }

    #[test]
    fn a_day_with_a_change_of_daylight_saving_has_the_same_marks() {
        for (from, to) in [
            ("2026-03-29T00:00:00+01:00", "2026-03-29T23:59:00+02:00"),
            ("2026-10-25T00:00:00+02:00", "2026-10-25T23:59:00+01:00"),
        ] {
            let marks = times(&marks(from, to, "Europe/Madrid", 9, 5));
            let times: Vec<_> = marks.iter().map(|time| &time[time.len() - 5..]).collect();
            assert_eq!(times, ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]);
        }
    }

    #[test]
    fn long_ranges_have_marks_at_midnight() {
        let week = marks("2026-10-22T10:00:00Z", "2026-10-29T10:00:00Z", "Europe/Madrid", 9, 5);
        assert_eq!(
            times(&week),
            ["23T00:00", "24T00:00", "25T00:00", "26T00:00", "27T00:00", "28T00:00", "29T00:00"]
        );
        assert!(week.iter().all(|mark| mark.is_midnight));
        assert_eq!(week.iter().filter(|mark| mark.is_major).count(), 4);
        let month = marks("2026-10-01T10:00:00Z", "2026-10-31T10:00:00Z", "UTC", 9, 5);
        assert_eq!(times(&month), ["6T00:00", "11T00:00", "16T00:00", "21T00:00", "26T00:00", "31T00:00"]);
    }

    #[test]
    fn the_number_of_marks_is_bounded() {
        let from = Timestamp::from_millis(1_790_000_000_000);
        for length in
            [1, 59_999, 60_000, 3_600_000, 7_777_777, DAY_MS, 40 * DAY_MS, 4_000 * DAY_MS, LONGEST_MS]
        {
            let to = Timestamp::from_millis(from.as_millis() + length);
            for zone in ["UTC", "America/Lima", "Australia/Lord_Howe"] {
                let marks = ticks(from, to, &Zone::parse(zone).unwrap(), 10, 5);
                let major = marks.iter().filter(|mark| mark.is_major).count();
                assert!(marks.len() <= 37 && major <= 6, "{length}: {marks:?}");
                if length <= 4_000 * DAY_MS {
                    assert!(marks.len() <= 11, "{length}: {}", marks.len());
                }
                assert!(marks.windows(2).all(|pair| pair[0].at < pair[1].at));
                assert!(marks.iter().all(|mark| from <= mark.at && mark.at <= to));
            }
        }
        assert_eq!(ticks(from, from, &Zone::utc(), 10, 5), []);
        assert_eq!(ticks(from, Timestamp::from_millis(u64::MAX), &Zone::utc(), 10, 5), []);
    }
}
