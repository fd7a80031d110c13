//! Watches one event stream: decides when to reopen it and how current the counts are. A state machine without browser
//! APIs.
//!
//! A browser reopens a stream by itself after some faults and never after others: an error status, or a connection lost
//! while a laptop slept. The watchdog reopens it after every fault. Times are milliseconds of any clock that keeps
//! running while the machine sleeps.
//!
//! A quiet stream is not a dead stream. Counts turn stale only on evidence: the stream broke, the server didn't answer
//! a request, an expected tick didn't arrive, or the page was away. A minute after the last confirmation a count is
//! unknown.
//!
//! While no stream delivers counts, the answers to beats and to the page's own requests replace it.

use crate::domain::count::CountState;

/// A visible page that has received nothing for this long pings the server. More than half of the 25 s between ticks,
/// so a quiet channel costs one ping per tick. Together with [`ANSWER_TIMEOUT`] it stays under 20 s.
const ASK_AFTER: f64 = 13_000.0;

/// The time the server has to answer, and the pause before the next request if it doesn't.
pub const ANSWER_TIMEOUT: f64 = 5_000.0;

/// The pause between requests for counts by a visible page without a stream: the minimum, and the maximum random
/// addition.
const COUNT_AFTER: (f64, f64) = (8_000.0, 4_000.0);

/// How long a count from an answer stays current without a stream. Covers the longest pause between two requests and
/// the time for an answer.
const ANSWER_LASTS: f64 = 20_000.0;

/// After this much silence on the stream the counts are stale: the server sends something every 25 s.
const STALE_AFTER: f64 = 30_000.0;

/// After this much silence the stream is dead.
const DEAD_AFTER: f64 = 60_000.0;

/// After this long without confirmation the counts are unknown.
const UNKNOWN_AFTER: f64 = 60_000.0;

/// The time the leading tab has to answer another tab: the minimum, and the maximum random addition.
const LEADER_TIMEOUT: (f64, f64) = (4_000.0, 2_000.0);

/// The pause before a broken stream is reopened: the minimum, the maximum random addition after the first failure, and
/// after later failures. Spread over seconds, so that clients don't all reconnect at once after a server restart.
const PAUSE: (f64, f64, f64) = (500.0, 4_500.0, 8_500.0);

/// A break repaired within this time isn't shown, such as during a change of leader or network.
const GRACE: f64 = 1_000.0;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Ping the server.
    Ask,
    /// Request the counts from the server, because no stream delivers them.
    Count,
    /// Reopen the stream.
    Reopen,
}

/// The watchdog of one stream.
#[derive(Debug, Clone)]
pub struct Watchdog {
    /// The time of the last event, or of opening the stream.
    last_event: f64,
    /// When the counts were last confirmed, by a stream event or an answer.
    last_confirmed: f64,
    /// When to send the next request.
    ask_at: f64,
    /// When to reopen the stream, if it broke or the leader owes an answer.
    reopen_at: Option<f64>,
    /// How often the stream broke since the last event.
    failures: u32,
    /// When the counts turn stale on the evidence so far.
    stale_at: f64,
    /// Whether the page was away: its counts are stale until a new count or event arrives.
    needs_update: bool,
}

impl Default for Watchdog {
    /// A watchdog without a stream.
    fn default() -> Self {
        Self {
            last_event: 0.0,
            last_confirmed: 0.0,
            ask_at: 0.0,
            reopen_at: None,
            failures: 0,
            stale_at: f64::INFINITY,
            needs_update: false,
        }
    }
}

impl Watchdog {
    /// Starts to watch. The page shows its initial count or, after `was_away`, its old count.
    pub fn start(&mut self, now: f64, was_away: bool) {
        *self = Self {
            last_event: now,
            last_confirmed: now,
            ask_at: now + ASK_AFTER,
            needs_update: was_away,
            ..Self::default()
        };
    }

    /// The stream was opened.
    pub const fn on_opened(&mut self, now: f64) {
        self.last_event = now;
        self.reopen_at = None;
        if self.failures == 0 {
            self.ask_at = now + ASK_AFTER;
        }
    }

    /// The stream was opened again after it broke or died.
    pub fn on_reopened(&mut self, now: f64) {
        self.failures = self.failures.max(1);
        self.on_opened(now);
    }

    /// The leader was asked for a sign of life.
    pub fn on_leader_asked(&mut self, now: f64, random: f64) {
        self.reopen_at.get_or_insert(now + LEADER_TIMEOUT.0 + LEADER_TIMEOUT.1 * random);
    }

    /// The leader answered.
    pub const fn on_leader_answered(&mut self) {
        self.reopen_at = None;
    }

    /// An event arrived on the stream.
    pub fn on_event(&mut self, now: f64) {
        *self = Self { last_event: now, last_confirmed: now, ask_at: now + ASK_AFTER, ..Self::default() };
    }

    /// The stream broke. `random` is uniform from 0 to 1 and new for each call.
    pub fn on_broken(&mut self, now: f64, random: f64) {
        let (shortest, first, later) = PAUSE;
        let spread = if self.failures == 0 { first } else { later };
        self.reopen_at = Some(now + shortest + spread * random);
        if self.failures == 0 {
            self.stale_at = self.stale_at.min(now + GRACE);
            self.ask_at = self.ask_at.min(now + GRACE + COUNT_AFTER.0 * random);
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// The browser is offline.
    pub const fn on_offline(&mut self, now: f64) {
        self.stale_at = now;
    }

    /// A request was answered, or failed. While the server answers, the stream counts as alive until it is proven dead.
    pub fn on_answer(&mut self, now: f64, answered: bool) {
        self.ask_at = now + if answered { ASK_AFTER } else { ANSWER_TIMEOUT };
        if !answered {
            self.stale_at = self.stale_at.min(now);
        } else if self.failures == 0 {
            self.stale_at = f64::INFINITY;
        }
    }

    /// The server answered with the counts of all channels shown.
    pub fn on_counts(&mut self, now: f64, random: f64) {
        self.on_answer(now, true);
        if !self.is_stream_fresh(now) {
            self.ask_at = now + COUNT_AFTER.0 + COUNT_AFTER.1 * random;
            self.stale_at = now + ANSWER_LASTS;
            self.last_confirmed = now;
            self.needs_update = false;
        }
    }

    /// Whether the stream delivers the counts. If not, answers do.
    #[must_use]
    pub fn is_stream_fresh(&self, now: f64) -> bool {
        self.failures == 0 && !self.needs_update && now - self.last_event < STALE_AFTER
    }

    /// What to do now. A hidden page sends no requests.
    pub fn check(&mut self, now: f64, hidden: bool) -> Verdict {
        if now < self.last_event.max(self.last_confirmed) {
            // The clock was set back.
            self.last_event = now;
            self.last_confirmed = now;
            self.ask_at = now + ASK_AFTER;
            self.reopen_at = self.reopen_at.map(|_| now);
            self.stale_at = if self.stale_at.is_finite() { now } else { self.stale_at };
        }
        let is_dead = now - self.last_event >= DEAD_AFTER;
        if is_dead && self.failures == 0 {
            self.stale_at = self.stale_at.min(now);
        }
        if self.reopen_at.map_or(is_dead, |at| now >= at) {
            return Verdict::Reopen;
        }
        if !hidden && now >= self.ask_at {
            // Ask again later if neither an answer nor a failure is reported, because the machine slept.
            self.ask_at = now + 2.0 * ANSWER_TIMEOUT;
            return if self.is_stream_fresh(now) { Verdict::Ask } else { Verdict::Count };
        }
        Verdict::Fine
    }

    /// Whether the stream is waiting to be reopened.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.reopen_at.is_some()
    }

    /// The state of the counts shown.
    #[must_use]
    pub fn state(&self, now: f64) -> CountState {
        if !self.needs_update
            && now < self.stale_at
            && now - self.last_event.max(self.last_confirmed) < STALE_AFTER
        {
            CountState::Live
        } else if now - self.last_confirmed < UNKNOWN_AFTER {
            CountState::Stale
        } else {
            CountState::Unknown
        }
    }

    /// Milliseconds until the next check.
    #[must_use]
    pub fn wait(&self, now: f64, hidden: bool) -> f64 {
        let changes = [
            self.stale_at,
            self.last_event.max(self.last_confirmed) + STALE_AFTER,
            self.last_confirmed + UNKNOWN_AFTER,
        ];
        let next = self.reopen_at.unwrap_or(self.last_event + DEAD_AFTER);
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
        watchdog.start(now, false);
        watchdog.on_opened(now);
        watchdog
    }

    fn is_stale(watchdog: &Watchdog, now: f64) -> bool {
        watchdog.state(now) != CountState::Live
    }

    #[test]
    fn a_stream_with_ticks_stays_live() {
        let mut watchdog = opened(0.0);
        for tick in 1..1_000 {
            let now = f64::from(tick) * 25_000.0;
            assert_eq!(watchdog.check(now, true), Fine);
            assert!(!is_stale(&watchdog, now));
            watchdog.on_event(now);
        }
    }

    #[test]
    fn a_visible_page_with_a_quiet_stream_sends_one_ping_per_tick() {
        let mut watchdog = opened(0.0);
        assert_eq!(watchdog.wait(0.0, false), 13_000.0);
        assert_eq!(watchdog.check(12_999.0, false), Fine);
        assert_eq!(watchdog.check(13_000.0, false), Ask);
        assert_eq!(watchdog.check(13_001.0, false), Fine, "one at a time");
        watchdog.on_answer(13_100.0, true);
        assert!(!is_stale(&watchdog, 13_100.0));
        assert!(watchdog.wait(13_100.0, false) > 25_000.0 - 13_100.0);
    }

    #[test]
    fn an_unanswered_ping_makes_the_count_stale_within_20_seconds_and_an_answer_clears_it() {
        let mut watchdog = opened(0.0);
        assert_eq!(watchdog.check(13_000.0, false), Ask);
        watchdog.on_answer(18_000.0, false);
        assert!(is_stale(&watchdog, 18_000.0));
        assert_eq!(watchdog.wait(18_000.0, false), 5_000.0);
        assert_eq!(watchdog.check(23_000.0, false), Ask);
        watchdog.on_answer(23_100.0, true);
        assert!(!is_stale(&watchdog, 23_100.0));
    }

    #[test]
    fn a_ping_lost_to_sleep_is_repeated() {
        let mut watchdog = opened(0.0);
        assert_eq!(watchdog.check(13_000.0, false), Ask);
        assert_eq!(watchdog.wait(13_000.0, false), 10_000.0);
        assert_eq!(watchdog.check(23_000.0, false), Ask);
    }

    #[test]
    fn a_silent_stream_is_stale_after_30_seconds_and_dead_after_60() {
        let mut watchdog = opened(1_000.0);
        assert_eq!(watchdog.wait(1_000.0, true), 30_000.0);
        assert!(!is_stale(&watchdog, 30_999.0));
        assert!(is_stale(&watchdog, 31_000.0));
        assert_eq!(watchdog.check(31_000.0, true), Fine);
        assert_eq!(watchdog.wait(31_000.0, true), 30_000.0);
        assert_eq!(watchdog.check(61_000.0, true), Reopen);
        watchdog.on_opened(61_000.0);
        assert!(is_stale(&watchdog, 61_000.0), "until an event arrives");
        watchdog.on_event(61_500.0);
        assert!(!is_stale(&watchdog, 61_500.0));
    }

    #[test]
    fn a_broken_stream_is_always_reopened_after_random_pauses_of_at_most_9_seconds() {
        let mut watchdog = opened(0.0);
        let mut now = 0.0;
        for failure in 0..1_000 {
            watchdog.on_broken(now, 1.0);
            let pause = if failure == 0 { 5_000.0 } else { 9_000.0 };
            assert_eq!(watchdog.check(now + pause - 1.0, true), Fine);
            assert!(is_stale(&watchdog, now + pause - 1.0));
            now += pause;
            assert_eq!(watchdog.check(now, true), Reopen);
            watchdog.on_opened(now);
        }
        watchdog.on_broken(now, 0.0);
        assert_eq!(watchdog.wait(now, true), 500.0);
    }

    #[test]
    fn a_break_repaired_within_a_second_is_not_shown() {
        let mut watchdog = opened(0.0);
        watchdog.on_broken(0.0, 1.0);
        assert!(!is_stale(&watchdog, 999.0));
        assert_eq!(watchdog.wait(0.0, true), 1_000.0);
        assert!(is_stale(&watchdog, 1_000.0));
        assert_eq!(watchdog.wait(1_000.0, true), 4_000.0);
        watchdog.on_event(1_500.0);
        assert!(!is_stale(&watchdog, 1_500.0));
    }

    #[test]
    fn a_ping_answer_does_not_make_a_broken_stream_live() {
        let mut watchdog = opened(0.0);
        watchdog.on_broken(1.0, 1.0);
        watchdog.on_answer(2.0, true);
        assert!(is_stale(&watchdog, 1_001.0));
    }

    #[test]
    fn the_leader_has_4_to_6_seconds_to_answer_and_counts_stay_live_meanwhile() {
        for (random, timeout) in [(0.0, 4_000.0), (1.0, 6_000.0)] {
            let mut watchdog = opened(0.0);
            watchdog.on_leader_asked(0.0, random);
            assert_eq!(watchdog.wait(0.0, true), timeout);
            assert_eq!(watchdog.check(timeout - 1.0, true), Fine);
            assert_eq!(watchdog.check(timeout, true), Reopen);
            assert!(!is_stale(&watchdog, timeout));
            watchdog.on_leader_answered();
            assert_eq!(watchdog.check(timeout, true), Fine);
        }
    }

    #[test]
    fn unconfirmed_counts_are_stale_and_unknown_after_a_minute() {
        // Every stream is refused at once.
        let mut watchdog = opened(0.0);
        for second in 0..60 {
            let now = f64::from(second) * 1_000.0;
            watchdog.on_broken(now, 0.0);
            assert_eq!(
                watchdog.state(now + 999.0),
                if second == 0 { CountState::Live } else { CountState::Stale }
            );
        }
        assert_eq!(watchdog.state(60_000.0), CountState::Unknown);
        watchdog.on_event(60_500.0);
        assert_eq!(watchdog.state(60_500.0), CountState::Live);
    }

    #[test]
    fn a_silent_stream_wakes_the_page_for_each_state_change() {
        let mut watchdog = opened(0.0);
        let mut changes = Vec::new();
        let mut now = 0.0;
        while now < 100_000.0 {
            let before = watchdog.state(now);
            now += watchdog.wait(now, true).max(1.0);
            if watchdog.check(now, true) == Reopen {
                watchdog.on_reopened(now);
            }
            if watchdog.state(now) != before {
                changes.push((now, watchdog.state(now)));
            }
        }
        assert_eq!(changes, [(30_000.0, CountState::Stale), (60_000.0, CountState::Unknown)]);
    }

    #[test]
    fn a_page_that_was_away_is_stale_until_an_event_arrives_even_if_pings_are_answered() {
        let mut watchdog = Watchdog::default();
        watchdog.start(3_600_000.0, true);
        watchdog.on_opened(3_600_000.0);
        assert!(is_stale(&watchdog, 3_600_000.0));
        watchdog.on_answer(3_601_000.0, true);
        assert!(is_stale(&watchdog, 3_601_000.0));
        watchdog.on_event(3_602_000.0);
        assert_eq!(watchdog.state(3_602_000.0), CountState::Live);
    }

    #[test]
    fn without_a_stream_the_page_requests_counts_every_8_to_12_seconds_and_stays_live() {
        for (random, pause) in [(0.0, 8_000.0), (1.0, 12_000.0)] {
            let mut watchdog = opened(0.0);
            watchdog.on_broken(0.0, random);
            let mut now = 1_000.0 + 8_000.0 * random;
            for _ in 0..50 {
                while watchdog.check(now, false) == Reopen {
                    watchdog.on_reopened(now);
                    watchdog.on_broken(now, 1.0);
                }
                watchdog.on_counts(now, random);
                assert_eq!(watchdog.state(now + pause), CountState::Live);
                assert_ne!(watchdog.check(now + pause - 1.0, false), Count, "not before");
                now += pause;
                while watchdog.check(now, false) == Reopen {
                    watchdog.on_reopened(now);
                    watchdog.on_broken(now, 1.0);
                }
            }
            assert!(is_stale(&watchdog, now + 20_000.0), "answers expire");
        }
    }

    #[test]
    fn answers_replace_an_open_stream_that_delivers_nothing() {
        // A proxy buffers the stream.
        let mut watchdog = opened(0.0);
        assert_eq!(watchdog.check(13_000.0, false), Ask);
        watchdog.on_answer(13_100.0, true);
        assert!(!watchdog.is_stream_fresh(30_000.0));
        assert_eq!(watchdog.check(30_000.0, false), Count);
        watchdog.on_counts(30_100.0, 0.5);
        assert_eq!(watchdog.state(40_000.0), CountState::Live);
        assert_eq!(watchdog.check(40_100.0, false), Count);
        watchdog.on_counts(59_000.0, 0.5);
        assert_eq!(watchdog.check(60_000.0, false), Reopen);
        watchdog.on_reopened(60_000.0);
        watchdog.on_counts(61_000.0, 0.5);
        assert_eq!(watchdog.state(80_900.0), CountState::Live);
    }

    #[test]
    fn an_answered_beat_replaces_a_ping_and_its_count_is_ignored_while_the_stream_is_fresh() {
        let mut watchdog = opened(0.0);
        watchdog.on_event(1_000.0);
        watchdog.on_counts(13_000.0, 0.5);
        assert!(watchdog.is_stream_fresh(13_000.0));
        assert_eq!(watchdog.check(14_000.0, false), Fine);
        assert_eq!(watchdog.wait(13_000.0, false), 13_000.0);
    }

    #[test]
    fn a_broken_stream_is_reopened_at_once_after_sleep() {
        let mut watchdog = opened(0.0);
        watchdog.on_broken(10.0, 0.5);
        assert_eq!(watchdog.check(3_600_000.0, false), Reopen);
    }

    #[test]
    fn a_clock_set_back_does_not_delay_reopening() {
        let mut watchdog = opened(1e12);
        watchdog.on_broken(1e12, 1.0);
        assert_eq!(watchdog.check(1e12 - 3_600_000.0, true), Reopen);
    }

    #[test]
    fn a_clock_set_back_is_not_silence_and_keeps_the_wait_short() {
        let mut watchdog = opened(1e12);
        assert!(watchdog.wait(1e12 - 3_600_000.0, false) <= 60_000.0);
        assert_eq!(watchdog.check(1e12 - 3_600_000.0, true), Fine);
        assert_eq!(watchdog.check(1e12 - 3_540_000.0, true), Reopen);
    }
}
