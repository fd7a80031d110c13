//! What a node remembers beside a store that can be away or lose its data: each channel's ledger, and its last good count.

use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::{
    domain::{ChannelId, Count, Ledger, Op, Timestamp},
    server::store::{Batch, MAX_OPS, Mark, Reading, StoreError},
};

/// For how long the last good count is shown as stale before it becomes unknown.
pub const STALE_FOR: Duration = Duration::from_secs(60);

/// A node's memory of all channels.
pub struct Memory {
    channels: DashMap<ChannelId, Remembered>,
    longest_lease: Duration,
    /// How long a channel that was lost is not believed: other nodes need a moment to write what they remember too.
    settle: Duration,
}

#[derive(Default)]
struct Remembered {
    ledger: Ledger,
    /// The store's mark of the channel; another one means that it was lost in between.
    mark: Option<Mark>,
    /// The last good count, and when it came.
    good: Option<(Count, Instant)>,
    /// When the channel was found to be lost, until it is whole again.
    lost: Option<Instant>,
    /// It is written again for no other reason than that it may have been lost.
    is_doubted: bool,
}

/// What is to be written again of one channel.
pub struct Rewrite {
    /// The operations, in batches that a store takes.
    pub batches: Vec<Batch>,
    number: u32,
}

impl Memory {
    /// An empty memory. `update_interval` is the time within which every node notices a loss.
    #[must_use]
    pub fn new(longest_lease: Duration, update_interval: Duration) -> Self {
        Self { channels: DashMap::new(), longest_lease, settle: update_interval }
    }

    /// Takes in an operation before it is written; see [`Ledger::accept`].
    pub fn accept(&self, channel: &ChannelId, op: &Op, now: Timestamp) -> bool {
        self.channels.entry(channel.clone()).or_default().ledger.accept(op, now)
    }

    /// Takes in what the store has said of a channel, by a read or a write, and says what to show, and whether that says that
    /// the channel was lost. `asked` is when the node began to read or write, by its clock.
    pub fn take_in(
        &self,
        channel: &ChannelId,
        reading: &Result<Reading, StoreError>,
        asked: Timestamp,
    ) -> (Count, Loss) {
        let now = Instant::now();
        let Ok(reading) = reading else {
            return (self.last_good(channel, now), Loss::None);
        };
        let Some(mut remembered) = self.channels.get_mut(channel) else {
            // Nothing was accepted here, so there is nothing to lose, and nothing to remember but the count.
            if reading.count > 0 {
                let good = Some((Count::from(*reading), now));
                self.channels.entry(channel.clone()).or_default().good = good;
            }
            return (Count::from(*reading), Loss::None);
        };
        let lost = remembered.mark.is_some()
            && remembered.mark != reading.mark
            && !remembered.has_ended(asked, now, self.longest_lease);
        remembered.mark = reading.mark;
        if lost {
            remembered.ledger.lost();
            remembered.lost = Some(now);
            remembered.is_doubted = false;
        }
        let is_complete = remembered.is_doubted || !remembered.ledger.is_unwritten();
        let settled = is_complete && remembered.lost.is_none_or(|at| now >= at + self.settle);
        if !settled {
            return (remembered.stale(now), if lost { Loss::Found } else { Loss::Known });
        }
        remembered.lost = None;
        let count = Count::from(*reading);
        if remembered.good.is_none_or(|(good, _)| good.as_of <= count.as_of) {
            remembered.good = Some((count, now));
        }
        (count, Loss::None)
    }

    /// The store has not taken what was accepted at `since`. What to show.
    pub fn missed(&self, channel: &ChannelId, since: Timestamp) -> Count {
        let mut remembered = self.channels.entry(channel.clone()).or_default();
        remembered.ledger.missed(since);
        remembered.is_doubted = false;
        remembered.stale(Instant::now())
    }

    /// Servers of the store are not those that they were: any channel may have been lost in part. Everything is written
    /// again to be sure; which channels are incomplete, their marks tell.
    pub fn doubt_all(&self) {
        for mut remembered in self.channels.iter_mut() {
            remembered.is_doubted |= !remembered.ledger.is_unwritten();
            remembered.ledger.lost();
        }
    }

    /// All channels of which something could be written again.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelId> {
        let matters = |ledger: &Ledger| !ledger.is_empty() || ledger.is_unwritten();
        self.channels.iter().filter(|entry| matters(&entry.ledger)).map(|entry| entry.key().clone()).collect()
    }

    /// The channels of which something is to be written again.
    #[must_use]
    pub fn unwritten(&self) -> Vec<ChannelId> {
        self.channels
            .iter()
            .filter(|entry| entry.ledger.is_unwritten())
            .map(|entry| entry.key().clone())
            .collect()
    }

    /// What is to be written again of a channel.
    #[must_use]
    pub fn rewrite(&self, channel: &ChannelId, now: Timestamp) -> Option<Rewrite> {
        let remembered = self.channels.get(channel)?;
        let (ops, number) = remembered.ledger.rewrite(now, self.longest_lease);
        let batch = |ops: &[Op]| Batch { channel: channel.clone(), ops: ops.into() };
        Some(Rewrite { batches: ops.chunks(MAX_OPS).map(batch).collect(), number })
    }

    /// A channel has been written again, and has the mark that came with it.
    pub fn rewritten(&self, channel: &ChannelId, rewrite: &Rewrite, mark: Option<Mark>) {
        if let Some(mut remembered) = self.channels.get_mut(channel) {
            remembered.ledger.rewritten(rewrite.number);
            remembered.is_doubted &= remembered.ledger.is_unwritten();
            if mark.is_some() {
                remembered.mark = mark;
            }
        }
    }

    /// Forgets what no longer matters.
    pub fn sweep(&self, now: Timestamp) {
        let old = |(_, at): &(Count, Instant)| at.elapsed() >= STALE_FOR;
        self.channels.retain(|_, remembered| {
            !remembered.ledger.sweep(now, self.longest_lease) || !remembered.good.as_ref().is_none_or(old)
        });
    }

    fn last_good(&self, channel: &ChannelId, now: Instant) -> Count {
        self.channels
            .get(channel)
            .map_or(Count::unknown(Timestamp::default()), |remembered| remembered.stale(now))
    }
}

/// Whether a reading shows that the store has lost the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It has not, as far as is known.
    None,
    /// It has, and that is news.
    Found,
    /// It has, and it is being mended.
    Known,
}

impl Remembered {
    /// Whether all viewers that were known of are gone, so that their channel may have ended by itself.
    fn has_ended(&self, asked: Timestamp, now: Instant, longest_lease: Duration) -> bool {
        let are_gone = |(count, at): (Count, Instant)| count.value == Some(0) || now >= at + longest_lease;
        !self.ledger.has_live(asked) && self.good.is_none_or(are_gone)
    }

    /// The last good count as stale, or unknown if it is too old.
    fn stale(&self, now: Instant) -> Count {
        match self.good {
            Some((good, at)) if now < at + STALE_FOR => Count { stale: true, ..good },
            Some((good, _)) => Count::unknown(good.as_of),
            None => Count::unknown(Timestamp::default()),
        }
    }
}
