//! How instants are written: in the visitor's time zone and language, with hours from 0 to 23.

use crate::{
    domain::Timestamp,
    i18n::Locale,
    server::history::{Wall, Zone},
};

/// Writes instants.
#[derive(Debug, Clone)]
pub(super) struct Times {
    pub(super) zone: Zone,
    pub(super) locale: Locale,
    pub(super) now: Timestamp,
    today: Wall,
}

impl Times {
    pub(super) fn new(zone: Zone, locale: Locale, now: Timestamp) -> Self {
        let today = zone.wall(now);
        Self { zone, locale, now, today }
    }

    /// The time of today, or the date and the time.
    pub(super) fn instant(&self, at: Timestamp) -> String {
        let wall = self.zone.wall(at);
        if wall.is_same_day(&self.today) { time(&wall) } else { self.date_and_time(at) }
    }

    /// The date and the time.
    pub(super) fn date_and_time(&self, at: Timestamp) -> String {
        let wall = self.zone.wall(at);
        format!("{}, {}", self.date(&wall), time(&wall))
    }

    /// The date, with the year if it is not this one.
    pub(super) fn date(&self, wall: &Wall) -> String {
        let year = (wall.year != self.today.year).then_some(wall.year);
        self.locale.date(year, wall.month, wall.day)
    }

    /// From one instant to another. The date of the second one is written if it differs.
    pub(super) fn span(&self, from: Timestamp, to: Timestamp) -> String {
        let end = self.zone.wall(to);
        let is_same_day = self.zone.wall(from).is_same_day(&end);
        let end = if is_same_day { time(&end) } else { self.date_and_time(to) };
        format!("{} – {end}", self.date_and_time(from))
    }

    /// The time between two instants; until now if the second one is not known.
    pub(super) fn length(&self, from: Timestamp, to: Option<Timestamp>) -> String {
        self.locale.length(seconds(from, to.unwrap_or(self.now)))
    }

    /// The same instant for programs.
    pub(super) fn machine(&self, at: Timestamp) -> String {
        self.zone.format(at)
    }
}

/// The time of the clock on the wall.
pub(super) fn time(wall: &Wall) -> String {
    format!("{:02}:{:02}", wall.hour, wall.minute)
}

/// The offset of a zone: "UTC", "UTC−5" or "UTC+5:45".
pub(super) fn offset(wall: &Wall) -> String {
    let sign = if wall.offset < 0 { '−' } else { '+' };
    match (wall.offset.unsigned_abs() / 60, wall.offset.unsigned_abs() % 60) {
        (0, 0) => "UTC".to_owned(),
        (hours, 0) => format!("UTC{sign}{hours}"),
        (hours, minutes) => format!("UTC{sign}{hours}:{minutes:02}"),
    }
}

/// The seconds between two instants.
#[expect(clippy::cast_precision_loss, reason = "a length of time needs no more than 53 bits")]
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.as_millis().saturating_sub(from.as_millis()) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 29 March 2026, 01:00 UTC: 03:00 in Madrid, an hour after the change to daylight saving.
    const NOW: u64 = 1_774_746_000_000;
    const HOUR: u32 = 3_600_000;

    #[test]
    fn instants_have_a_date_unless_they_are_of_today() {
        let now = Timestamp::from_millis(NOW);
        let madrid = Times::new(Zone::parse("Europe/Madrid").unwrap(), Locale::Es, now);
        assert_eq!(madrid.instant(now.minus_millis(HOUR)), "01:00");
        assert_eq!(madrid.instant(now.minus_millis(3 * HOUR)), "28\u{a0}mar, 23:00");
        assert_eq!(madrid.span(now.minus_millis(HOUR), now), "29\u{a0}mar, 01:00 – 03:00");
        assert_eq!(madrid.span(now.minus_millis(3 * HOUR), now), "28\u{a0}mar, 23:00 – 29\u{a0}mar, 03:00");
        assert_eq!(madrid.length(now.minus_millis(HOUR), None), "1\u{a0}h", "an hour passed, not two");
        let lima = Times::new(Zone::parse("America/Lima").unwrap(), Locale::En, now);
        assert_eq!(lima.instant(now.minus_millis(HOUR)), "19:00");
        assert_eq!(lima.date_and_time(Timestamp::from_millis(0)), "Dec\u{a0}31, 1969, 19:00");
    }

    #[test]
    fn offsets_are_short() {
        let offset_of = |zone| offset(&Zone::parse(zone).unwrap().wall(Timestamp::from_millis(NOW)));
        assert_eq!(offset_of("America/Lima"), "UTC−5");
        assert_eq!(offset_of("Asia/Kathmandu"), "UTC+5:45");
        assert_eq!(offset_of("Europe/London"), "UTC+1");
        assert_eq!(offset_of("UTC"), "UTC");
    }
}
