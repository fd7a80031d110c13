//! What a node has taken from its recorder and not yet written: rows, and spans on air.
//!
//! Promises:
//! - Each key waits once, with what is newest.
//! - The memory is bounded ([`MAX_WAITING_BYTES`]). Beyond the bound, the oldest minutes are dropped first. A minute is
//!   dropped whole, because the row of a part says that its channels are as their rows say.
//! - Spans on air, which are the broadcasts themselves, are dropped only when there are no rows.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{RowData, Taken, TakenSpan};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        database::{RowKind, Sight, joins_key},
        history::{HashKey, Held},
    },
};

/// The most bytes of rows and spans that wait for the database: about an hour of a thousand busy channels. Beyond, the
/// oldest minutes are lost first.
pub const MAX_WAITING_BYTES: usize = 64 << 20;

/// The memory of a span on air that waits, with the name of its channel.
pub(super) const SPAN_BYTES: usize = 184;

/// The key of a waiting row: the oldest come first.
pub(super) type Key = (Timestamp, RowKind, IsPart, u16, String);

/// Whether a row is about a whole part.
pub(super) type IsPart = bool;

/// What waits for the database.
#[derive(Default)]
pub(super) struct Backlog {
    pub(super) rows: BTreeMap<Key, (RowData, Option<Held>)>,
    /// The bytes of the rows. Those of the spans on air are counted by [`Backlog::total_bytes`].
    bytes: usize,
    /// When all changes were last taken. `None`: never, or something was lost since.
    pub(super) taken: Option<Instant>,
    /// The spans on air, by their starts.
    pub(super) on_air: BTreeMap<(Timestamp, ChannelId), TakenSpan>,
}

impl Backlog {
    /// Queues what was taken. Returns the number of minutes that had been lost before.
    pub(super) fn take_in(&mut self, taken: Taken) -> u64 {
        let Taken { channel, part, minutes, joins, viewers, on_air, lost } = taken;
        let is_part = channel.starts_with('/');
        for taken in minutes {
            let key = (taken.start, RowKind::Minute, is_part, part, channel.clone());
            self.queue(key, RowData::Encoded(taken.minute.encode()), taken.held);
        }
        for taken in joins {
            let key = (taken.start, RowKind::Minute, false, part, joins_key(&channel));
            self.queue(key, RowData::Encoded(taken.minute.encode()), None);
        }
        for (start, row) in viewers {
            self.queue((start, RowKind::Viewers, is_part, part, channel.clone()), row, None);
        }
        if let (Some(on_air), Ok(channel)) = (on_air, ChannelId::parse(&channel)) {
            // A node may observe the same signal again after a pause. The first observation decides what went before it.
            let waiting = self.on_air.entry((on_air.span.from, channel)).or_insert(on_air);
            if on_air.sight == Sight::Glimpse && waiting.sight != Sight::Glimpse {
                return lost;
            }
            let observed_from = on_air.observed_from.min(waiting.observed_from);
            *waiting = TakenSpan { observed_from, ..on_air };
        }
        lost
    }

    /// Queues a row in place of the waiting one with the same key.
    pub(super) fn queue(&mut self, key: Key, data: RowData, held: Option<Held>) {
        self.bytes += data.bytes();
        if let Some((replaced, _)) = self.rows.insert(key, (data, held)) {
            self.bytes -= replaced.bytes();
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some((data, _)) = self.rows.remove(key) {
            self.bytes -= data.bytes();
        }
    }

    /// Hashes the viewers that have waited for the key.
    pub(super) fn hash_early(&mut self, key: &HashKey) {
        for (data, _) in self.rows.values_mut().filter(|(data, _)| matches!(data, RowData::Early(_))) {
            self.bytes -= data.bytes();
            let early = std::mem::replace(data, RowData::Encoded(Vec::new()));
            *data = RowData::Encoded(early.encode(key));
            self.bytes += data.bytes();
        }
    }

    /// The bytes of all that waits.
    pub(super) fn total_bytes(&self) -> usize {
        self.bytes + self.on_air.len() * SPAN_BYTES
    }

    /// Drops the oldest rows beyond the limit, whole minutes at a time, and then spans on air. Returns the number of both.
    pub(super) fn shed(&mut self) -> u64 {
        let (mut lost, mut dropped) = (0, None);
        loop {
            let is_over = self.total_bytes() > MAX_WAITING_BYTES;
            let Some(oldest) = self.rows.first_entry() else { break };
            if !is_over && dropped != Some(oldest.key().0) {
                break;
            }
            let ((start, ..), (data, _)) = oldest.remove_entry();
            self.bytes -= data.bytes();
            lost += 1;
            dropped = Some(start);
        }
        while self.total_bytes() > MAX_WAITING_BYTES && self.on_air.pop_first().is_some() {
            lost += 1;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::history::Span;

    fn channel(nth: usize) -> ChannelId {
        ChannelId::parse(&format!("c{nth}")).unwrap()
    }

    #[test]
    fn spans_on_air_count_within_the_limit_and_go_after_the_rows() {
        let mut waiting = Backlog::default();
        let at = |nth: usize| Timestamp::from_millis(u64::try_from(nth).unwrap());
        let span = |nth: usize| TakenSpan {
            span: Span::new(at(nth), at(nth)),
            observed_from: at(nth),
            sight: Sight::GoesOn(1),
        };
        let most = MAX_WAITING_BYTES / SPAN_BYTES;
        waiting.queue(
            (at(1), RowKind::Minute, false, 3, "ana".to_owned()),
            RowData::Encoded(vec![0; 1_000]),
            None,
        );
        for nth in 0..most - 100 {
            waiting.on_air.insert((at(nth), channel(nth)), span(nth));
        }
        assert_eq!((waiting.shed(), waiting.rows.len()), (0, 1));
        for nth in most - 100..most {
            waiting.on_air.insert((at(nth), channel(nth)), span(nth));
        }
        assert_eq!((waiting.shed(), waiting.rows.len(), waiting.on_air.len()), (1, 0, most));
        for nth in most..most + 5 {
            waiting.on_air.insert((at(nth), channel(nth)), span(nth));
        }
        assert_eq!((waiting.shed(), waiting.on_air.len()), (5, most));
        let oldest = waiting.on_air.first_key_value().map(|((from, _), _)| *from);
        assert_eq!(oldest, Some(at(5)));
    }

    #[test]
    fn a_span_that_waits_keeps_the_time_from_when_on_it_was_observed() {
        let (mut waiting, at) = (Backlog::default(), Timestamp::from_millis);
        // The node loses the channel for some minutes, and finds the same signal again.
        for (to, observed_from) in [(61_000, 61_000), (90_000, 61_000), (500_000, 500_000)] {
            let on_air = TakenSpan {
                span: Span::new(at(60_000), at(to)),
                observed_from: at(observed_from),
                sight: Sight::GoesOn(1),
            };
            let (channel, part) = ("ana".to_owned(), 3);
            let (minutes, joins, viewers) = Default::default();
            waiting.take_in(Taken { channel, part, minutes, joins, viewers, on_air: Some(on_air), lost: 0 });
        }
        let spans: Vec<_> = waiting.on_air.values().map(|one| (one.span.to, one.observed_from)).collect();
        assert_eq!(spans, [(at(500_000), at(61_000))]);
    }

    #[test]
    fn a_glimpse_does_not_replace_what_the_owner_has_seen_of_the_span() {
        let (mut waiting, at) = (Backlog::default(), Timestamp::from_millis);
        for (to, sight) in [(1_000, Sight::Glimpse), (9_000, Sight::GoesOn(1)), (2_000, Sight::Glimpse)] {
            let on_air = TakenSpan { span: Span::new(at(1_000), at(to)), observed_from: at(1_000), sight };
            let (channel, part) = ("ana".to_owned(), 3);
            let (minutes, joins, viewers) = Default::default();
            waiting.take_in(Taken { channel, part, minutes, joins, viewers, on_air: Some(on_air), lost: 0 });
        }
        let spans: Vec<_> = waiting.on_air.values().map(|one| (one.span.to, one.sight)).collect();
        assert_eq!(spans, [(at(9_000), Sight::GoesOn(1))]);
    }
}
