//! The record of one channel on one node.

use std::{collections::HashSet, time::Duration};

use super::{
    Taken, TakenSpan,
    distinct::{Distinct, RowData},
    waiting::Waiting,
};
use crate::{
    domain::{ChannelId, Live, SessionId, Timestamp, ViewerId},
    server::{
        database::Sight,
        history::{HashKey, Place, Span, Track, broadcast::GRACE, joins},
    },
};

/// The length of the spans for which distinct viewers are kept.
const VIEWERS_SPAN_MS: u64 = 3_600_000;

/// The most viewers of a channel that are remembered as seen. Beyond, every join counts as a new viewer.
const MAX_SEEN: usize = 1_000_000;

/// The most changes of a signal between two takes after each of which viewers are counted anew.
const MAX_EARLIER: usize = 8;

/// How often the end of a span that goes on is written. In between, readers take its end from the row of the part.
const LENGTHEN_EVERY: Duration = Duration::from_secs(30);

/// How long after the last observation of viewers a glimpse lasts, if there are none any more. What lasts longer, the owner's
/// samples see.
const GLIMPSE_HOLDS: Duration = Duration::from_secs(1);

/// When the end of a glimpse is taken: after the owner has written what it has seen of the span.
const GLIMPSE_SETTLES: Duration = Duration::from_secs(10);

/// A broadcast that is not lengthened for [`GRACE`] is over.
const _: () = assert!(LENGTHEN_EVERY.as_secs() * 4 < GRACE.as_secs());

/// The record of one channel.
#[derive(Debug, Default)]
pub(super) struct Record {
    track: Track,
    /// Joins with and without a ticket, if there were any while tickets were accepted.
    joins: Option<Box<Track>>,
    /// The span in which the channel was on air, as its owner has seen it.
    air: Option<OnAir>,
    /// The span in which the channel had viewers, as this node has seen it in its own calls while another node was the owner.
    glimpse: Option<Glimpse>,
    /// The distinct viewers of the present hour.
    viewers: Option<Viewers>,
    /// Those that ended since the last take with the signal or the lack of one, and their starts.
    earlier_viewers: Vec<(Timestamp, Distinct)>,
    /// Who is there while the live signal says that the channel is off air.
    waiting: Waiting,
    /// The viewers whose joins were counted.
    seen: HashSet<u64>,
    /// The last observation of a viewer.
    active: Timestamp,
    /// The last fresh count above 0, if viewers decide what is on air.
    counted: Timestamp,
    /// Whether the last observed count was above 0.
    has_viewers: bool,
    /// The last sample of the owner that this channel was in.
    pub(super) sample: u64,
}

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

/// A span on air.
#[derive(Debug, Clone, Copy)]
struct OnAir {
    span: Span,
    /// When it was first observed.
    observed_from: Timestamp,
    is_on: bool,
    /// Whether anything but the end of the span has changed.
    is_news: bool,
    /// The end when it was last taken.
    taken: Timestamp,
}

/// A span in which a channel had viewers, as a node has seen it that is not the owner. The owner's samples can miss a
/// broadcast of less than a second, or its start.
#[derive(Debug, Clone, Copy)]
struct Glimpse {
    span: Span,
    has_viewers: bool,
    /// Whether its start was not taken yet.
    has_begun: bool,
    /// When its end was seen, until it was taken.
    ended: Option<Timestamp>,
}

/// The distinct viewers of a span.
#[derive(Debug)]
struct Viewers {
    start: Timestamp,
    /// Whether the live signal says that the channel is off air: who comes then is no viewer of the broadcast before.
    is_off_air: bool,
    distinct: Distinct,
    is_dirty: bool,
}

impl Record {
    /// Records a fresh count. The owner of the channel gives the longest time between two observations that counts as
    /// observed. Returns whether the channel went on air.
    pub(super) fn observe(
        &mut self,
        count: u32,
        at: Timestamp,
        air: Air,
        owner_gap: Option<Duration>,
    ) -> bool {
        self.track.observe(count, at, owner_gap.is_some(), owner_gap.unwrap_or_default());
        self.has_viewers = count > 0;
        let is_on = air != Air::Off;
        if count > 0 || is_on {
            self.active = self.active.max(at);
        }
        if air == (Air::On { since: None }) {
            // The owner may have recorded that the channel was on air for longer than viewers were seen.
            let last = self.air.as_ref().map_or(self.counted, |air| self.counted.max(air.span.to));
            if at > last + GRACE {
                // A broadcast begins. Each viewer counts for it from the next beat on, and is new with the next join.
                self.end_viewers();
                self.seen.clear();
            }
            self.counted = self.counted.max(at);
        }
        let Some(max_gap) = owner_gap else {
            self.observe_glimpse(count, at, air);
            return false;
        };
        match &mut self.air {
            Some(on_air) if on_air.is_on && (!is_on || at <= on_air.span.to + GRACE) => {
                // After a pause, another node may have written that the span goes on or has ended.
                let is_gap = at > on_air.span.to + max_gap;
                on_air.is_news |= !is_on || is_gap;
                on_air.is_on = is_on;
                // Without viewers the broadcast lasted until now, if it was observed until now. A signal that has ended may
                // have ended a while ago.
                if at > on_air.span.to && (is_on || count == 0 && !is_gap) {
                    on_air.span.to = at;
                }
            }
            Some(on_air) if is_on && at <= on_air.span.to + GRACE => {
                on_air.span.to = on_air.span.to.max(at);
                on_air.is_on = true;
                on_air.is_news = true;
            }
            _ => {
                let Air::On { since } = air else { return false };
                let span = Span::new(since.unwrap_or(at), at);
                self.air = Some(OnAir { span, observed_from: at, is_on, is_news: true, taken: at });
                // Who came before the signal and is still there is counted anew.
                let is_earlier = |viewers: &Viewers| since.is_some_and(|since| viewers.start < since);
                if self.viewers.as_ref().is_some_and(is_earlier) {
                    self.end_viewers();
                }
                return true;
            }
        }
        false
    }

    /// Records a fresh count of a channel of another node. With live signals there are no glimpses, because a signal says when
    /// it began.
    fn observe_glimpse(&mut self, count: u32, at: Timestamp, air: Air) {
        let has_viewers = count > 0;
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
            _ if has_viewers && air == (Air::On { since: None }) => {
                let span = Span::new(at, at);
                self.glimpse = Some(Glimpse { span, has_viewers, has_begun: true, ended: None });
            }
            _ => {}
        }
    }

    /// Whether the same count was observed within `time` before `at`, by a node that owned the channel or not, as now.
    pub(super) fn has_observed(&self, count: u32, at: Timestamp, is_owned: bool, time: Duration) -> bool {
        self.track.has_observed(count, at, is_owned, time)
    }

    /// Records that the count is not known. A channel that was on air is assumed to stay so, unless nothing was observed for
    /// so long that the broadcast is over.
    pub(super) fn lose_sight(&mut self, at: Timestamp) {
        self.track.unknown(at);
        let goes_on = |air: &&mut OnAir| air.is_on && at > air.span.to && at <= air.span.to + GRACE;
        if let Some(air) = self.air.as_mut().filter(goes_on) {
            air.span.to = at;
            air.is_news = true;
        }
    }

    /// Records when the live signal ended. The owner may have observed that it goes on for a moment longer, if another node
    /// was told of the end.
    pub(super) fn end_signal(&mut self, ended_at: Timestamp, max_gap: Duration) {
        let Some(air) = &mut self.air else { return };
        if ended_at + max_gap >= air.span.to && ended_at <= air.span.to + GRACE {
            // What may be written does not become shorter.
            air.span.to = ended_at.max(air.taken);
            air.is_on = false;
            air.is_news = true;
        }
    }

    /// Records that a session is counted until `until`, while the channel is off air.
    pub(super) fn wait(&mut self, viewer: ViewerId, session: SessionId, now: Timestamp, until: Timestamp) {
        self.waiting.renew(viewer, session, now, until);
    }

    /// Records that a session has left, while the channel is off air.
    pub(super) fn stop_waiting(&mut self, viewer: ViewerId, session: SessionId) {
        self.waiting.remove(viewer, session);
    }

    /// Takes who is there while the channel is off air, for [`Record::begin_signal`].
    pub(super) fn take_waiting(&mut self) -> Waiting {
        std::mem::take(&mut self.waiting)
    }

    /// Records that the live signal began, and that these viewers had waited for it.
    pub(super) fn begin_signal(&mut self, since: Timestamp, waited: Distinct) {
        if waited.is_empty() {
            return;
        }
        if self.viewers.as_ref().is_none_or(|viewers| viewers.is_off_air || viewers.start < since) {
            self.begin_viewers(since, false);
        }
        if let Some(viewers) = &mut self.viewers {
            viewers.distinct.merge(waited);
            viewers.is_dirty = true;
        }
    }

    /// Begins another row of distinct viewers.
    fn begin_viewers(&mut self, start: Timestamp, is_off_air: bool) {
        let earlier = self.end_viewers();
        // Another row than the earlier one.
        let start = earlier.map_or(start, |earlier| start.max(earlier.plus_millis(1)));
        self.viewers = Some(Viewers { start, is_off_air, distinct: Distinct::default(), is_dirty: true });
    }

    /// Ends the row of distinct viewers, and returns its start.
    fn end_viewers(&mut self) -> Option<Timestamp> {
        let viewers = self.viewers.take()?;
        if viewers.is_dirty && self.earlier_viewers.len() < MAX_EARLIER {
            self.earlier_viewers.push((viewers.start, viewers.distinct));
        }
        Some(viewers.start)
    }

    /// Records a viewer among the distinct ones of its hour. `signal`: the live signal, if signals decide what is on air.
    pub(super) fn see(
        &mut self,
        viewer: ViewerId,
        key: Option<&HashKey>,
        at: Timestamp,
        signal: Option<Live>,
    ) {
        let is_off_air = signal == Some(Live::No);
        let is_lull = at > self.active + GRACE;
        self.active = self.active.max(at);
        let hour = |at: Timestamp| at.as_millis() / VIEWERS_SPAN_MS;
        let is_current = self.viewers.as_ref().is_some_and(|viewers| {
            let is_earlier = matches!(signal, Some(Live::Yes { since }) if viewers.start < since);
            let is_same_air = viewers.is_off_air == is_off_air && !is_earlier;
            !is_lull && hour(at) <= hour(viewers.start) && is_same_air
        });
        if !is_current {
            // A viewer of a broadcast is recorded after its start, also if the start is known to a second only.
            let start = if let Some(Live::Yes { since }) = signal { at.max(since) } else { at };
            self.begin_viewers(start, is_off_air);
        }
        let Some(viewers) = &mut self.viewers else { return };
        viewers.is_dirty |= viewers.distinct.insert(viewer, key);
    }

    /// Counts a new viewer, unless it was counted before.
    pub(super) fn arrive(&mut self, viewer: ViewerId, node: u64, place: Place<'_>, at: Timestamp) {
        if self.seen.len() >= MAX_SEEN || self.seen.insert(fingerprint(viewer)) {
            self.track.arrive(node, place, at);
        }
    }

    /// Counts a join with or without a ticket.
    pub(super) fn join(&mut self, has_ticket: bool, node: u64, at: Timestamp) {
        self.joins.get_or_insert_default().arrive(node, joins::place_of(has_ticket), at);
    }

    /// Whether the channel had viewers when it was last observed.
    pub(super) const fn has_viewers(&self) -> bool {
        self.has_viewers
    }

    /// Whether the channel was on air when this node last observed it as its owner.
    pub(super) fn is_on_air(&self) -> bool {
        self.air.as_ref().is_some_and(|air| air.is_on)
    }

    /// Takes the changes of this record, which is that of `channel` on `node`, if there are any. Without `everything`, minutes
    /// and spans are left out if the rows in the database already say the same. Without the key of the hashes, viewers are
    /// taken as they are.
    pub(super) fn take(
        &mut self,
        channel: &ChannelId,
        node: u64,
        key: Option<&HashKey>,
        now: Timestamp,
        everything: bool,
    ) -> Option<Taken> {
        let minutes = if everything { self.track.take_dirty(now) } else { self.track.take_news(now) };
        let earlier = std::mem::take(&mut self.earlier_viewers).into_iter();
        let mut viewers: Vec<(Timestamp, RowData)> =
            earlier.map(|(start, mut distinct)| (start, distinct.row(key))).collect();
        viewers.extend(self.viewers.as_mut().and_then(|viewers| {
            // What was taken before the key was known may have been lost since.
            let is_due = viewers.is_dirty || key.is_some() && viewers.distinct.has_early();
            viewers.is_dirty = false;
            is_due.then(|| (viewers.start, viewers.distinct.row(key)))
        }));
        let (joins, lost_joins) =
            self.joins.as_mut().map(|joins| (joins.take_dirty(now), joins.take_lost())).unwrap_or_default();
        let (on_air, lost) = (self.take_on_air(node, now, everything), self.track.take_lost() + lost_joins);
        let has_minutes = !minutes.is_empty() || !joins.is_empty();
        (has_minutes || !viewers.is_empty() || on_air.is_some() || lost > 0).then(|| Taken {
            channel: channel.as_str().to_owned(),
            part: channel.part(),
            minutes,
            joins,
            viewers,
            on_air,
            lost,
        })
    }

    /// Takes the span on air, if its row must be written; with `everything`, if it is longer.
    fn take_on_air(&mut self, node: u64, now: Timestamp, everything: bool) -> Option<TakenSpan> {
        let pause = if everything { Duration::from_millis(1) } else { LENGTHEN_EVERY };
        let is_due = |air: &&mut OnAir| air.is_news || air.span.to >= air.taken + pause;
        if let Some(air) = self.air.as_mut().filter(is_due) {
            (air.is_news, air.taken) = (false, air.span.to);
            let sight = if air.is_on { Sight::GoesOn(node) } else { Sight::Ended };
            return Some(TakenSpan { span: air.span, observed_from: air.observed_from, sight });
        }
        let has_ended = |ended: Timestamp| everything || now >= ended + GLIMPSE_SETTLES;
        let is_due = |glimpse: &&mut Glimpse| glimpse.has_begun || glimpse.ended.is_some_and(has_ended);
        let glimpse = self.glimpse.as_mut().filter(is_due)?;
        glimpse.has_begun = false;
        glimpse.ended = glimpse.ended.filter(|ended| !has_ended(*ended));
        Some(TakenSpan { span: glimpse.span, observed_from: glimpse.span.from, sight: Sight::Glimpse })
    }

    /// Whether the channel has been empty for so long that the record can go. Its changes must have been taken.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now > self.active + GRACE + Duration::from_secs(60)
    }
}

/// Half of a viewer's id, which is random.
fn fingerprint(viewer: ViewerId) -> u64 {
    let (high, low) = viewer.uuid().as_u64_pair();
    high ^ low
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::server::history::Sketch;

    const NODE: u64 = 1;

    /// The starts of the rows of distinct viewers that have changed, with their numbers.
    fn rows(record: &mut Record, key: &HashKey, now: Timestamp) -> Vec<(Timestamp, u64)> {
        let taken = record.take(&ChannelId::parse("ana").unwrap(), NODE, Some(key), now, false);
        let rows = taken.map(|taken| taken.viewers).unwrap_or_default().into_iter();
        rows.map(|(start, row)| (start, Sketch::decode(&row.encode(key)).unwrap().count())).collect()
    }

    /// The number of distinct viewers, if one watches at `watched` and sees that the channel is on air since `since`.
    fn viewers(watched: u64, since: u64) -> u64 {
        let key = HashKey::new([7; 16]);
        let viewer = ViewerId::new(Uuid::from_u128(5)).unwrap();
        let mut record = Record::default();
        let at = Timestamp::from_millis;
        record.see(viewer, Some(&key), at(watched), None);
        record.observe(1, at(since + 1), Air::On { since: Some(at(since)) }, Some(Duration::from_secs(5)));
        record.viewers.map_or(0, |viewers| viewers.distinct.count())
    }

    #[test]
    fn the_first_viewer_of_an_announced_broadcast_counts_and_who_waited_for_it_does_not_yet() {
        assert_eq!(viewers(20_000, 10_000), 1);
        assert_eq!(viewers(5_000, 10_000), 0);
    }

    /// A record of a channel that is on air since 1 s and was sampled every second up to 5 s.
    fn on_air_for_five_seconds() -> Record {
        let mut record = Record::default();
        let air = Air::On { since: Some(Timestamp::from_millis(1_000)) };
        for second in 1..=5 {
            record.observe(
                3,
                Timestamp::from_millis(second * 1_000 + 100),
                air,
                Some(Duration::from_secs(5)),
            );
        }
        record
    }

    #[test]
    fn a_broadcast_ends_with_its_signal_and_not_with_a_sample() {
        let at = Timestamp::from_millis;
        let (ana, gap) = (ChannelId::parse("ana").unwrap(), Duration::from_secs(5));
        // This node is told of the end at once, or some moments later.
        for ended_at in [5_640, 4_360] {
            let mut record = on_air_for_five_seconds();
            record.end_signal(at(ended_at), gap);
            record.observe(3, at(6_100), Air::Off, Some(gap));
            let taken = record.take(&ana, NODE, None, at(7_000), false).unwrap().on_air.unwrap();
            assert_eq!((taken.span, taken.sight), (Span::new(at(1_000), at(ended_at)), Sight::Ended));
        }
        // What is written may be longer already.
        let mut record = on_air_for_five_seconds();
        assert!(
            record.take(&ana, NODE, None, at(5_200), false).unwrap().on_air.unwrap().sight
                == Sight::GoesOn(NODE)
        );
        record.end_signal(at(4_360), gap);
        let taken = record.take(&ana, NODE, None, at(7_000), false).unwrap().on_air.unwrap();
        assert_eq!((taken.span.to, taken.sight), (at(5_100), Sight::Ended));
        // Another node has observed the channel since, or clocks differ.
        for ended_at in [99, 400_000] {
            let mut record = on_air_for_five_seconds();
            record.end_signal(at(ended_at), gap);
            assert!(
                record.take(&ana, NODE, None, at(7_000), false).unwrap().on_air.unwrap().sight
                    == Sight::GoesOn(NODE)
            );
        }
    }

    #[test]
    fn a_node_that_is_not_the_owner_says_when_viewers_came_and_went() {
        let (at, on) = (Timestamp::from_millis, Air::On { since: None });
        let mut record = Record::default();
        let mut next = |counts: &[(u32, u64)], now: u64| {
            for (count, millis) in counts {
                record.observe(*count, at(*millis), if *count > 0 { on } else { Air::Off }, None);
            }
            let taken = record.take(&ChannelId::parse("ana").unwrap(), NODE, None, at(now), false);
            taken.and_then(|taken| taken.on_air).map(|on_air| {
                assert_eq!((on_air.sight, on_air.observed_from), (Sight::Glimpse, on_air.span.from));
                (on_air.span.from.as_millis(), on_air.span.to.as_millis())
            })
        };
        assert_eq!(next(&[(0, 500)], 600), None);
        assert_eq!(next(&[(1, 1_000), (3, 1_200)], 1_300), Some((1_000, 1_200)));
        assert_eq!(next(&[(5, 2_000), (4, 30_000)], 40_000), None, "the owner sees that it goes on");
        assert_eq!(next(&[(1, 31_000), (0, 31_400), (1, 31_399)], 41_399), None, "the owner writes first");
        assert_eq!(next(&[], 41_400), Some((1_000, 31_400)));
        assert_eq!(next(&[], 99_000), None);
        assert_eq!(next(&[(2, 60_000), (0, 61_001)], 99_000), Some((1_000, 60_000)), "the owner saw the end");
        assert_eq!(next(&[(0, 95_000)], 200_000), None);
        assert_eq!(
            next(&[(1, 400_000), (0, 400_100)], 400_200),
            Some((400_000, 400_100)),
            "another broadcast"
        );
    }

    #[test]
    fn a_viewer_who_returns_is_new_in_another_broadcast() {
        let (at, on) = (Timestamp::from_millis, Air::On { since: None });
        let viewer = ViewerId::new(Uuid::from_u128(5)).unwrap();
        for (returns_at, new) in [(301_000, 1), (301_001, 2)] {
            let mut record = Record::default();
            for millis in [1_000, returns_at] {
                record.observe(1, at(millis), on, None);
                record.arrive(viewer, NODE, Place::Site, at(millis));
                record.observe(0, at(millis), Air::Off, None);
            }
            let taken =
                record.take(&ChannelId::parse("ana").unwrap(), NODE, None, at(400_000), true).unwrap();
            let arrivals: u64 =
                taken.minutes.iter().map(|minute| minute.minute.arrivals().sum().total()).sum();
            assert_eq!(arrivals, new, "returns at {returns_at}");
        }
    }

    #[test]
    fn with_live_signals_viewers_begin_no_broadcast() {
        let at = Timestamp::from_millis;
        let mut record = Record::default();
        for air in [Air::Off, Air::On { since: Some(at(500)) }] {
            record.observe(1, at(1_000), air, None);
            let taken = record.take(&ChannelId::parse("ana").unwrap(), NODE, None, at(2_000), false);
            assert!(taken.is_none_or(|taken| taken.on_air.is_none()), "{air:?}");
        }
    }

    #[test]
    fn a_broadcast_goes_on_while_the_count_is_unknown_but_not_after_a_long_gap() {
        let at = Timestamp::from_millis;
        let ana = ChannelId::parse("ana").unwrap();
        for (unknown_at, ends_at) in [(305_100, 305_100), (305_101, 5_100)] {
            let mut record = on_air_for_five_seconds();
            record.lose_sight(at(unknown_at));
            let taken = record.take(&ana, NODE, None, at(unknown_at), false).unwrap().on_air.unwrap();
            assert_eq!(taken.span.to, at(ends_at), "unknown at {unknown_at}");
        }
    }

    #[test]
    fn who_waits_for_the_signal_is_a_viewer_of_the_broadcast_and_who_has_left_is_not() {
        let (key, at) = (HashKey::new([7; 16]), Timestamp::from_millis);
        let session = SessionId::new(Uuid::from_u128(9)).unwrap();
        let ids: Vec<_> = (1..=4).map(|nth| ViewerId::new(Uuid::from_u128(nth)).unwrap()).collect();
        let mut record = Record::default();
        for viewer in &ids {
            record.see(*viewer, Some(&key), at(1_000), Some(Live::No));
            record.wait(*viewer, session, at(1_000), at(61_000));
        }
        record.stop_waiting(ids[3], session);
        let waited = record.take_waiting().viewers(Some(&key), at(30_000));
        record.begin_signal(at(30_000), waited);
        // A beat of one of them, and somebody new.
        for viewer in [ids[0], ViewerId::new(Uuid::from_u128(5)).unwrap()] {
            record.see(viewer, Some(&key), at(31_000), Some(Live::Yes { since: at(30_000) }));
        }
        assert_eq!(rows(&mut record, &key, at(32_000)), [(at(1_000), 4), (at(30_000), 4)]);
        // Nobody waits any more.
        let waited = record.take_waiting().viewers(Some(&key), at(40_000));
        record.begin_signal(at(40_000), waited);
        assert_eq!(rows(&mut record, &key, at(41_000)), []);
    }

    #[test]
    fn a_viewer_of_a_broadcast_is_not_in_the_row_of_an_earlier_one() {
        let (key, at) = (HashKey::new([7; 16]), Timestamp::from_millis);
        let mut record = Record::default();
        // This node has no viewers while the channel is off air.
        for (nth, millis, since) in [(1, 5_000, 1_000), (2, 20_000, 15_000), (1, 21_000, 15_000)] {
            let viewer = ViewerId::new(Uuid::from_u128(nth)).unwrap();
            record.see(viewer, Some(&key), at(millis), Some(Live::Yes { since: at(since) }));
        }
        assert_eq!(rows(&mut record, &key, at(22_000)), [(at(5_000), 1), (at(20_000), 2)]);
    }

    #[test]
    fn who_comes_after_the_end_of_the_signal_is_in_another_row_than_the_viewers_of_the_broadcast() {
        let (key, at) = (HashKey::new([7; 16]), Timestamp::from_millis);
        let mut record = Record::default();
        // On air, then off air, at the same instant on air again, and a lull without a change.
        for (nth, millis, is_off_air) in
            [(1, 1_000, false), (2, 9_000, true), (3, 9_500, true), (4, 9_500, false), (1, 99_000, false)]
        {
            let viewer = ViewerId::new(Uuid::from_u128(nth)).unwrap();
            let since = at(millis.min(9_400));
            let signal = if is_off_air { Live::No } else { Live::Yes { since } };
            record.see(viewer, Some(&key), at(millis), Some(signal));
        }
        assert_eq!(rows(&mut record, &key, at(99_000)), [(at(1_000), 1), (at(9_000), 2), (at(9_500), 2)]);
        assert_eq!(rows(&mut record, &key, at(99_000)), []);
    }

    #[test]
    fn viewers_from_before_the_first_contact_are_taken_again_with_the_key() {
        let (key, at) = (HashKey::new([7; 16]), Timestamp::from_millis);
        let viewer = |nth| ViewerId::new(Uuid::from_u128(nth)).unwrap();
        let mut record = Record::default();
        for nth in [1, 2, 1] {
            record.see(viewer(nth), None, at(1_000), None);
        }
        let ana = ChannelId::parse("ana").unwrap();
        let taken = record.take(&ana, NODE, None, at(2_000), false).unwrap().viewers;
        assert!(matches!(&*taken, [(_, RowData::Early(viewers))] if viewers.len() == 2), "{taken:?}");
        assert!(record.take(&ana, NODE, None, at(3_000), false).is_none_or(|taken| taken.viewers.is_empty()));
        assert_eq!(rows(&mut record, &key, at(4_000)), [(at(1_000), 2)]);
        assert_eq!(rows(&mut record, &key, at(5_000)), []);
    }
}
