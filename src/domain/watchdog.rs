//! When a page's event stream is to be opened anew, and when what it shows is no longer current: a state machine without
//! a browser.
//!
//! A browser reopens a stream by itself after some faults and never after others (an error status, a sleeping laptop
//! that lost the connection without noticing). So this decides for all of them. Instants are milliseconds of any clock
//! that keeps running while the machine sleeps.

/// A stream that was silent this long shows what may be old: the server sends something every 25 s.
const STALE_AFTER: f64 = 30_000.0;

/// A stream that was silent this long is dead.
const DEAD_AFTER: f64 = 60_000.0;

/// The pause before a stream that broke is opened anew: the shortest, how much is added at random after the first
/// failure, and after more. Random over seconds, so that those whom a restart cuts off don't return in one.
const PAUSE: (f64, f64, f64) = (500.0, 4_500.0, 8_500.0);

/// What to do about a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Show its last count as stale.
    Stale,
    /// The same, and open it anew.
    Reopen,
}

/// Watches over one stream.
#[derive(Debug, Clone, Default)]
pub struct Watchdog {
    /// The last event, or when the stream was opened.
    heard: f64,
    /// When to open it again, if it broke.
    reopen_at: Option<f64>,
    /// How often it broke since the last event.
    failures: u32,
}

impl Watchdog {
    /// The stream is being opened.
    pub fn opened(&mut self, now: f64) {
        self.heard = now;
        self.reopen_at = None;
    }

    /// Something came in.
    pub fn heard(&mut self, now: f64) {
        *self = Self { heard: now, ..Self::default() };
    }

    /// The stream broke. `random`: evenly from 0 to 1, fresh at each call.
    pub fn broke(&mut self, now: f64, random: f64) {
        let (shortest, first, later) = PAUSE;
        let spread = if self.failures == 0 { first } else { later };
        self.failures = self.failures.saturating_add(1);
        self.reopen_at = Some(now + shortest + spread * random);
    }

    /// What to do now.
    pub fn check(&mut self, now: f64) -> Verdict {
        if now < self.heard {
            // The clock was set back.
            self.heard = now;
        }
        let silence = now - self.heard;
        match self.reopen_at {
            Some(at) if now < at && silence < DEAD_AFTER => Verdict::Stale,
            Some(_) => Verdict::Reopen,
            None if silence >= DEAD_AFTER => Verdict::Reopen,
            None if silence >= STALE_AFTER => Verdict::Stale,
            None => Verdict::Fine,
        }
    }

    /// In how many milliseconds to check again.
    #[must_use]
    pub fn wait(&self, now: f64) -> f64 {
        let silence = now - self.heard;
        let next = if silence < STALE_AFTER { STALE_AFTER } else { DEAD_AFTER };
        self.reopen_at.map_or(next - silence, |at| at - now).clamp(0.0, DEAD_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_with_ticks_is_fine_for_ever() {
        let mut watchdog = Watchdog::default();
        watchdog.opened(0.0);
        for tick in 1..1_000 {
            let now = f64::from(tick) * 25_000.0;
            assert_eq!(watchdog.check(now), Verdict::Fine);
            watchdog.heard(now);
        }
    }

    #[test]
    fn silence_is_stale_after_half_a_minute_and_death_after_a_minute() {
        let mut watchdog = Watchdog::default();
        watchdog.opened(1_000.0);
        assert_eq!(watchdog.wait(1_000.0), 30_000.0);
        assert_eq!(watchdog.check(30_999.0), Verdict::Fine);
        assert_eq!(watchdog.check(31_000.0), Verdict::Stale);
        assert_eq!(watchdog.wait(31_000.0), 30_000.0);
        assert_eq!(watchdog.check(61_000.0), Verdict::Reopen);
    }

    #[test]
    fn a_broken_stream_is_reopened_for_ever_after_random_pauses_of_at_most_nine_seconds() {
        let mut watchdog = Watchdog::default();
        watchdog.opened(0.0);
        let mut now = 0.0;
        for failure in 0..1_000 {
            watchdog.broke(now, 1.0);
            assert_eq!(watchdog.wait(now), if failure == 0 { 5_000.0 } else { 9_000.0 });
            assert_eq!(watchdog.check(now), Verdict::Stale);
            now += watchdog.wait(now);
            assert_eq!(watchdog.check(now), Verdict::Reopen);
            watchdog.opened(now);
        }
        watchdog.broke(now, 0.0);
        assert_eq!(watchdog.wait(now), 500.0);
    }

    #[test]
    fn after_sleep_it_reopens_at_once() {
        let mut watchdog = Watchdog::default();
        watchdog.opened(0.0);
        watchdog.broke(10.0, 0.5);
        assert_eq!(watchdog.check(3_600_000.0), Verdict::Reopen);
    }

    #[test]
    fn a_clock_that_is_set_back_is_no_silence_and_no_endless_wait() {
        let mut watchdog = Watchdog::default();
        watchdog.opened(1e12);
        assert!(watchdog.wait(1e12 - 3_600_000.0) <= 60_000.0);
        assert_eq!(watchdog.check(1e12 - 3_600_000.0), Verdict::Fine);
        assert_eq!(watchdog.check(1e12 - 3_540_000.0), Verdict::Reopen);
    }
}
