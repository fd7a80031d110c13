//! When each watched channel is to be looked at next. It holds one entry per channel, so that it is never larger than
//! the hub, and a round costs what is due in it and not what is watched.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::feed::ChannelFeed;

/// The next visits of all cells. Its lock is taken last, under that of a cell.
#[derive(Default)]
pub struct Schedule(Mutex<BTreeMap<Visit, Arc<ChannelFeed>>>);

/// When a cell is to be looked at, and the cell's number.
pub type Visit = (Instant, u64);

impl Schedule {
    /// Puts a cell's next visit in the place of the one before; without a next one it is in no place.
    pub fn set(&self, before: Option<Visit>, next: Option<Visit>, feed: &Arc<ChannelFeed>) {
        if before == next {
            return;
        }
        let mut visits = self.0.lock();
        if let Some(before) = before {
            visits.remove(&before);
        }
        if let Some(next) = next {
            visits.insert(next, Arc::clone(feed));
        }
    }

    /// The cells that are to be looked at by now, which stay in their places until they are given new ones.
    pub fn due(&self, now: Instant) -> Vec<Arc<ChannelFeed>> {
        self.0.lock().range(..=(now, u64::MAX)).map(|(_, feed)| Arc::clone(feed)).collect()
    }

    /// How many visits there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }
}
