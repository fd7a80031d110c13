//! The record of one channel on one node.

use std::{collections::HashSet, time::Duration};

use super::{Taken, TakenSpan};
use crate::{
    domain::{ChannelId, Timestamp, ViewerId},
    server::history::{HashKey, Place, Sketch, Span, Track, broadcast::GRACE, joins},
};

/// The length of the spans for which distinct viewers are kept.
const VIEWERS_SPAN_MS: u64 = 3_600_000;

/// The most viewers of a channel that wait for the key of the hashes, while the database was never reached.
const MAX_EARLY: usize = 4_096;

/// The most viewers of a channel that are remembered as seen. Beyond, every join counts as a new viewer.
const MAX_SEEN: usize = 1_000_000;

/// The most changes of a signal between two takes after each of which viewers are counted anew.
const MAX_EARLIER: usize = 8;

/// How often the end of a span that goes on is written. In between, readers take its end from the row of the part.
const LENGTHEN_EVERY: Duration = Duration::from_secs(30);

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
    /// The distinct viewers of the present hour.
    viewers: Option<Viewers>,
    /// The encoded sketches that ended since the last take with the signal or the lack of one, and their starts.
    earlier_viewers: Vec<(Timestamp, Vec<u8>)>,
    /// The viewers whose joins were counted.
    seen: HashSet<u64>,
    /// The last observation of a viewer.
    active: Timestamp,
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
    /// Whether more has changed than that the span goes on.
    is_news: bool,
    /// The end when it was last taken.
    taken: Timestamp,
}

/// The distinct viewers of a span.
#[derive(Debug)]
struct Viewers {
    start: Timestamp,
    /// Whether the live signal says that the channel is off air: who comes then is no viewer of the broadcast before.
    is_off_air: bool,
    sketch: Sketch,
    /// Viewers from before the key of the hashes was known.
    early: Vec<ViewerId>,
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
        let Some(max_gap) = owner_gap else { return false };
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
                // Who waited for the signal is a viewer of the broadcast from the next beat on.
                self.viewers.take_if(|viewers| since.is_some_and(|since| viewers.start < since));
                return true;
            }
        }
        false
    }

    /// Records that the count is not known. A channel that was on air is assumed to stay so.
    pub(super) fn lose_sight(&mut self, at: Timestamp) {
        self.track.unknown(at);
        if let Some(air) = self.air.as_mut().filter(|air| air.is_on && at > air.span.to) {
            air.span.to = at;
            air.is_news = true;
        }
    }

    /// Records a viewer among the distinct ones of its hour.
    pub(super) fn see(&mut self, viewer: ViewerId, key: Option<&HashKey>, at: Timestamp, is_off_air: bool) {
        let is_lull = at > self.active + GRACE;
        self.active = self.active.max(at);
        let hour = |at: Timestamp| at.as_millis() / VIEWERS_SPAN_MS;
        let is_current =
            self.viewers.as_ref().is_some_and(|viewers| !is_lull && hour(at) <= hour(viewers.start));
        let other_air = self.viewers.as_mut().filter(|viewers| viewers.is_off_air != is_off_air);
        let mut start = at;
        if let Some(viewers) = other_air {
            // Another row than this one.
            start = start.max(viewers.start.plus_millis(1));
            if viewers.is_dirty && self.earlier_viewers.len() < MAX_EARLIER {
                self.earlier_viewers.push((viewers.start, viewers.sketch.encode()));
            }
            self.viewers = None;
        }
        if !is_current || self.viewers.is_none() {
            // The writer takes the sketch every few seconds, so little is lost of the one that is replaced.
            let (sketch, early) = (Sketch::default(), Vec::new());
            self.viewers = Some(Viewers { start, is_off_air, sketch, early, is_dirty: true });
        }
        let Some(viewers) = &mut self.viewers else { return };
        match key {
            Some(key) => {
                for early in viewers.early.drain(..) {
                    viewers.sketch.insert(early, key);
                }
                viewers.is_dirty |= viewers.sketch.insert(viewer, key);
            }
            None if viewers.early.len() < MAX_EARLY => viewers.early.push(viewer),
            None => {}
        }
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

    /// Takes the changes of this record, which is that of `channel`, if there are any. Without `everything`, minutes
    /// and spans are left out if the rows in the database already say the same.
    pub(super) fn take(&mut self, channel: &ChannelId, now: Timestamp, everything: bool) -> Option<Taken> {
        let minutes = if everything { self.track.take_dirty(now) } else { self.track.take_news(now) };
        let mut viewers = std::mem::take(&mut self.earlier_viewers);
        viewers.extend(self.viewers.as_mut().and_then(|viewers| {
            std::mem::take(&mut viewers.is_dirty).then(|| (viewers.start, viewers.sketch.encode()))
        }));
        let (joins, lost_joins) =
            self.joins.as_mut().map(|joins| (joins.take_dirty(now), joins.take_lost())).unwrap_or_default();
        let (on_air, lost) = (self.take_on_air(everything), self.track.take_lost() + lost_joins);
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
    fn take_on_air(&mut self, everything: bool) -> Option<TakenSpan> {
        let air = self.air.as_mut()?;
        let pause = if everything { Duration::from_millis(1) } else { LENGTHEN_EVERY };
        let is_due = air.is_news || air.span.to >= air.taken + pause;
        is_due.then(|| {
            (air.is_news, air.taken) = (false, air.span.to);
            TakenSpan { span: air.span, observed_from: air.observed_from, goes_on: air.is_on }
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

    /// The number of distinct viewers, if one watches at `watched` and sees that the channel is on air since `since`.
    fn viewers(watched: u64, since: u64) -> u64 {
        let key = HashKey::new([7; 16]);
        let viewer = ViewerId::new(Uuid::from_u128(5)).unwrap();
        let mut record = Record::default();
        let at = Timestamp::from_millis;
        record.see(viewer, Some(&key), at(watched), false);
        record.observe(1, at(since + 1), Air::On { since: Some(at(since)) }, Some(Duration::from_secs(5)));
        record.viewers.map_or(0, |viewers| viewers.sketch.count())
    }

    #[test]
    fn the_first_viewer_of_an_announced_broadcast_counts_and_who_waited_for_it_does_not_yet() {
        assert_eq!(viewers(20_000, 10_000), 1);
        assert_eq!(viewers(5_000, 10_000), 0);
    }

    #[test]
    fn who_comes_after_the_end_of_the_signal_is_in_another_row_than_the_viewers_of_the_broadcast() {
        let (key, at) = (HashKey::new([7; 16]), Timestamp::from_millis);
        let ana = ChannelId::parse("ana").unwrap();
        let mut record = Record::default();
        // On air, then off air, at the same instant on air again, and a lull without a change.
        for (nth, millis, is_off_air) in
            [(1, 1_000, false), (2, 9_000, true), (3, 9_500, true), (4, 9_500, false), (1, 99_000, false)]
        {
            let viewer = ViewerId::new(Uuid::from_u128(nth)).unwrap();
            record.see(viewer, Some(&key), at(millis), is_off_air);
        }
        let rows = |record: &mut Record| -> Vec<(Timestamp, u64)> {
            let taken = record.take(&ana, at(99_000), false).map(|taken| taken.viewers).unwrap_or_default();
            taken.iter().map(|(start, row)| (*start, Sketch::decode(row).unwrap().count())).collect()
        };
        assert_eq!(rows(&mut record), [(at(1_000), 1), (at(9_000), 2), (at(9_500), 2)]);
        assert_eq!(rows(&mut record), []);
    }
}
