//! The beats that are being written and may add a viewer to their channel.
//!
//! A count that a write returns includes the viewers of beats that were written together with it. Only a count that is
//! higher than the number of those beats proves that the channel had viewers before.

use std::sync::Arc;

use dashmap::{DashMap, Entry};

use crate::domain::ChannelId;

/// The beats under way of each channel. A channel has an entry only while it has any.
#[derive(Default)]
pub(super) struct UnderWay(Arc<DashMap<ChannelId, Beats>>);

#[derive(Default)]
struct Beats {
    /// The beats since the entry was made.
    begun: u64,
    /// Those that have not ended.
    open: u64,
}

impl UnderWay {
    /// A beat begins.
    pub(super) fn begin(&self, channel: &ChannelId) -> Beat {
        let mut beats = self.0.entry(channel.clone()).or_default();
        let ended = beats.begun - beats.open;
        beats.begun += 1;
        beats.open += 1;
        Beat { channel: channel.clone(), ended, all: Arc::clone(&self.0) }
    }
}

/// A beat under way. Dropping it ends it.
pub(super) struct Beat {
    channel: ChannelId,
    /// The beats that had ended when this one began.
    ended: u64,
    all: Arc<DashMap<ChannelId, Beats>>,
}

impl Beat {
    /// The most viewers that beats could add that were under way at the same time as this one, itself included.
    pub(super) fn most_added(&self) -> u64 {
        self.all.get(&self.channel).map_or(u64::MAX, |beats| beats.begun - self.ended)
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        if let Entry::Occupied(mut beats) = self.all.entry(self.channel.clone()) {
            beats.get_mut().open -= 1;
            if beats.get().open == 0 {
                beats.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_at_the_same_time_are_counted_and_earlier_ones_are_not() {
        let (all, channel) = (UnderWay::default(), ChannelId::parse("ana").unwrap());
        let first = all.begin(&channel);
        assert_eq!(first.most_added(), 1);
        let second = all.begin(&channel);
        assert_eq!((first.most_added(), second.most_added()), (2, 2));
        drop(first);
        let third = all.begin(&channel);
        assert_eq!((second.most_added(), third.most_added()), (3, 2));
        drop((second, third));
        assert!(all.0.is_empty());
        assert_eq!(all.begin(&channel).most_added(), 1);
    }
}
