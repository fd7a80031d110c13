//! Where leases are kept.
//!
//! What every store promises:
//! - **Counting** is by [`crate::domain::roster`]: a session counts from its beat until the end of its lease by the
//!   store's own clock, and a count is read off the leases. Nothing else, in particular no clean-up, changes a count.
//! - **Atomicity**: the operations of one channel in one call happen in their order, and nothing comes between.
//! - **Partial failure**: each channel of a call is answered by itself. An error says that the operations of that
//!   channel may or may not have happened; as all are idempotent, the caller may send them again.
//! - **Bounded waiting**: every call is answered within seconds, whatever happens to a server.

mod availability;
mod measured;
mod memory;
pub mod open;
pub mod remote;

use std::time::Duration;

use async_trait::async_trait;
use smallvec::SmallVec;

use crate::domain::{ChannelId, Count, Op, Timestamp};

pub use measured::Measured;
pub use memory::MemoryStore;
pub use open::{Opened, open};

pub use super::store_error::StoreError;

/// A place that keeps leases. See the module for what it promises.
#[async_trait]
pub trait Store: Send + Sync {
    /// Does the operations of each channel, and answers each channel in the order given. A channel's operations in one
    /// batch are [`MAX_OPS`] at most.
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>>;

    /// The counts of channels in the order given, in one round trip. Unknown channels have 0. Changes nothing.
    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>>;

    /// The channels that have viewers now. A part of the store that is away takes its own channels off the list alone.
    async fn live(&self) -> Result<Listed, StoreError>;

    /// Frees memory of what has expired, a bounded piece of work at a time.
    async fn sweep(&self) -> Result<(), StoreError>;

    /// Whether it is outside of this process: others write to it too, and it can be away or lose what it had.
    fn is_shared(&self) -> bool {
        false
    }

    /// Whether one call with many channels costs less than a call for each.
    fn takes_many_channels(&self) -> bool {
        true
    }

    /// Tells the store that a node is there, and what it knows. `None` from a store that has one node.
    async fn attend(&self, _attendance: &Attendance) -> Result<Option<RollCall>, StoreError> {
        Ok(None)
    }

    /// How long at least nodes should wait between two roll calls, where each costs money.
    fn roll_call_pause(&self) -> Duration {
        Duration::ZERO
    }

    /// Asks for an answer and nothing else.
    ///
    /// # Errors
    /// When there is none.
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether the store answers: by the outcome of its last calls, or by a ping.
    async fn is_available(&self) -> bool {
        self.ping().await.is_ok()
    }

    /// What changes when all data may have been lost, because servers were restarted or others took over; `None` if that
    /// can't be told. (What a single channel has lost shows in [`Reading::mark`].)
    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }
}

/// The most operations in a batch: a few milliseconds of a server's time, in which it does nothing else.
pub const MAX_OPS: usize = 250;

/// Splits items into runs that weigh `most` together; what weighs more by itself is a run of its own.
pub(crate) fn split<T>(mut items: &[T], weight: impl Fn(&T) -> usize, most: usize) -> Vec<&[T]> {
    let mut runs = Vec::new();
    while !items.is_empty() {
        let mut sum = 0;
        let fits = items.iter().take_while(|item| {
            sum += weight(item);
            sum <= most
        });
        let (run, rest) = items.split_at(fits.count().max(1));
        runs.push(run);
        items = rest;
    }
    runs
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
    /// Another one, or none, than before means that the store has lost what it had of the channel.
    pub mark: Option<Mark>,
    /// When a node last wrote something of the channel again that the store did not have; the epoch if none ever has.
    /// The count may be incomplete until every node has looked after that (see [`RollCall`]).
    pub restored: Timestamp,
    /// Which roll call the store holds, where every answer tells.
    pub epoch: Option<Epoch>,
}

impl Reading {
    /// A reading of a store that can't lose anything.
    #[must_use]
    pub const fn certain(count: u32, as_of: Timestamp) -> Self {
        Self { count, as_of, mark: None, restored: Timestamp::from_millis(0), epoch: None }
    }
}

/// Names a roll call and the connection by which it is known. Another one means that the store may not be what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u64);

/// What a node says of itself at a roll call.
#[derive(Debug, Clone)]
pub struct Attendance {
    /// Its number, random.
    pub node: u64,
    /// For how long the others should expect it to be there without another word; zero: it goes.
    pub expected_for: Duration,
    /// Since when, by the store's clock, it knows that all it remembers is in the store. `None`: it remembers nothing.
    pub sure_since: Option<Timestamp>,
    /// The number of the roll call that it knows.
    pub known: Option<u64>,
    /// It has found that something was lost, or has written something again.
    pub has_found_loss: bool,
    /// It can't write what it has accepted, since a later version keeps the channel. All counts may lack viewers until it
    /// has gone, or can write again.
    pub is_locked_out: bool,
    /// The other nodes that it knows of.
    pub peers: Vec<u64>,
}

/// The nodes over a store, and whether the store is being restored: by it every node knows whether others still have
/// something to write again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollCall {
    /// The store's time.
    pub now: Timestamp,
    /// Its number.
    pub number: u64,
    /// Which roll call it is, by the connection that it came by.
    pub epoch: Option<Epoch>,
    /// When everything may have been lost; the epoch if never.
    pub lost: Timestamp,
    /// When nodes were last asked to look whether all that they remember is there; the epoch if never.
    pub asked: Timestamp,
    /// Since when all nodes know that what they remember is in the store.
    pub sure_since: Timestamp,
    /// The nodes that are expected.
    pub nodes: Vec<u64>,
}

impl RollCall {
    /// Whether the count of a channel that was restored at `restored` is complete.
    #[must_use]
    pub fn is_complete(&self, restored: Timestamp) -> bool {
        self.lost.max(restored) <= self.sure_since
    }
}

/// A random number that a channel gets when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u64);

/// The channels that have viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// In no order.
    pub live: Vec<Live>,
    /// Whether none is missing.
    pub is_whole: bool,
}

/// A channel that has viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The channel.
    pub channel: ChannelId,
    /// Its viewers; at least one.
    pub count: u32,
    /// When that was true.
    pub as_of: Timestamp,
    /// As in [`Reading`].
    pub restored: Timestamp,
}

impl From<Reading> for Count {
    fn from(reading: Reading) -> Self {
        Self::fresh(reading.count, reading.as_of)
    }
}
