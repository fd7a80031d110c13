//! When a page's event stream is to be opened anew, and how current what it shows is: a state machine without a browser.
//!
//! A browser reopens a stream by itself after some faults and never after others (an error status, a sleeping laptop
//! that lost the connection without noticing). So this decides for all of them. Instants are milliseconds of any clock
//! that keeps running while the machine sleeps.
//!
//! A quiet stream is not a dead one. So what is shown turns stale by evidence: the stream broke, a question to the server
//! was not answered, a promised tick did not come, the page was away. After a minute without news it is unknown.
//!
//! While there is no stream, the answers to beats and to the page's own questions take its place.

use crate::domain::count::CountState;

/// A page in sight that has heard nothing for this long asks the server whether it is there. Longer than half of the 25 s
/// between ticks, so that a quiet channel costs one question per tick; with the answer's time it is under 20 s.
const ASK_AFTER: f64 = 13_000.0;

/// How long the server may take to answer, and the pause until it is asked again if it hasn't.
pub const ANSWER_TIMEOUT: f64 = 5_000.0;

/// Without a stream a page in sight asks for the counts: the shortest pause, and how much is added at random.
const COUNT_AFTER: (f64, f64) = (8_000.0, 4_000.0);

/// How long a count that the server has answered with is current while there is no stream: the longest pause between two
/// questions, and the time of an answer.
const ANSWER_LASTS: f64 = 20_000.0;

/// A stream that was silent this long shows what may be old: the server sends something every 25 s.
const STALE_AFTER: f64 = 30_000.0;

/// A stream that was silent this long is dead.
const DEAD_AFTER: f64 = 60_000.0;

/// Without news for this long, nothing is known.
const UNKNOWN_AFTER: f64 = 60_000.0;

/// How long the tab that has the stream may take to answer another tab: the shortest time, and how much is added at random.
const LEADER_TIMEOUT: (f64, f64) = (4_000.0, 2_000.0);

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
    /// Ask the server for the counts, since no stream tells them.
    Count,
    /// Open it anew.
    Reopen,
}

/// Watches over one stream.
#[derive(Debug, Clone)]
pub struct Watchdog {
    /// The last event, or when the stream was opened.
    heard: f64,
    /// The last news, by the stream or in an answer.
    known: f64,
    /// When to ask the server.
    ask_at: f64,
    /// When to open it again, if it broke.
    reopen_at: Option<f64>,
    /// How often it broke since the last event.
    failures: u32,
    /// From when on there is evidence that what is shown may be old.
    stale_at: f64,
    /// The page was away: what it shows is of before, and only news make it current.
    needs_news: bool,
}

impl Default for Watchdog {
    /// One that watches over nothing yet.
    fn default() -> Self {
        Self {
            heard: 0.0,
            known: 0.0,
            ask_at: 0.0,
            reopen_at: None,
            failures: 0,
            stale_at: f64::INFINITY,
            needs_news: false,
        }
    }
}

impl Watchdog {
    /// Something is shown from now on: what the page came with, or, after it was away, what it showed before.
    pub fn begun(&mut self, now: f64, was_away: bool) {
        *self =
            Self { heard: now, known: now, ask_at: now + ASK_AFTER, needs_news: was_away, ..Self::default() };
    }

    /// The stream is being opened.
    pub const fn opened(&mut self, now: f64) {
        self.heard = now;
        self.reopen_at = None;
        if self.failures == 0 {
            self.ask_at = now + ASK_AFTER;
        }
    }

    /// The stream is being opened in place of one that broke or died.
    pub fn reopened(&mut self, now: f64) {
        self.failures = self.failures.max(1);
        self.opened(now);
    }

    /// Another tab was asked for its stream.
    pub fn asked(&mut self, now: f64, random: f64) {
        self.reopen_at.get_or_insert(now + LEADER_TIMEOUT.0 + LEADER_TIMEOUT.1 * random);
    }

    /// The tab that has the stream has answered.
    pub const fn found(&mut self) {
        self.reopen_at = None;
    }

    /// Something came in.
    pub fn heard(&mut self, now: f64) {
        *self = Self { heard: now, known: now, ask_at: now + ASK_AFTER, ..Self::default() };
    }

    /// The stream broke. `random`: evenly from 0 to 1, fresh at each call.
    pub fn broke(&mut self, now: f64, random: f64) {
        let (shortest, first, later) = PAUSE;
        let spread = if self.failures == 0 { first } else { later };
        self.reopen_at = Some(now + shortest + spread * random);
        if self.failures == 0 {
            self.stale_at = self.stale_at.min(now + GRACE);
            self.ask_at = self.ask_at.min(now + GRACE + COUNT_AFTER.0 * random);
        }
        self.failures = self.failures.saturating_add(1);
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
        } else if self.failures == 0 {
            self.stale_at = f64::INFINITY;
        }
    }

    /// The server has answered with the counts of all that is shown.
    pub fn told(&mut self, now: f64, random: f64) {
        self.answered(now, true);
        if !self.is_heard(now) {
            self.ask_at = now + COUNT_AFTER.0 + COUNT_AFTER.1 * random;
            self.stale_at = now + ANSWER_LASTS;
            self.known = now;
            self.needs_news = false;
        }
    }

    /// Whether the stream tells the counts. If not, answers do.
    #[must_use]
    pub fn is_heard(&self, now: f64) -> bool {
        self.failures == 0 && !self.needs_news && now - self.heard < STALE_AFTER
    }

    /// What to do now. A page that nobody sees doesn't ask.
    pub fn check(&mut self, now: f64, hidden: bool) -> Verdict {
        if now < self.heard.max(self.known) {
            // The clock was set back.
            self.heard = now;
            self.known = now;
            self.ask_at = now + ASK_AFTER;
            self.reopen_at = self.reopen_at.map(|_| now);
            self.stale_at = if self.stale_at.is_finite() { now } else { self.stale_at };
        }
        let is_dead = now - self.heard >= DEAD_AFTER;
        if is_dead && self.failures == 0 {
            self.stale_at = self.stale_at.min(now);
        }
        if self.reopen_at.map_or(is_dead, |at| now >= at) {
            return Verdict::Reopen;
        }
        if !hidden && now >= self.ask_at {
            // For the case that no answer of either kind comes: the machine slept.
            self.ask_at = now + 2.0 * ANSWER_TIMEOUT;
            return if self.is_heard(now) { Verdict::Ask } else { Verdict::Count };
        }
        Verdict::Fine
    }

    /// Whether the stream broke, and is not open again yet.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.reopen_at.is_some()
    }

    /// How current what is shown is.
    #[must_use]
    pub fn state(&self, now: f64) -> CountState {
        if !self.needs_news && now < self.stale_at && now - self.heard.max(self.known) < STALE_AFTER {
            CountState::Live
        } else if now - self.known < UNKNOWN_AFTER {
            CountState::Stale
        } else {
            CountState::Unknown
        }
    }

    /// In how many milliseconds to check again.
    #[must_use]
    pub fn wait(&self, now: f64, hidden: bool) -> f64 {
        let changes = [self.stale_at, self.heard.max(self.known) + STALE_AFTER, self.known + UNKNOWN_AFTER];
        let next = self.reopen_at.unwrap_or(self.heard + DEAD_AFTER);
        let next = if hidden { next } else { next.min(self.ask_at) };
        let next = changes.into_iter().filter(|at| now < *at).fold(next, f64::min);
        (next - now).clamp(0.0, DEAD_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict::*, *};

    fn opened(now: f64) -> Watchdog {
        let mut watchdog = Watchdog::default();
        watchdog.begun(now, false);
        watchdog.opened(now);
        watchdog
    }

    fn is_stale(watchdog: &Watchdog, now: f64) -> bool {
        watchdog.state(now) != CountState::Live
    }

    #[test]
    fn a_stream_with_ticks_is_fine_for_ever() {
        let mut watchdog = opened(0.0);
        for tick in 1..1_000 {
            let now = f64::from(tick) * 25_000.0;
            assert_eq!(watchdog.check(now, true), Fine);
            assert!(!is_stale(&watchdog, now));
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
        assert!(!is_stale(&watchdog, 13_100.0));
        assert!(watchdog.wait(13_100.0, false) > 25_000.0 - 13_100.0);
    }

    #[test]
    fn a_server_that_does_not_answer_makes_it_stale_within_20_seconds_and_one_that_does_clears_it() {
        let mut watchdog = opened(0.0);
        assert_eq!(watchdog.check(13_000.0, false), Ask);
        watchdog.answered(18_000.0, false);
        assert!(is_stale(&watchdog, 18_000.0));
        assert_eq!(watchdog.wait(18_000.0, false), 5_000.0);
        assert_eq!(watchdog.check(23_000.0, false), Ask);
        watchdog.answered(23_100.0, true);
        assert!(!is_stale(&watchdog, 23_100.0));
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
        assert!(!is_stale(&watchdog, 30_999.0));
        assert!(is_stale(&watchdog, 31_000.0));
        assert_eq!(watchdog.check(31_000.0, true), Fine);
        assert_eq!(watchdog.wait(31_000.0, true), 30_000.0);
        assert_eq!(watchdog.check(61_000.0, true), Reopen);
        watchdog.opened(61_000.0);
        assert!(is_stale(&watchdog, 61_000.0), "until something comes in");
        watchdog.heard(61_500.0);
        assert!(!is_stale(&watchdog, 61_500.0));
    }

    #[test]
    fn a_broken_stream_is_reopened_for_ever_after_random_pauses_of_at_most_nine_seconds() {
        let mut watchdog = opened(0.0);
        let mut now = 0.0;
        for failure in 0..1_000 {
            watchdog.broke(now, 1.0);
            let pause = if failure == 0 { 5_000.0 } else { 9_000.0 };
            assert_eq!(watchdog.check(now + pause - 1.0, true), Fine);
            assert!(is_stale(&watchdog, now + pause - 1.0));
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
        assert!(!is_stale(&watchdog, 999.0));
        assert_eq!(watchdog.wait(0.0, true), 1_000.0);
        assert!(is_stale(&watchdog, 1_000.0));
        assert_eq!(watchdog.wait(1_000.0, true), 4_000.0);
        watchdog.heard(1_500.0);
        assert!(!is_stale(&watchdog, 1_500.0));
    }

    #[test]
    fn an_answer_does_not_make_a_broken_stream_current() {
        let mut watchdog = opened(0.0);
        watchdog.broke(1.0, 1.0);
        watchdog.answered(2.0, true);
        assert!(is_stale(&watchdog, 1_001.0));
    }

    #[test]
    fn a_tab_that_is_asked_has_four_to_six_seconds_and_nothing_is_stale_meanwhile() {
        for (random, patience) in [(0.0, 4_000.0), (1.0, 6_000.0)] {
            let mut watchdog = opened(0.0);
            watchdog.asked(0.0, random);
            assert_eq!(watchdog.wait(0.0, true), patience);
            assert_eq!(watchdog.check(patience - 1.0, true), Fine);
            assert_eq!(watchdog.check(patience, true), Reopen);
            assert!(!is_stale(&watchdog, patience));
            watchdog.found();
            assert_eq!(watchdog.check(patience, true), Fine);
        }
    }

    #[test]
    fn without_news_a_number_is_stale_and_after_a_minute_unknown() {
        // Streams that are refused, each at once.
        let mut watchdog = opened(0.0);
        for second in 0..60 {
            let now = f64::from(second) * 1_000.0;
            watchdog.broke(now, 0.0);
            assert_eq!(
                watchdog.state(now + 999.0),
                if second == 0 { CountState::Live } else { CountState::Stale }
            );
        }
        assert_eq!(watchdog.state(60_000.0), CountState::Unknown);
        watchdog.heard(60_500.0);
        assert_eq!(watchdog.state(60_500.0), CountState::Live);
    }

    #[test]
    fn silence_wakes_it_for_each_change_of_state() {
        let mut watchdog = opened(0.0);
        let mut changes = Vec::new();
        let mut now = 0.0;
        while now < 100_000.0 {
            let before = watchdog.state(now);
            now += watchdog.wait(now, true).max(1.0);
            if watchdog.check(now, true) == Reopen {
                watchdog.reopened(now);
            }
            if watchdog.state(now) != before {
                changes.push((now, watchdog.state(now)));
            }
        }
        assert_eq!(changes, [(30_000.0, CountState::Stale), (60_000.0, CountState::Unknown)]);
    }

    #[test]
    fn a_page_that_was_away_is_stale_until_there_are_news_whatever_the_server_answers() {
        let mut watchdog = Watchdog::default();
        watchdog.begun(3_600_000.0, true);
        watchdog.opened(3_600_000.0);
        assert!(is_stale(&watchdog, 3_600_000.0));
        watchdog.answered(3_601_000.0, true);
        assert!(is_stale(&watchdog, 3_601_000.0));
        watchdog.heard(3_602_000.0);
        assert_eq!(watchdog.state(3_602_000.0), CountState::Live);
    }

    #[test]
    fn without_a_stream_answers_keep_the_number_current_and_the_page_asks_every_8_to_12_seconds() {
        for (random, pause) in [(0.0, 8_000.0), (1.0, 12_000.0)] {
            let mut watchdog = opened(0.0);
            watchdog.broke(0.0, random);
            let mut now = 1_000.0 + 8_000.0 * random;
            for _ in 0..50 {
                while watchdog.check(now, false) == Reopen {
                    watchdog.reopened(now);
                    watchdog.broke(now, 1.0);
                }
                watchdog.told(now, random);
                assert_eq!(watchdog.state(now + pause), CountState::Live);
                assert_ne!(watchdog.check(now + pause - 1.0, false), Count, "not before");
                now += pause;
                while watchdog.check(now, false) == Reopen {
                    watchdog.reopened(now);
                    watchdog.broke(now, 1.0);
                }
            }
            assert!(is_stale(&watchdog, now + 20_000.0), "answers don't last");
        }
    }

    #[test]
    fn a_stream_that_is_open_and_says_nothing_is_made_up_for_by_answers() {
        // A proxy that holds the stream back.
        let mut watchdog = opened(0.0);
        assert_eq!(watchdog.check(13_000.0, false), Ask);
        watchdog.answered(13_100.0, true);
        assert!(!watchdog.is_heard(30_000.0));
        assert_eq!(watchdog.check(30_000.0, false), Count);
        watchdog.told(30_100.0, 0.5);
        assert_eq!(watchdog.state(40_000.0), CountState::Live);
        assert_eq!(watchdog.check(40_100.0, false), Count);
        watchdog.told(59_000.0, 0.5);
        assert_eq!(watchdog.check(60_000.0, false), Reopen);
        watchdog.reopened(60_000.0);
        watchdog.told(61_000.0, 0.5);
        assert_eq!(watchdog.state(80_900.0), CountState::Live);
    }

    #[test]
    fn a_beat_that_was_answered_spares_a_question_and_is_not_shown_beside_a_stream() {
        let mut watchdog = opened(0.0);
        watchdog.heard(1_000.0);
        watchdog.told(13_000.0, 0.5);
        assert!(watchdog.is_heard(13_000.0));
        assert_eq!(watchdog.check(14_000.0, false), Fine);
        assert_eq!(watchdog.wait(13_000.0, false), 13_000.0);
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
