//! When a channel was on air, as one node sees it.
//!
//! The owner of the channel says when a span on air began, that it goes on, and when it ended. Another node says what its own
//! calls have shown, since the owner samples once a second: it can miss a short broadcast, or the start of one.

use std::time::Duration;

use super::TakenSpan;
use crate::{
    domain::Timestamp,
    server::{
        database::Sight,
        history::{Span, broadcast::GRACE},
    },
};

/// How often the end of a span that goes on is written. In between, readers take its end from the row of the part.
const LENGTHEN_EVERY: Duration = Duration::from_secs(30);

/// How long after the last observation of viewers a glimpse lasts, if there are none any more. What lasts longer, the owner's
/// samples see.
const GLIMPSE_HOLDS: Duration = Duration::from_secs(1);

/// When the end of a glimpse is taken: after the owner has written what it has seen of the span.
const GLIMPSE_SETTLES: Duration = Duration::from_secs(10);

/// A broadcast that is not lengthened for [`GRACE`] is over.
const _: () = assert!(LENGTHEN_EVERY.as_secs() * 4 < GRACE.as_secs());

/// Whether a channel is on air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Air {
    /// It is on air; since when, if that is known.
    On {
        /// When the live signal began.
        since: Option<Timestamp>,
    },
    /// It is off air, or that is not known.
    Off,
}

/// When a channel was on air.
#[derive(Debug, Default)]
pub(super) struct AirTime {
    /// The last span, as the owner has seen it.
    owned: Option<Owned>,
    /// The last span, as this node's own calls have shown it while another node was the owner.
    glimpse: Option<Glimpse>,
}

/// A span on air, as the owner has seen it.
#[derive(Debug, Clone, Copy)]
struct Owned {
    span: Span,
    /// When it was first observed.
    observed_from: Timestamp,
    is_on: bool,
    /// Whether anything but the end of the span has changed.
    is_news: bool,
    /// The end when it was last taken.
    taken: Timestamp,
}

/// A span on air, as a node has seen it that is not the owner: with viewers, or with a live signal that it was told of.
#[derive(Debug, Clone, Copy)]
struct Glimpse {
    span: Span,
    /// When it was first observed.
    observed_from: Timestamp,
    has_viewers: bool,
    /// Whether its start was not taken yet.
    has_begun: bool,
    /// When its end was seen, until it was taken.
    ended: Option<Timestamp>,
}

impl AirTime {
    /// Whether the channel was on air when its owner, this node, last observed it.
    pub(super) fn is_on(&self) -> bool {
        self.owned.is_some_and(|owned| owned.is_on)
    }

    /// The last instant on air that this node has observed as the owner.
    pub(super) fn last_owned(&self) -> Option<Timestamp> {
        self.owned.map(|owned| owned.span.to)
    }

    /// Records an observation of the owner. `max_gap`: the longest time between two of them that counts as observed. Returns
    /// whether a span began.
    pub(super) fn observe(&mut self, count: u32, at: Timestamp, air: Air, max_gap: Duration) -> bool {
        let is_on = air != Air::Off;
        match (&mut self.owned, air) {
            (Some(owned), _) if owned.is_on && (!is_on || at <= owned.span.to + GRACE) => {
                // After a pause, another node may have written that the span goes on or has ended.
                let is_gap = at > owned.span.to + max_gap;
                owned.is_news |= !is_on || is_gap;
                owned.is_on = is_on;
                // Without viewers the broadcast lasted until now, if it was observed until now. A signal that has ended may
                // have ended a while ago.
                if at > owned.span.to && (is_on || count == 0 && !is_gap) {
                    owned.span.to = at;
                }
                false
            }
            (_, Air::On { since }) => self.begin(since.unwrap_or(at), at),
            (_, Air::Off) => false,
        }
    }

    /// Records that the owner sees at `at` that the channel is on air since `since`. Returns whether a span began. Otherwise the
    /// last one goes on.
    pub(super) fn begin(&mut self, since: Timestamp, at: Timestamp) -> bool {
        if let Some(owned) = self.owned.as_mut().filter(|owned| at <= owned.span.to + GRACE) {
            owned.span.to = owned.span.to.max(at);
            (owned.is_on, owned.is_news) = (true, true);
            return false;
        }
        let span = Span::new(since, at);
        self.owned = Some(Owned { span, observed_from: at, is_on: true, is_news: true, taken: at });
        true
    }

    /// Records that the owner does not know the count. A channel that was on air is assumed to stay so, unless nothing was
    /// observed for so long that the broadcast is over.
    pub(super) fn lose_sight(&mut self, at: Timestamp) {
        let goes_on = |owned: &&mut Owned| owned.is_on && at > owned.span.to && at <= owned.span.to + GRACE;
        if let Some(owned) = self.owned.as_mut().filter(goes_on) {
            owned.span.to = at;
            owned.is_news = true;
        }
    }

    /// Records when the live signal ended. The owner may have observed that it goes on for a moment longer, if another node
    /// was told of the end.
    pub(super) fn end_signal(&mut self, ended_at: Timestamp, max_gap: Duration) {
        let Some(owned) = &mut self.owned else { return };
        if ended_at + max_gap >= owned.span.to && ended_at <= owned.span.to + GRACE {
            // What may be written does not become shorter.
            owned.span.to = ended_at.max(owned.taken);
            (owned.is_on, owned.is_news) = (false, true);
        }
    }

    /// Records a fresh count of a channel of another node. A live signal says itself when it began; see
    /// [`AirTime::glimpse_signal`].
    pub(super) fn glimpse_count(&mut self, count: u32, at: Timestamp, air: Air) {
        let has_viewers = count > 0 && air == (Air::On { since: None });
        match &mut self.glimpse {
            Some(glimpse) if at <= glimpse.span.to + GRACE => {
                if at < glimpse.span.to {
                    return;
                }
                if has_viewers || glimpse.has_viewers && at <= glimpse.span.to + GLIMPSE_HOLDS {
                    glimpse.span.to = at;
                }
                if glimpse.has_viewers && !has_viewers {
                    glimpse.ended = Some(at);
                }
                glimpse.has_viewers = has_viewers;
            }
            _ if has_viewers => {
                self.glimpse = Some(Glimpse { has_viewers, ..Glimpse::new(at, at) });
            }
            _ => {}
        }
    }

    /// Records that this node was told at `at` of a live signal of a channel of another node.
    pub(super) fn glimpse_signal(&mut self, since: Timestamp, at: Timestamp) {
        match &mut self.glimpse {
            Some(glimpse) if at <= glimpse.span.to + GRACE => {
                glimpse.span.to = glimpse.span.to.max(at);
                (glimpse.has_begun, glimpse.ended) = (true, None);
            }
            _ => self.glimpse = Some(Glimpse::new(since, at)),
        }
    }

    /// Records that this node was told when the live signal ended of a channel of another node. Of a longer broadcast the owner
    /// has seen the end.
    pub(super) fn glimpse_signal_end(&mut self, ended_at: Timestamp) {
        let is_short = |glimpse: &&mut Glimpse| ended_at <= glimpse.span.to + GRACE;
        if let Some(glimpse) = self.glimpse.as_mut().filter(is_short) {
            glimpse.span.to = glimpse.span.to.max(ended_at);
            glimpse.ended = Some(glimpse.span.to);
        }
    }

    /// Takes the span on air, if its row must be written; with `everything`, if it is longer.
    pub(super) fn take(&mut self, node: u64, now: Timestamp, everything: bool) -> Option<TakenSpan> {
        let pause = if everything { Duration::from_millis(1) } else { LENGTHEN_EVERY };
        let is_due = |owned: &&mut Owned| owned.is_news || owned.span.to >= owned.taken + pause;
        if let Some(owned) = self.owned.as_mut().filter(is_due) {
            (owned.is_news, owned.taken) = (false, owned.span.to);
            let sight = if owned.is_on { Sight::GoesOn(node) } else { Sight::Ended };
            return Some(TakenSpan { span: owned.span, observed_from: owned.observed_from, sight });
        }
        let has_ended = |ended: Timestamp| everything || now >= ended + GLIMPSE_SETTLES;
        let is_due = |glimpse: &&mut Glimpse| glimpse.has_begun || glimpse.ended.is_some_and(has_ended);
        let glimpse = self.glimpse.as_mut().filter(is_due)?;
        glimpse.has_begun = false;
        glimpse.ended = glimpse.ended.filter(|ended| !has_ended(*ended));
        Some(TakenSpan { span: glimpse.span, observed_from: glimpse.observed_from, sight: Sight::Glimpse })
    }
}

impl Glimpse {
    /// A span that began at `since` and is seen at `at`.
    fn new(since: Timestamp, at: Timestamp) -> Self {
        let span = Span::new(since, at);
        Self { span, observed_from: at, has_viewers: false, has_begun: true, ended: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: u64 = 1;

    const GAP: Duration = Duration::from_secs(5);

    /// Viewers are there.
    const WATCHED: Air = Air::On { since: None };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A channel that is on air since 1 s and was sampled every second up to 5 s.
    fn on_air_for_five_seconds() -> AirTime {
        let mut air = AirTime::default();
        for second in 1..=5 {
            air.observe(3, at(second * 1_000 + 100), Air::On { since: Some(at(1_000)) }, GAP);
        }
        air
    }

    /// Takes a glimpse, as the first and last instant.
    fn take_glimpse(air: &mut AirTime, now: u64) -> Option<(u64, u64)> {
        let taken = air.take(NODE, at(now), false)?;
        assert_eq!(taken.sight, Sight::Glimpse);
        Some((taken.span.from.as_millis(), taken.span.to.as_millis()))
    }

    #[test]
    fn a_broadcast_ends_with_its_signal_and_not_with_a_sample() {
        // This node is told of the end at once, or some moments later.
        for ended_at in [5_640, 4_360] {
            let mut air = on_air_for_five_seconds();
            air.end_signal(at(ended_at), GAP);
            air.observe(3, at(6_100), Air::Off, GAP);
            let taken = air.take(NODE, at(7_000), false).unwrap();
            assert_eq!((taken.span, taken.sight), (Span::new(at(1_000), at(ended_at)), Sight::Ended));
        }
        // What is written may be longer already.
        let mut air = on_air_for_five_seconds();
        assert_eq!(air.take(NODE, at(5_200), false).unwrap().sight, Sight::GoesOn(NODE));
        air.end_signal(at(4_360), GAP);
        let taken = air.take(NODE, at(7_000), false).unwrap();
        assert_eq!((taken.span.to, taken.sight), (at(5_100), Sight::Ended));
        // Another node has observed the channel since, or clocks differ.
        for ended_at in [99, 400_000] {
            let mut air = on_air_for_five_seconds();
            air.end_signal(at(ended_at), GAP);
            assert_eq!(air.take(NODE, at(7_000), false).unwrap().sight, Sight::GoesOn(NODE));
        }
    }

    #[test]
    fn a_signal_that_is_shorter_than_the_pause_between_samples_is_a_broadcast() {
        let mut air = AirTime::default();
        assert!(air.begin(at(1_000), at(1_005)), "before any sample");
        air.end_signal(at(1_200), GAP);
        let taken = air.take(NODE, at(1_300), false).unwrap();
        assert_eq!((taken.span, taken.sight), (Span::new(at(1_000), at(1_200)), Sight::Ended));
        assert_eq!(taken.observed_from, at(1_005));
        // It goes on when the signal returns within five minutes, although no sample shows it by then.
        assert!(!air.begin(at(301_150), at(301_200)));
        let taken = air.take(NODE, at(301_300), false).unwrap();
        assert_eq!((taken.span, taken.sight), (Span::new(at(1_000), at(301_200)), Sight::GoesOn(NODE)));
        air.end_signal(at(301_400), GAP);
        assert!(air.begin(at(601_401), at(601_401)), "another broadcast");
        assert_eq!(air.take(NODE, at(601_500), false).unwrap().span.from, at(601_401));
    }

    #[test]
    fn a_node_that_is_not_the_owner_says_when_viewers_came_and_went() {
        let mut air = AirTime::default();
        let mut next = |counts: &[(u32, u64)], now: u64| {
            for (count, millis) in counts {
                air.glimpse_count(*count, at(*millis), if *count > 0 { WATCHED } else { Air::Off });
            }
            take_glimpse(&mut air, now)
        };
        assert_eq!(next(&[(0, 500)], 600), None);
        assert_eq!(next(&[(1, 1_000), (3, 1_200)], 1_300), Some((1_000, 1_200)));
        assert_eq!(next(&[(5, 2_000), (4, 30_000)], 40_000), None, "the owner sees that it goes on");
        assert_eq!(next(&[(1, 31_000), (0, 31_400), (1, 31_399)], 41_399), None, "the owner writes first");
        assert_eq!(next(&[], 41_400), Some((1_000, 31_400)));
        assert_eq!(next(&[], 99_000), None);
        assert_eq!(next(&[(2, 60_000), (0, 61_001)], 99_000), Some((1_000, 60_000)), "the owner saw the end");
        assert_eq!(next(&[(0, 95_000)], 200_000), None);
        let another = Some((400_000, 400_100));
        assert_eq!(next(&[(1, 400_000), (0, 400_100)], 400_200), another, "another broadcast");
    }

    #[test]
    fn a_node_that_is_not_the_owner_says_when_it_was_told_of_a_signal() {
        let mut air = AirTime::default();
        air.glimpse_signal(at(1_000), at(1_010));
        assert_eq!(
            air.glimpse.unwrap().observed_from,
            at(1_010),
            "of the time before, only the start is told"
        );
        assert_eq!(take_glimpse(&mut air, 1_100), Some((1_000, 1_010)));
        air.glimpse_signal_end(at(1_300));
        assert_eq!(take_glimpse(&mut air, 11_299), None, "the owner writes first");
        assert_eq!(take_glimpse(&mut air, 11_300), Some((1_000, 1_300)));
        // Within five minutes it goes on.
        air.glimpse_signal(at(301_200), at(301_300));
        assert_eq!(take_glimpse(&mut air, 301_400), Some((1_000, 301_300)));
        air.glimpse_signal_end(at(601_301));
        assert_eq!(take_glimpse(&mut air, 700_000), None, "the owner saw the end");
        air.glimpse_signal(at(601_302), at(601_302));
        assert_eq!(take_glimpse(&mut air, 700_000), Some((601_302, 601_302)), "another broadcast");
    }

    #[test]
    fn with_live_signals_viewers_begin_no_broadcast_and_make_none_longer() {
        let signals = [Air::Off, Air::On { since: Some(at(500)) }];
        let mut air = AirTime::default();
        for signal in signals {
            air.glimpse_count(1, at(1_000), signal);
            assert_eq!(air.take(NODE, at(2_000), false), None, "{signal:?}");
        }
        air.glimpse_signal(at(2_000), at(2_000));
        air.glimpse_signal_end(at(2_400));
        for signal in signals {
            air.glimpse_count(1, at(3_000), signal);
            air.glimpse_count(0, at(3_100), Air::Off);
        }
        assert_eq!(take_glimpse(&mut air, 20_000), Some((2_000, 2_400)));
    }

    #[test]
    fn a_broadcast_goes_on_while_the_count_is_unknown_but_not_after_a_long_gap() {
        for (unknown_at, ends_at) in [(305_100, 305_100), (305_101, 5_100)] {
            let mut air = on_air_for_five_seconds();
            air.lose_sight(at(unknown_at));
            let taken = air.take(NODE, at(unknown_at), false).unwrap();
            assert_eq!(taken.span.to, at(ends_at), "unknown at {unknown_at}");
        }
    }
}
