//! How far the database has what this node has seen. Webhooks follow from the database, so they wait for it.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::{ChannelId, Timestamp};

/// The progress of a node's recording.
#[derive(Debug)]
pub struct Progress {
    /// The channels that went on air since the last write.
    begun: Mutex<BTreeSet<ChannelId>>,
    has_begun: Notify,
    /// For each part, when its channels were last sampled without a gap, by the store's clock; 0: never.
    sampled: Vec<AtomicU64>,
    /// For each part, the sample up to which the database has all changes; 0: none. A broadcast that goes on is lengthened
    /// later, but well within the time after which it is over.
    settled: Vec<AtomicU64>,
    /// The start of the oldest minute that waits for the database; `u64::MAX`: none.
    waiting: AtomicU64,
    was_written: Notify,
}

/// For each part, when its channels were last sampled.
pub(super) struct Samples(Vec<u64>);

impl Default for Progress {
    fn default() -> Self {
        let parts = || (0..ChannelId::PARTS).map(|_| AtomicU64::default()).collect();
        Self {
            begun: Mutex::default(),
            has_begun: Notify::new(),
            sampled: parts(),
            settled: parts(),
            waiting: AtomicU64::new(u64::MAX),
            was_written: Notify::new(),
        }
    }
}

impl Progress {
    /// Up to which instant, by the store's clock, the database knows whether the channels of a part were on air. `None`:
    /// this node has not brought a sample of the part into the database.
    #[must_use]
    pub fn settled(&self, part: u16) -> Option<Timestamp> {
        let settled = self.settled.get(usize::from(part))?.load(Ordering::Relaxed);
        (settled > 0).then(|| Timestamp::from_millis(settled))
    }

    /// Before this instant, no minute of this node waits for the database.
    pub(super) fn written_before(&self) -> Timestamp {
        Timestamp::from_millis(self.waiting.load(Ordering::Relaxed))
    }

    /// Records the start of the oldest minute that waits for the database.
    pub(super) fn wait_from(&self, oldest: Option<Timestamp>) {
        self.waiting.store(oldest.map_or(u64::MAX, Timestamp::as_millis), Ordering::Relaxed);
    }

    /// Waits for the next write of spans on air. Only one task may wait.
    pub async fn written(&self) {
        self.was_written.notified().await;
    }

    /// Records that a channel went on air.
    pub(super) fn begin(&self, channel: &ChannelId) {
        self.begun.lock().insert(channel.clone());
        self.has_begun.notify_one();
    }

    /// Waits until a channel goes on air.
    pub(super) async fn begun(&self) {
        self.has_begun.notified().await;
    }

    /// Takes the channels that went on air.
    pub(super) fn take_begun(&self) -> BTreeSet<ChannelId> {
        std::mem::take(&mut self.begun.lock())
    }

    /// Records that all channels of a part were sampled.
    pub(super) fn sample(&self, part: u16, at: Timestamp) {
        if let Some(sampled) = self.sampled.get(usize::from(part)) {
            sampled.fetch_max(at.as_millis(), Ordering::Relaxed);
        }
    }

    /// The samples so far.
    pub(super) fn samples(&self) -> Samples {
        Samples(self.sampled.iter().map(|at| at.load(Ordering::Relaxed)).collect())
    }

    /// Records that the database has all changes, up to these samples if they are given.
    pub(super) fn write(&self, samples: Option<Samples>) {
        for (settled, at) in self.settled.iter().zip(samples.into_iter().flat_map(|samples| samples.0)) {
            settled.store(at, Ordering::Relaxed);
        }
        self.was_written.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_is_settled_up_to_the_sample_before_the_write() {
        let progress = Progress::default();
        progress.write(Some(progress.samples()));
        assert_eq!(progress.settled(3), None);
        let at = Timestamp::from_millis;
        progress.sample(3, at(1_000));
        let samples = progress.samples();
        progress.sample(3, at(2_000));
        progress.write(None);
        assert_eq!(progress.settled(3), None, "only some channels were written");
        progress.write(Some(samples));
        assert_eq!((progress.settled(3), progress.settled(4)), (Some(at(1_000)), None));
        progress.written().await;
    }
}
