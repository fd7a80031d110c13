//! When a delivery that failed is attempted again.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The shortest pauses after the first nine attempts, in seconds: 65 hours together.
const PAUSES: [u64; 9] =
    [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 13 * HOUR, 16 * HOUR, 18 * HOUR];

/// By how much a pause may be longer, at random, so that receivers are not met by everything at once.
const JITTER: f64 = 0.1;

/// The attempts of a delivery. After the last one it is given up.
#[expect(clippy::cast_possible_truncation, reason = "ten")]
pub const MAX_ATTEMPTS: u32 = PAUSES.len() as u32 + 1;

/// After this time a delivery is given up, whatever the number of its attempts.
pub const EXPIRY: Duration = Duration::from_secs(72 * HOUR);

/// The longest pause that a receiver can ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(6 * HOUR);

/// The pause after an attempt that failed, the `attempts`th one. `None`: it was the last one. A receiver's `Retry-After`
/// makes the pause longer, never shorter. `chance` is a random number from 0 to 1.
#[must_use]
pub fn pause(attempts: u32, retry_after: Option<Duration>, chance: f64) -> Option<Duration> {
    let nth = usize::try_from(attempts.saturating_sub(1)).ok()?;
    let pause = Duration::from_secs(*PAUSES.get(nth)?).mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0));
    Some(pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)))
}

/// The time that a `Retry-After` header asks for: seconds, or a date by the clock that shows `now`, in seconds since the
/// epoch.
#[must_use]
pub fn parse_retry_after(header: &str, now: u64) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse() {
        return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    let date = httpdate::parse_http_date(header.trim()).ok()?;
    let at = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(at.saturating_sub(now)).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ten_attempts_over_three_days() {
        let total = |chance| (1..).map_while(|attempts| pause(attempts, None, chance)).sum::<Duration>();
        assert_eq!(MAX_ATTEMPTS, 10);
        assert!(total(0.0) > Duration::from_secs(60 * HOUR) && total(1.0) < EXPIRY, "{:?}", total(1.0));
        assert_eq!(pause(1, None, 0.0), Some(Duration::from_secs(5)));
        assert_eq!((pause(9, None, 0.0).is_some(), pause(10, None, 0.0)), (true, None));
        assert_eq!(pause(u32::MAX, None, 0.0), None);
    }

    #[test]
    fn pauses_get_longer_and_differ() {
        for attempts in 1..MAX_ATTEMPTS - 1 {
            assert!(pause(attempts, None, 1.0) < pause(attempts + 1, None, 0.0));
            assert!(pause(attempts, None, 0.2) < pause(attempts, None, 0.8));
        }
    }

    #[test]
    fn a_receiver_can_ask_for_more_time_within_a_bound() {
        let after = |seconds| pause(1, Some(Duration::from_secs(seconds)), 0.0);
        assert_eq!(after(1), Some(Duration::from_secs(5)));
        assert_eq!(after(90), Some(Duration::from_secs(90)));
        assert_eq!(after(u64::MAX), Some(MAX_RETRY_AFTER));
        assert_eq!(pause(10, Some(Duration::from_secs(1)), 0.0), None);
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now = 784_111_777;
        for (header, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("999999999999", Some(6 * HOUR)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(6 * HOUR)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_retry_after(header, now), expected.map(Duration::from_secs), "{header:?}");
        }
    }
}
