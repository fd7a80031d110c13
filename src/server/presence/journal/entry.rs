//! What the journal knows of a channel.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    domain::{Count, Ledger, Timestamp},
    server::store::{Mark, Reading},
};

/// How long the last good count is reported as stale before the count becomes unknown.
pub(in crate::server::presence) const STALE_FOR: Duration = Duration::from_secs(60);

/// How long after the answer of a call the answer of an earlier call may arrive. Calls take less than this.
pub(super) const OVERTAKEN_FOR: Duration = Duration::from_secs(5);

/// The state of a channel.
#[derive(Default)]
pub(super) struct ChannelEntry {
    /// The operations that this node accepted.
    pub(super) ledger: Ledger,
    /// The store's mark of the channel. A changed mark means that the store has lost the channel.
    pub(super) mark: Option<Mark>,
    /// When the mark was read: by this node's clock, and by the store's.
    pub(super) mark_read: Option<(Instant, Timestamp)>,
    /// The last good count, and when it was read.
    pub(super) good: Option<(Count, Instant)>,
    /// Whether another count was read in the same millisecond, so that it is not known which of them came first.
    pub(super) is_ambiguous: bool,
    /// When the channel was found to be incomplete: by the store's clock, and by this node's. `None` once it is complete.
    pub(super) lost: Option<(Timestamp, Instant)>,
    /// Whether the channel is replayed only because the store may have lost it.
    pub(super) is_suspect: bool,
}

/// What a reading shows of the mark of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkChange {
    /// The mark is the same, or the first that is known.
    None,
    /// The mark has changed.
    Changed,
    /// The mark differs, but the reading is not newer than the known mark. It is not known which of them came first.
    Outdated,
}

impl ChannelEntry {
    /// Updates the mark from a reading. Readings can arrive out of order: one that is older than the known mark changes
    /// nothing, unless it is so much later that the store's clock must have been set back.
    pub(super) fn update_mark(&mut self, reading: &Reading, now: Instant) -> MarkChange {
        let is_changed = self.mark.is_some() && self.mark != reading.mark;
        let is_old = |(at, as_of): (Instant, Timestamp)| {
            now < at + OVERTAKEN_FOR && (reading.as_of < as_of || is_changed && reading.as_of == as_of)
        };
        if self.mark.is_some() && self.mark_read.is_some_and(is_old) {
            return if is_changed { MarkChange::Outdated } else { MarkChange::None };
        }
        (self.mark, self.mark_read) = (reading.mark, Some((now, reading.as_of)));
        if is_changed { MarkChange::Changed } else { MarkChange::None }
    }

    /// Whether all known viewers are gone. The channel may then have expired, which is no loss.
    pub(super) fn has_ended(&self, began: Timestamp, now: Instant, longest_lease: Duration) -> bool {
        let are_gone = |(count, at): (Count, Instant)| count.value() == Some(0) || now >= at + longest_lease;
        self.ledger.useful_until() <= began && self.good.is_none_or(are_gone)
    }

    /// The last good count as stale or, if it is too old, the count of a reading that may lack viewers.
    pub(super) fn uncertain(&self, reading: &Reading, now: Instant) -> Count {
        let last = self.stale(now);
        if last.value().is_some() { last } else { incomplete(reading) }
    }

    /// The last good count as stale, or unknown if it is older than [`STALE_FOR`].
    pub(super) fn stale(&self, now: Instant) -> Count {
        match self.good {
            Some((good, at)) if now < at + STALE_FOR => good.into_stale(),
            Some((good, _)) => Count::unknown(good.as_of()),
            None => Count::unknown(Timestamp::default()),
        }
    }
}

/// The count of a reading that lacks viewers which other nodes still have to replay.
pub(super) fn incomplete(reading: &Reading) -> Count {
    Count::from(*reading).into_stale()
}
