//! The live signal: whether a channel is on air, as the operator or a video server reports it.
//!
//! - A channel comes on air with the first report of it, and stays on air while further reports repeat it.
//! - A report may name its **publisher**: one connection of an encoder to a video server. The end of another publisher's
//!   connection does not end the broadcast. Video servers report a second publisher of a name before they refuse it, and
//!   report its end right after; and they may report the end of an old connection after the start of a new one.
//! - A report without a publisher is an order: on air, or off air, whoever publishes.
//! - Reports are separate calls, so one can arrive after the end of its publisher. Shortly after the end of a publisher, a
//!   report that it still publishes is ignored. Its start is ignored too if the end arrived first. A publisher whose end put
//!   the channel off air may start again at once: some servers let a connection publish several times.

use super::Timestamp;

/// What makes a channel live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveMode {
    /// Its viewers: a channel is live while it has any.
    Viewers,
    /// The live signal.
    Signal,
}

/// Whether a channel is on air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// It is on air.
    Yes {
        /// When the broadcast began, by the clock of the database.
        since: Timestamp,
    },
    /// It is off air.
    No,
    /// This node does not know yet.
    Unknown,
}

impl Live {
    /// Whether the channel is on air, if that is known.
    #[must_use]
    pub const fn is_on_air(self) -> Option<bool> {
        match self {
            Self::Yes { .. } => Some(true),
            Self::No => Some(false),
            Self::Unknown => None,
        }
    }
}

/// How long a second publisher may be refused by its video server: an end within this time, in milliseconds, is a
/// refusal, and the first publisher goes on. After this time the second publisher has replaced the first.
pub const REFUSED_WITHIN: u32 = 30_000;

/// How long ago a broadcast may have begun that was not reported then, in milliseconds.
pub const STARTED_WITHIN: u32 = 24 * 3_600_000;

/// How long after the end of a publisher a report that it still publishes is a late one, in milliseconds.
pub const LATE_WITHIN: u32 = 30_000;

/// For how long a start is ignored after its publisher's end, in milliseconds, if that end did not put the channel off
/// air. Later, the publisher has started again.
pub const OVERTAKEN_WITHIN: u32 = 1_500;

/// Identifies one connection of an encoder to a video server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher(String);

impl Publisher {
    /// The most bytes of an id.
    pub const MAX_LEN: usize = 200;

    /// Accepts an id. Returns `None` for an empty or too long one.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        (1..=Self::MAX_LEN).contains(&id.len()).then_some(Self(id))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the operator or a video server reports about a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The channel is on air.
    OnAir {
        /// When the broadcast began, if that is not now. It counts only if the channel was off air, and not if it is
        /// before the channel went off air or [`STARTED_WITHIN`]: then the broadcast begins now.
        started_at: Option<Timestamp>,
        /// Who publishes, if known.
        publisher: Option<Publisher>,
    },
    /// This publisher, which was reported on air, still publishes.
    StillOnAir {
        /// Who publishes, if known.
        publisher: Option<Publisher>,
    },
    /// The channel is off air, or this publisher has ended.
    OffAir {
        /// Who published, if known.
        publisher: Option<Publisher>,
    },
}

/// A publisher that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Who published.
    pub publisher: Publisher,
    /// When its end was reported.
    pub at: Timestamp,
}

/// The live signal of a channel that was reported on air at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Whether the channel is on air.
    pub is_on_air: bool,
    /// When it came on air, or when it went off air.
    pub since: Timestamp,
    /// When it was last reported on air.
    pub heard_at: Timestamp,
    /// The present publisher, if known.
    pub publisher: Option<Publisher>,
    /// When that publisher was first reported.
    pub publisher_since: Timestamp,
    /// The publisher before, as long as the present one may still be refused.
    pub earlier: Option<Publisher>,
    /// The last publisher whose end was reported.
    pub ended: Option<Ended>,
}

impl Signal {
    /// The signal of a channel of which no other is known.
    #[must_use]
    pub const fn unknown() -> Self {
        Self::off(Timestamp::from_millis(0))
    }

    /// The signal of a channel that is off air since `now`.
    #[must_use]
    pub const fn off(now: Timestamp) -> Self {
        Self {
            is_on_air: false,
            since: now,
            heard_at: now,
            publisher: None,
            publisher_since: now,
            earlier: None,
            ended: None,
        }
    }

    /// Applies a report that arrives at `now`.
    pub fn apply(&mut self, report: Report, now: Timestamp) {
        match report {
            Report::OnAir { publisher, .. } if self.was_overtaken(publisher.as_ref(), now) => {}
            Report::StillOnAir { publisher } if self.has_ended(publisher.as_ref(), LATE_WITHIN, now) => {}
            Report::OnAir { started_at, publisher } => self.go_on_air(started_at, publisher, now),
            Report::StillOnAir { publisher } => self.go_on_air(None, publisher, now),
            Report::OffAir { publisher } => self.end(publisher, now),
        }
    }

    /// Whether the end of this publisher was reported within this time, in milliseconds.
    fn has_ended(&self, publisher: Option<&Publisher>, within: u32, now: Timestamp) -> bool {
        self.ended
            .as_ref()
            .is_some_and(|ended| Some(&ended.publisher) == publisher && now < ended.at.plus_millis(within))
    }

    /// Whether a start of this publisher was overtaken by its end.
    fn was_overtaken(&self, publisher: Option<&Publisher>, now: Timestamp) -> bool {
        let starts_again = !self.is_on_air && self.ended.as_ref().is_some_and(|ended| ended.at == self.since);
        !starts_again && self.has_ended(publisher, OVERTAKEN_WITHIN, now)
    }

    fn go_on_air(&mut self, started_at: Option<Timestamp>, publisher: Option<Publisher>, now: Timestamp) {
        // A publisher that has started again has not ended.
        self.ended.take_if(|ended| Some(&ended.publisher) == publisher.as_ref());
        if self.is_on_air {
            self.heard_at = now;
            if publisher.is_some() && publisher != self.publisher {
                self.change_publisher(publisher, now);
            }
            return;
        }
        let is_credible =
            |start: &Timestamp| *start >= self.since && start.plus_millis(STARTED_WITHIN) >= now;
        let since = started_at.filter(is_credible).unwrap_or(now).min(now);
        *self = Self { is_on_air: true, since, publisher, ended: self.ended.take(), ..Self::off(now) };
    }

    fn change_publisher(&mut self, publisher: Option<Publisher>, now: Timestamp) {
        if publisher == self.earlier {
            // The earlier publisher is still there, so the other one was refused.
            self.earlier = None;
        } else if self.earlier.is_none() || !self.may_be_refused(now) {
            self.earlier = self.publisher.take();
        }
        self.publisher = publisher;
        self.publisher_since = now;
    }

    fn end(&mut self, publisher: Option<Publisher>, now: Timestamp) {
        if !self.is_on_air {
            // The end is a repeated one, or it may have overtaken the start.
            if !self.has_ended(publisher.as_ref(), OVERTAKEN_WITHIN, now) {
                // Not the time of the end that put the channel off air.
                let at = now.max(self.since.plus_millis(1));
                self.ended = publisher.map(|publisher| Ended { publisher, at }).or(self.ended.take());
            }
            return;
        }
        let is_over = match (&publisher, &self.publisher) {
            (None, _) | (_, None) => true,
            (one, present) if one == present => match self.earlier.take() {
                Some(earlier) if self.may_be_refused(now) => {
                    self.publisher = Some(earlier);
                    self.publisher_since = now;
                    false
                }
                _ => true,
            },
            (one, _) => {
                self.earlier.take_if(|earlier| Some(&*earlier) == one.as_ref());
                false
            }
        };
        if is_over {
            *self = Self { ended: self.ended.take(), ..Self::off(now) };
        }
        if let Some(publisher) = publisher {
            self.ended = Some(Ended { publisher, at: now });
        }
    }

    fn may_be_refused(&self, now: Timestamp) -> bool {
        now < self.publisher_since.plus_millis(REFUSED_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
    }

    fn on(publisher: &str) -> Report {
        Report::OnAir { started_at: None, publisher: Publisher::new(publisher) }
    }

    fn still(publisher: &str) -> Report {
        Report::StillOnAir { publisher: Publisher::new(publisher) }
    }

    fn off(publisher: &str) -> Report {
        Report::OffAir { publisher: Publisher::new(publisher) }
    }

    /// Applies reports, each with its time in seconds. Returns since when the channel is on air, in the end.
    fn after(reports: &[(u64, Report)]) -> Option<Timestamp> {
        let mut signal = Signal::unknown();
        for (seconds, report) in reports {
            signal.apply(report.clone(), at(*seconds));
        }
        signal.is_on_air.then_some(signal.since)
    }

    #[test]
    fn the_first_report_starts_a_broadcast_and_repeated_ones_keep_its_start() {
        assert_eq!(after(&[]), None);
        for publisher in ["", "a"] {
            assert_eq!(after(&[(5, on(publisher)), (9, on(publisher)), (60, on(publisher))]), Some(at(5)));
            assert_eq!(after(&[(5, on(publisher)), (9, off(publisher))]), None);
            assert_eq!(after(&[(5, on(publisher)), (9, off(publisher)), (9, off(publisher))]), None);
            let again = [(5, on(publisher)), (9, off(publisher)), (12, on(publisher))];
            assert_eq!(after(&again), Some(at(12)));
        }
        assert_eq!(after(&[(5, off("a"))]), None);
    }

    #[test]
    fn a_given_start_counts_for_a_new_broadcast_and_is_never_in_the_future() {
        let given = |seconds| Report::OnAir { started_at: Some(at(seconds)), publisher: None };
        assert_eq!(after(&[(50, given(20))]), Some(at(20)));
        assert_eq!(after(&[(50, given(51))]), Some(at(50)));
        assert_eq!(after(&[(50, given(20)), (60, given(30))]), Some(at(20)));
    }

    #[test]
    fn a_given_start_is_not_before_the_last_end_and_not_more_than_a_day_ago() {
        let given = |seconds| Report::OnAir { started_at: Some(at(seconds)), publisher: None };
        let ended = [(50, given(20)), (100, off(""))];
        let then = |seconds, start| after(&[&ended[..], &[(seconds, given(start))]].concat());
        assert_eq!(then(500, 20), Some(at(500)));
        assert_eq!(then(500, 99), Some(at(500)));
        assert_eq!(then(500, 100), Some(at(100)));
        assert_eq!(then(500, 400), Some(at(400)));
        assert_eq!(then(200_000, 400), Some(at(200_000)));
        assert_eq!(after(&[(86_400, given(0))]), Some(at(0)));
        assert_eq!(after(&[(86_401, given(0))]), Some(at(86_401)));
    }

    #[test]
    fn a_second_publisher_that_is_refused_does_not_end_the_broadcast() {
        let refused = [(0, on("a")), (100, on("b")), (101, off("b"))];
        assert_eq!(after(&refused), Some(at(0)));
        assert_eq!(after(&[&refused[..], &[(102, on("c")), (103, off("c"))]].concat()), Some(at(0)));
        assert_eq!(after(&[&refused[..], &[(104, off("a"))]].concat()), None);
        // Attempts in parallel.
        let parallel = [(0, on("a")), (100, on("b")), (101, on("c")), (102, off("b")), (103, off("c"))];
        assert_eq!(after(&parallel), Some(at(0)));
    }

    #[test]
    fn the_late_end_of_an_old_connection_does_not_end_the_new_one() {
        let replaced = [(0, on("a")), (100, on("b")), (101, off("a"))];
        assert_eq!(after(&replaced), Some(at(0)));
        assert_eq!(after(&[&replaced[..], &[(102, off("b"))]].concat()), None);
        let later = [(0, on("a")), (100, on("b")), (900, off("a"))];
        assert_eq!(after(&later), Some(at(0)));
    }

    #[test]
    fn a_lost_end_does_not_keep_a_channel_on_air() {
        // The end of "a" was lost. "b" has published for long enough to be no refused attempt.
        assert_eq!(after(&[(0, on("a")), (100, on("b")), (130, off("b"))]), None);
        assert_eq!(after(&[(0, on("a")), (100, on("b")), (200, on("c")), (201, off("c"))]), Some(at(0)));
        assert_eq!(
            after(&[(0, on("a")), (100, on("b")), (200, on("c")), (201, off("c")), (300, off("b"))]),
            None
        );
    }

    #[test]
    fn a_repeated_report_of_the_earlier_publisher_makes_it_the_present_one() {
        let reports = [(0, on("a")), (100, on("b")), (110, on("a")), (140, off("b"))];
        assert_eq!(after(&reports), Some(at(0)));
        assert_eq!(after(&[&reports[..], &[(150, off("a"))]].concat()), None);
    }

    #[test]
    fn a_late_report_of_a_publisher_that_has_ended_changes_nothing() {
        let ended = [(0, on("a")), (90, off("a"))];
        let then = |reports: &[(u64, Report)]| after(&[&ended[..], reports].concat());
        assert_eq!(then(&[(91, still("a"))]), None);
        assert_eq!(then(&[(91, off("a")), (119, still("a"))]), None);
        assert_eq!(after(&[(5, off("a")), (6, on("a"))]), None, "the end has overtaken the start");
        assert_eq!(then(&[(200, off("a")), (201, on("a"))]), None, "that of the next start");
        assert_eq!(then(&[(90, off("b")), (90, on("b"))]), None, "in the same millisecond");
        // It starts again, although its end was repeated.
        assert_eq!(then(&[(91, on("a"))]), Some(at(91)));
        assert_eq!(then(&[(91, off("a")), (92, on("a"))]), Some(at(92)));
        // It is there after all, or its id was given to another one.
        assert_eq!(then(&[(93, on("a")), (94, still("a"))]), Some(at(93)));
        assert_eq!(then(&[(120, still("a"))]), Some(at(120)));
        // A reconnect and an order count at once, and a late report does not give the channel back to the old one.
        assert_eq!(then(&[(90, on("b"))]), Some(at(90)));
        assert_eq!(then(&[(90, still("b"))]), Some(at(90)));
        assert_eq!(then(&[(90, on(""))]), Some(at(90)));
        assert_eq!(then(&[(91, on("b")), (91, on("a")), (92, still("a")), (99, off("b"))]), None);
    }

    #[test]
    fn a_late_report_of_a_replaced_or_refused_publisher_does_not_keep_a_channel_on_air() {
        let replaced = [(0, on("a")), (100, on("b")), (101, off("a")), (102, still("a")), (103, off("b"))];
        assert_eq!(after(&replaced), None);
        let refused = [(0, on("a")), (100, on("b")), (101, off("b")), (102, still("b")), (103, off("a"))];
        assert_eq!(after(&refused), None);
    }

    #[test]
    fn a_report_that_a_publisher_still_publishes_puts_a_channel_on_air_whose_start_was_lost() {
        assert_eq!(after(&[(5, still("a")), (9, still("a"))]), Some(at(5)));
        assert_eq!(after(&[(5, still("a")), (9, off("a"))]), None);
        assert_eq!(after(&[(5, on("a")), (9, off("")), (10, still("a"))]), Some(at(10)));
    }

    #[test]
    fn a_report_without_a_publisher_is_an_order() {
        assert_eq!(after(&[(0, on("a")), (5, on("b")), (6, off(""))]), None);
        assert_eq!(after(&[(0, on("")), (5, off("a"))]), None);
        assert_eq!(after(&[(0, on("a")), (5, on("")), (6, off("a"))]), None);
        assert_eq!(after(&[(0, on("a")), (5, on("")), (6, off("z"))]), Some(at(0)));
    }

    #[test]
    fn ids_of_publishers_are_bounded() {
        assert!(Publisher::new("").is_none());
        assert!(Publisher::new("x".repeat(Publisher::MAX_LEN)).is_some());
        assert!(Publisher::new("x".repeat(Publisher::MAX_LEN + 1)).is_none());
    }
}
