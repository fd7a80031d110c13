//! Instants and time zones in requests and exports.

use jiff::tz::TimeZone;

use crate::domain::Timestamp;

/// The last instant that is accepted: the end of the year 9000.
const LAST_MS: u64 = 221_876_841_600_000;

/// The longest name of a time zone, in bytes.
const MAX_ZONE_LEN: usize = 64;

/// The text is no instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an instant must be milliseconds since 1970 or RFC 3339 with an offset, between the years 1970 and 9000"
)]
pub struct InvalidInstant;

/// The text is no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time zone must have an IANA name, such as America/Lima")]
pub struct InvalidZone;

/// A time zone of the IANA database, which is part of the program: all nodes of one version agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(pub(super) TimeZone);

impl Zone {
    /// Coordinated Universal Time.
    #[must_use]
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Finds a zone by its IANA name, in upper or lower case.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn parse(name: &str) -> Result<Self, InvalidZone> {
        if name.len() > MAX_ZONE_LEN {
            return Err(InvalidZone);
        }
        let zone = TimeZone::get(name).map_err(|_| InvalidZone)?;
        if zone.iana_name().is_none() { Err(InvalidZone) } else { Ok(Self(zone)) }
    }

    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// An instant as RFC 3339 with the offset of this zone, such as `2026-03-29T03:00:00+02:00`. Milliseconds are
    /// written if they are not 0.
    #[must_use]
    pub fn format(&self, at: Timestamp) -> String {
        let at = to_jiff(at).unwrap_or(jiff::Timestamp::MAX);
        at.display_with_offset(self.0.to_offset(at)).to_string()
    }

    /// What clocks on the wall show at an instant.
    #[must_use]
    pub fn wall(&self, at: Timestamp) -> Wall {
        let at = to_jiff(at).unwrap_or(jiff::Timestamp::MAX).to_zoned_datetime(self.0.clone());
        // None of these is negative.
        let part = |value: i8| value.unsigned_abs();
        Wall {
            year: at.year(),
            month: part(at.month()),
            day: part(at.day()),
            weekday: part(at.weekday().to_monday_zero_offset()),
            hour: part(at.hour()),
            minute: part(at.minute()),
            second: part(at.second()),
            offset: at.offset().seconds() / 60,
        }
    }
}

/// What a clock and a calendar on the wall show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wall {
    /// The year.
    pub year: i16,
    /// The month, 1–12.
    pub month: u8,
    /// The day of the month, 1–31.
    pub day: u8,
    /// The days since Monday, 0–6.
    pub weekday: u8,
    /// The hour, 0–23.
    pub hour: u8,
    /// The minute, 0–59.
    pub minute: u8,
    /// The second, 0–59.
    pub second: u8,
    /// Minutes ahead of UTC.
    pub offset: i32,
}

impl Wall {
    /// Whether both are of the same day.
    #[must_use]
    pub fn is_same_day(&self, other: &Self) -> bool {
        (self.year, self.month, self.day) == (other.year, other.month, other.day)
    }
}

/// Parses an instant: milliseconds since the Unix epoch, or RFC 3339 with an offset. A space in the place of the
/// offset's plus sign is accepted, since a plus sign in a query means a space. Parts of a millisecond are dropped.
///
/// # Errors
/// When the text is neither, or the instant is not between the years 1970 and 9000.
pub fn parse_instant(text: &str) -> Result<Timestamp, InvalidInstant> {
    let millis = if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
        text.parse().map_err(|_| InvalidInstant)?
    } else {
        let with_plus = match text.rfind(' ') {
            Some(at) if at > "2026-01-01".len() => format!("{}+{}", &text[..at], &text[at + 1..]),
            _ => text.to_owned(),
        };
        let at: jiff::Timestamp = with_plus.parse().map_err(|_| InvalidInstant)?;
        u64::try_from(at.as_millisecond()).map_err(|_| InvalidInstant)?
    };
    if millis > LAST_MS { Err(InvalidInstant) } else { Ok(Timestamp::from_millis(millis)) }
}

/// `None` if the instant is after the year 9000.
pub(super) fn to_jiff(at: Timestamp) -> Option<jiff::Timestamp> {
    let millis = i64::try_from(at.as_millis().min(LAST_MS + 1)).ok()?;
    (at.as_millis() <= LAST_MS).then(|| jiff::Timestamp::from_millisecond(millis).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_milliseconds_and_rfc_3339() {
        let expected = Ok(Timestamp::from_millis(1_774_746_000_123));
        for text in [
            "1774746000123",
            "2026-03-29T01:00:00.123Z",
            "2026-03-29t01:00:00.1239z",
            "2026-03-29T03:00:00.123+02:00",
            "2026-03-29T03:00:00.123 02:00",
            "2026-03-28T20:00:00.123-05:00",
        ] {
            assert_eq!(parse_instant(text), expected, "{text}");
        }
    }

    #[test]
    fn rejects_other_text() {
        for text in [
            "",
            " ",
            "-1",
            "1e3",
            "1.5",
            "now",
            "2026-03-29",
            "2026-03-29T01:00:00",
            "1969-12-31T23:59:59Z",
            "9999-01-01T00:00:00Z",
            "18446744073709551615",
            "99999999999999999999999999",
            "2026-02-30T00:00:00Z",
            "２０２６",
            "2026-03-29T01:00:00ñ 02:00",
        ] {
            assert_eq!(parse_instant(text), Err(InvalidInstant), "{text}");
        }
    }

    #[test]
    fn finds_zones_by_name() {
        for name in ["UTC", "America/Lima", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Madrid"] {
            assert_eq!(Zone::parse(name).unwrap().name(), name);
        }
        assert_eq!(Zone::parse("america/lima").unwrap().name(), "America/Lima");
        for name in ["", "Lima", "EST5EDT,M3.2.0,M11.1.0", "../etc/passwd", "+05:00", &"x".repeat(100_000)] {
            assert_eq!(Zone::parse(name), Err(InvalidZone), "{name:.40}");
        }
    }

    #[test]
    fn formats_instants_with_the_offset_of_the_zone() {
        let at = Timestamp::from_millis(1_774_746_000_000);
        assert_eq!(Zone::utc().format(at), "2026-03-29T01:00:00+00:00");
        assert_eq!(Zone::parse("Europe/Madrid").unwrap().format(at), "2026-03-29T03:00:00+02:00");
        assert_eq!(
            Zone::parse("Asia/Kathmandu").unwrap().format(at.plus_millis(5)),
            "2026-03-29T06:45:00.005+05:45"
        );
        assert!(!Zone::utc().format(Timestamp::from_millis(u64::MAX)).is_empty());
    }

    #[test]
    fn knows_what_clocks_on_the_wall_show() {
        // The first Sunday of daylight saving in Madrid, one minute before and after its change.
        let before = Timestamp::from_millis(1_774_745_940_000);
        let madrid = Zone::parse("Europe/Madrid").unwrap();
        let wall =
            Wall { year: 2026, month: 3, day: 29, weekday: 6, hour: 1, minute: 59, second: 0, offset: 60 };
        assert_eq!(madrid.wall(before), wall);
        let after = madrid.wall(before.plus_millis(60_000));
        assert_eq!((after.hour, after.minute, after.offset), (3, 0, 120));
        assert!(after.is_same_day(&wall));
        let lima = Zone::parse("America/Lima").unwrap().wall(before);
        assert_eq!((lima.day, lima.weekday, lima.hour, lima.offset), (28, 5, 19, -300));
        assert!(!lima.is_same_day(&wall));
        assert!(madrid.wall(Timestamp::from_millis(u64::MAX)).year > 9000 - 1);
    }
}
