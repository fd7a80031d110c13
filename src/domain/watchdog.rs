//! When a page's event stream is to be opened anew, and when what it shows is no longer current: a state machine without
//! a browser.
//!
//! A browser reopens a stream by itself after some faults and never after others (an error status, a sleeping laptop
//! that lost the connection without noticing). So this decides for all of them. Instants are milliseconds of any clock
//! that keeps running while the machine sleeps.
//!
//! A quiet stream is no dead one, and a page that overslept has heard nothing because it slept. So what is shown turns
//! stale by evidence: the stream broke, a question to the server was not answered, a promised tick did not come.

/// A page in sight that has heard nothing for this long asks the server whether it is there. Longer than half of the 25 s
/// between ticks, so that a quiet channel costs one question per tick; with the answer's time it is under 20 s.
const ASK_AFTER: f64 = 13_000.0;

/// How long the server may take to answer, and the pause until it is asked again if it hasn't.
pub const ANSWER_TIMEOUT: f64 = 5_000.0;

/// A stream that was silent this long shows what may be old: the server sends something every 25 s.
const STALE_AFTER: f64 = 30_000.0;

/// A stream that was silent this long is dead.
const DEAD_AFTER: f64 = 60_000.0;

/// How long the tab that has the stream may take to answer another tab.
const LEADER_TIMEOUT: f64 = 5_000.0;

/// The pause before a stream that broke is opened anew: the shortest, how much is added at random after the first
/// failure, and after more. Random over seconds, so that those whom a restart cuts off don't return in one.
const PAUSE: (f64, f64, f64) = (500.0, 4_500.0, 8_500.0);

/// A break that is mended within this time doesn't show: the stream goes from tab to tab, the network changes.
const GRACE: f64 = 1_000.0;

/// What to do about a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Ask the server whether it is there.
    Ask,
    /// Open it anew.
    Reopen,
}

/// Watches over one stream.
#[derive(Debug, Clone)]
pub struct Watchdog {
    /// The last event, or when the stream was opened.
    heard: f64,
    /// When to ask the server.
    ask_at: f64,
    /// When to open it again, if it broke.
    reopen_at: Option<f64>,
    /// How often it broke since the last event.
    failures: u32,
    /// From when on there is evidence that what is shown may be old.
    stale_at: f64,
}

impl Default for Watchdog {
    /// One that watches over nothing yet.
    fn default() -> Self {
        Self { heard: 0.0, ask_at: 0.0, reopen_at: None, failures: 0, stale_at: f64::INFINITY }
    }
}

impl Watchdog {
    /// The stream is being opened.
    pub fn opened(&mut self, now: f64) {
        self.heard = now;
        self.ask_at = now + ASK_AFTER;
        self.reopen_at = None;
    }

    /// Another tab was asked for its stream.
    pub fn asked(&mut self, now: f64) {
        self.opened(now);
        self.reopen_at = Some(now + LEADER_TIMEOUT);
    }

    /// Something came in.
    pub fn heard(&mut self, now: f64) {
        *self = Self { heard: now, ask_at: now + ASK_AFTER, ..Self::default() };
    }

    /// The stream broke. `random`: evenly from 0 to 1, fresh at each call.
    pub fn broke(&mut self, now: f64, random: f64) {
        let (shortest, first, later) = PAUSE;
        let spread = if self.failures == 0 { first } else { later };
        self.failures = self.failures.saturating_add(1);
        self.reopen_at = Some(now + shortest + spread * random);
        self.stale_at = self.stale_at.min(now + GRACE);
    }

    /// The network is gone.
    pub const fn cut_off(&mut self, now: f64) {
        self.stale_at = now;
    }

    /// The server was asked, and this came of it. One that answers is there, and so is the stream until it is proven dead.
    pub fn answered(&mut self, now: f64, answered: bool) {
        self.ask_at = now + if answered { ASK_AFTER } else { ANSWER_TIMEOUT };
        if !answered {
            self.stale_at = self.stale_at.min(now);
        } else if !self.is_broken() {
            self.stale_at = f64::INFINITY;
        }
    }

    /// What to do now. A page that nobody sees doesn't ask.
    pub fn check(&mut self, now: f64, hidden: bool) -> Verdict {
        if now < self.heard {
            // The clock was set back.
            self.heard = now;
            self.ask_at = now + ASK_AFTER;
            self.reopen_at = self.reopen_at.map(|_| now);
            self.stale_at = if self.stale_at.is_finite() { now } else { self.stale_at };
        }
        let is_dead = now - self.heard >= DEAD_AFTER;
        if is_dead {
            self.stale_at = self.stale_at.min(now);
        }
        if self.reopen_at.map_or(is_dead, |at| now >= at) {
            return Verdict::Reopen;
        }
        if !hidden && now >= self.ask_at {
            // For the case that no answer of either kind comes: the machine slept.
            self.ask_at = now + 2.0 * ANSWER_TIMEOUT;
            return Verdict::Ask;
        }
        Verdict::Fine
    }

    /// Whether the stream broke, and is not open again yet.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.reopen_at.is_some()
    }

    /// Whether what is shown may be old.
    #[must_use]
    pub fn is_stale(&self, now: f64) -> bool {
        now >= self.stale_at || now - self.heard >= STALE_AFTER
    }

    /// In how many milliseconds to check again.
    #[must_use]
    pub fn wait(&self, now: f64, hidden: bool) -> f64 {
        let silence = now - self.heard;
        let next = now + if silence < STALE_AFTER { STALE_AFTER } else { DEAD_AFTER } - silence;
        let next = self.reopen_at.unwrap_or(next);
        let next = if hidden { next } else { next.min(self.ask_at) };
        let next = if now < self.stale_at { next.min(self.stale_at) } else { next };
        (next - now).clamp(0.0, DEAD_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict::*, *};

    fn opened(now: f64) -> Watchdog {
        let mut watchdog = Watchdog::default();
        watchdog.opened(now);
        watchdog
    }

    #[test]
    fn a_stream_with_ticks_is_fine_for_ever() {
        let mut watchdog = opened(0.0);
        for tick in 1..1_000 {
            let now = f64::from(tick) * 25_000.0;
            assert_eq!(watchdog.check(now, true), Fine);
            assert!(!watchdog.is_stale(now));
            watchdog.heard(now);
        }
    }

    #[test]
    fn a_quiet_stream_of_a_page_in_sight_costs_one_question_per_tick() {
        let mut watchdog = opened(0.0);
        assert_eq!(watchdog.wait(0.0, false), 13_000.0);
        assert_eq!(watchdog.check(12_999.0, false), Fine);
        assert_eq!(watchdog.check(13_000.0, false), Ask);
        assert_eq!(watchdog.check(13_001.0, false), Fine, "one at a time");
        watchdog.answered(13_100.0, true);
        assert!(!watchdog.is_stale(13_100.0));
        assert!(watchdog.wait(13_100.0, false) > 25_000.0 - 13_100.0);
    }

    #[test]
    fn a_server_that_does_not_answer_makes_it_stale_within_20_seconds_and_one_that_does_clears_it() {
        let mut watchdog = opened(0.0);
        assert_eq!(watchdog.check(13_000.0, false), Ask);
        watchdog.answered(18_000.0, false);
        assert!(watchdog.is_stale(18_000.0));
        assert_eq!(watchdog.wait(18_000.0, false), 5_000.0);
        assert_eq!(watchdog.check(23_000.0, false), Ask);
        watchdog.answered(23_100.0, true);
        assert!(!watchdog.is_stale(23_100.0));
    }

    #[test]
    fn a_question_that_sleep_swallowed_is_asked_again() {
        let mut watchdog = opened(0.0);
        assert_eq!(watchdog.check(13_000.0, false), Ask);
        assert_eq!(watchdog.wait(13_000.0, false), 10_000.0);
        assert_eq!(watchdog.check(23_000.0, false), Ask);
    }

    #[test]
    fn silence_is_stale_after_half_a_minute_and_death_after_a_minute() {
        let mut watchdog = opened(1_000.0);
        assert_eq!(watchdog.wait(1_000.0, true), 30_000.0);
        assert!(!watchdog.is_stale(30_999.0));
        assert!(watchdog.is_stale(31_000.0));
        assert_eq!(watchdog.check(31_000.0, true), Fine);
        assert_eq!(watchdog.wait(31_000.0, true), 30_000.0);
        assert_eq!(watchdog.check(61_000.0, true), Reopen);
        watchdog.opened(61_000.0);
        assert!(watchdog.is_stale(61_000.0), "until something comes in");
        watchdog.heard(61_500.0);
        assert!(!watchdog.is_stale(61_500.0));
    }

    #[test]
    fn a_broken_stream_is_reopened_for_ever_after_random_pauses_of_at_most_nine_seconds() {
        let mut watchdog = opened(0.0);
        let mut now = 0.0;
        for failure in 0..1_000 {
            watchdog.broke(now, 1.0);
            let pause = if failure == 0 { 5_000.0 } else { 9_000.0 };
            assert_eq!(watchdog.check(now + pause - 1.0, true), Fine);
            assert!(watchdog.is_stale(now + pause - 1.0));
            now += pause;
            assert_eq!(watchdog.check(now, true), Reopen);
            watchdog.opened(now);
        }
        watchdog.broke(now, 0.0);
        assert_eq!(watchdog.wait(now, true), 500.0);
    }

    #[test]
    fn a_break_that_is_mended_within_a_second_does_not_show() {
        let mut watchdog = opened(0.0);
        watchdog.broke(0.0, 1.0);
        assert!(!watchdog.is_stale(999.0));
        assert_eq!(watchdog.wait(0.0, true), 1_000.0);
        assert!(watchdog.is_stale(1_000.0));
        assert_eq!(watchdog.wait(1_000.0, true), 4_000.0);
        watchdog.heard(1_500.0);
        assert!(!watchdog.is_stale(1_500.0));
    }

    #[test]
    fn an_answer_does_not_make_a_broken_stream_current() {
        let mut watchdog = opened(0.0);
        watchdog.broke(1.0, 1.0);
        watchdog.answered(2.0, true);
        assert!(watchdog.is_stale(1_001.0));
    }

    #[test]
    fn a_tab_that_is_asked_has_five_seconds_and_nothing_is_stale_meanwhile() {
        let mut watchdog = Watchdog::default();
        watchdog.asked(0.0);
        assert_eq!(watchdog.wait(0.0, true), 5_000.0);
        assert_eq!(watchdog.check(4_999.0, true), Fine);
        assert_eq!(watchdog.check(5_000.0, true), Reopen);
        assert!(!watchdog.is_stale(5_000.0));
    }

    #[test]
    fn after_sleep_it_reopens_at_once() {
        let mut watchdog = opened(0.0);
        watchdog.broke(10.0, 0.5);
        assert_eq!(watchdog.check(3_600_000.0, false), Reopen);
    }

    #[test]
    fn a_clock_that_is_set_back_delays_no_reopening() {
        let mut watchdog = opened(1e12);
        watchdog.broke(1e12, 1.0);
        assert_eq!(watchdog.check(1e12 - 3_600_000.0, true), Reopen);
    }

    #[test]
    fn a_clock_that_is_set_back_is_no_silence_and_no_endless_wait() {
        let mut watchdog = opened(1e12);
        assert!(watchdog.wait(1e12 - 3_600_000.0, false) <= 60_000.0);
        assert_eq!(watchdog.check(1e12 - 3_600_000.0, true), Fine);
        assert_eq!(watchdog.check(1e12 - 3_540_000.0, true), Reopen);
    }
}
