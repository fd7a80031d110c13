//! The record of one channel on one node.

use std::{collections::HashSet, time::Duration};

use super::{
    Taken,
    distinct::{Distinct, RowData},
    on_air::{Air, AirTime},
    waiting::Waiting,
};
use crate::{
    domain::{ChannelId, Live, SessionId, Timestamp, ViewerId},
    server::history::{HashKey, Place, Track, broadcast::GRACE, joins},
};

/// The length of the spans for which distinct viewers are kept.
const VIEWERS_SPAN_MS: u64 = 3_600_000;

/// The most viewers of a channel that are remembered as seen. Beyond, every join counts as a new viewer.
const MAX_SEEN: usize = 1_000_000;

/// The most changes of a signal between two takes after each of which viewers are counted anew.
const MAX_EARLIER: usize = 8;

/// The record of one channel.
#[derive(Debug, Default)]
pub(super) struct Record {
    track: Track,
    /// Joins with and without a ticket, if there were any while tickets were accepted.
    joins: Option<Box<Track>>,
    air: AirTime,
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
            let last = self.air.last_owned().map_or(self.counted, |owned| self.counted.max(owned));
            if at > last + GRACE {
                // A broadcast begins. Each viewer counts for it from the next beat on, and is new with the next join.
                self.end_viewers();
                self.seen.clear();
            }
            self.counted = self.counted.max(at);
        }
        let Some(max_gap) = owner_gap else {
            self.air.glimpse_count(count, at, air);
            return false;
        };
        let has_begun = self.air.observe(count, at, air, max_gap);
        if has_begun && let Air::On { since: Some(since) } = air {
            self.end_earlier_viewers(since);
        }
        has_begun
    }

    /// Records that this node, which is the owner, learns at `at` that the live signal is on since `since`. Returns whether the
    /// channel went on air.
    pub(super) fn signal_is_on(&mut self, since: Timestamp, at: Timestamp) -> bool {
        self.active = self.active.max(at);
        let has_begun = self.air.begin(since, at);
        if has_begun {
            self.end_earlier_viewers(since);
        }
        has_begun
    }

    /// Records that this node, which is not the owner, was told at `at` that the live signal is on since `since`.
    pub(super) fn glimpse_signal(&mut self, since: Timestamp, at: Timestamp) {
        self.active = self.active.max(at);
        self.air.glimpse_signal(since, at);
    }

    /// Records when the live signal ended. `max_gap`: as in [`Record::observe`], if this node is the owner.
    pub(super) fn end_signal(&mut self, ended_at: Timestamp, max_gap: Option<Duration>) {
        // Another node may have owned the channel when the signal began.
        self.air.glimpse_signal_end(ended_at);
        if let Some(max_gap) = max_gap {
            self.air.end_signal(ended_at, max_gap);
        }
    }

    /// Ends the row of distinct viewers that began before a broadcast. Who is still there is counted anew.
    fn end_earlier_viewers(&mut self, since: Timestamp) {
        if self.viewers.as_ref().is_some_and(|viewers| viewers.start < since) {
            self.end_viewers();
        }
    }

    /// Whether the same count was observed within `time` before `at`, by a node that owned the channel or not, as now.
    pub(super) fn has_observed(&self, count: u32, at: Timestamp, is_owned: bool, time: Duration) -> bool {
        self.track.has_observed(count, at, is_owned, time)
    }

    /// Records that the count is not known.
    pub(super) fn lose_sight(&mut self, at: Timestamp) {
        self.track.unknown(at);
        self.air.lose_sight(at);
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
        self.air.is_on()
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
        let (on_air, lost) = (self.air.take(node, now, everything), self.track.take_lost() + lost_joins);
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
