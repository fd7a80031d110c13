//! Fan-out of count changes to the open streams.
//!
//! One [`reader`] per node reads the counts of all watched channels and publishes changes to the [`hub`]. The hub keeps
//! one encoded frame per channel for all streams.
//!
//! Promises:
//! - A stream gets the newest count and no backlog. A slow stream skips the counts that it has missed.
//! - A channel is published at most once per interval. The first change after a quiet interval is published at once;
//!   later changes are published when the interval is over.
//! - A stream needs no task, timer, queue or copy of a frame of its own. Channels without streams cost nothing.

use async_trait::async_trait;

use crate::domain::{ChannelId, Count};

pub mod frame;
pub mod hub;
pub mod reader;

pub use hub::{Hub, Subscription};

/// A source of counts.
#[async_trait]
pub trait Counts: Send + Sync {
    /// The counts of channels in the order given. A count is stale or unknown if the store is unavailable.
    async fn counts(&self, channels: &[ChannelId]) -> Vec<Count>;

    /// Whether one call reads many channels. Otherwise each channel is a call of its own.
    fn takes_many_channels(&self) -> bool;

    /// Whether a channel is on air, if that is known. Must not wait.
    fn is_on_air(&self, _channel: &ChannelId) -> Option<bool> {
        None
    }
}
