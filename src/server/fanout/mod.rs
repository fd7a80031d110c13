//! How a change of a count reaches the open streams.
//!
//! One [`reader`] per node reads the counts of all channels that someone watches and publishes what has changed to the
//! [`hub`], which holds one encoded frame per channel for all of its streams.
//!
//! Promises:
//! - A stream gets the newest count, never a backlog: what a slow reader has missed is skipped.
//! - A channel gets one update per interval at most. The first change after a quiet interval is published at once, later
//!   ones are gathered until the interval is over.
//! - Per stream there is no task, no timer, no queue and no copy of a frame. Channels that nobody watches cost nothing.

use async_trait::async_trait;

use crate::domain::{ChannelId, Count};

pub mod frame;
pub mod hub;
pub mod reader;

pub use hub::{Hub, Subscription};

/// Where the reader gets counts from.
#[async_trait]
pub trait Counts: Send + Sync {
    /// The counts of channels in the order given; stale or unknown where the store can't tell.
    async fn counts(&self, channels: &[ChannelId]) -> Vec<Count>;

    /// Whether many channels are asked for in one call; otherwise each is a call of its own.
    fn takes_many_channels(&self) -> bool;
}
