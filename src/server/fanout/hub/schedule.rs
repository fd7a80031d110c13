//! The schedule of the hub: when each feed is due next. It has at most one entry per feed, and a round visits only the
//! feeds that are due.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::feed::ChannelFeed;

/// The next visits of all feeds. Its lock is taken last, after that of a feed.
#[derive(Default)]
pub(super) struct Schedule(Mutex<BTreeMap<Visit, Arc<ChannelFeed>>>);

/// When a feed is due, and its id.
pub(super) type Visit = (Instant, u64);

impl Schedule {
    /// Replaces a feed's previous visit by its next visit. Without a next visit the feed is removed.
    pub(super) fn set(&self, previous: Option<Visit>, next: Option<Visit>, feed: &Arc<ChannelFeed>) {
        if previous == next {
            return;
        }
        let mut visits = self.0.lock();
        if let Some(previous) = previous {
            visits.remove(&previous);
        }
        if let Some(next) = next {
            visits.insert(next, Arc::clone(feed));
        }
    }

    /// The feeds that are due by `now`. They stay in the schedule until they are rescheduled.
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<ChannelFeed>> {
        self.0.lock().range(..=(now, u64::MAX)).map(|(_, feed)| Arc::clone(feed)).collect()
    }

    /// The number of visits.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}
