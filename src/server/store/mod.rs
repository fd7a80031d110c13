//! Where leases are kept.
//!
//! What every store promises:
//! - **Counting** is by [`crate::domain::roster`]: a session counts from its beat until the end of its lease by the
//!   store's own clock, and a count is read off the leases. Nothing else, in particular no clean-up, changes a count.
//! - **Atomicity**: the operations of one channel in one call happen in their order, and nothing comes between.
//! - **Partial failure**: each channel of a call is answered by itself. An error says that the operations of that
//!   channel may or may not have happened; as all are idempotent, the caller may send them again.

mod memory;

use async_trait::async_trait;
use smallvec::SmallVec;

use crate::domain::{ChannelId, Count, Op, Timestamp};

pub use memory::MemoryStore;

/// A place that keeps leases. See the module for what it promises.
#[async_trait]
pub trait Store: Send + Sync {
    /// Does the operations of each channel, and answers each channel in the order given.
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>>;

    /// The counts of channels in the order given, in one round trip. Unknown channels have 0. Changes nothing.
    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>>;

    /// Frees memory of what has expired, a bounded piece of work at a time.
    async fn sweep(&self) -> Result<(), StoreError>;
}

/// Operations on one channel.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The channel.
    pub channel: ChannelId,
    /// What to do, in order.
    pub ops: SmallVec<[Op; 1]>,
}

/// What a [`Batch`] led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// For each operation, whether its session is counted after it.
    pub active: SmallVec<[bool; 1]>,
    /// The channel's count after all of them.
    pub reading: Reading,
}

/// A count and when it was true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Viewers with a live lease.
    pub count: u32,
    /// The instant it holds for.
    pub as_of: Timestamp,
}

impl From<Reading> for Count {
    fn from(reading: Reading) -> Self {
        Self::fresh(reading.count, reading.as_of)
    }
}

/// The store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It did not answer, or not in time. The message is for the log.
    #[error("the store does not answer: {0}")]
    Unreachable(String),
}
