//! Stores of leases.
//!
//! Promises of every store:
//! - **Counting** follows [`crate::domain::roster`]: a session counts from its beat until its lease expires by the
//!   store's clock, and a count is computed from the leases. Cleanup never changes a count.
//! - **Atomicity**: the operations of one channel in one call, or of one part of it, are applied in order, without other
//!   operations in between. A viewer is in one part.
//! - **Partial failure**: each channel of a call has its own result. After an error the channel's operations may or may
//!   not have been applied. All operations are idempotent, so the caller may send them again.
//! - **Bounded waiting**: every call returns within seconds, whatever happens to a server.

mod availability;
mod error_log;
mod measured;
mod memory;
pub mod open;
pub mod remote;
mod renewal_log;
mod short_ids;

use std::time::Duration;

use async_trait::async_trait;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::domain::{ChannelId, Count, Op, Timestamp};

pub use measured::Measured;
pub use memory::MemoryStore;
pub use open::open;
pub use renewal_log::{Append, Appended, Left, LeftSince, LogId, Renewal, RenewalLog};
pub use short_ids::ShortIds;

pub use super::store_error::StoreError;

/// A store of leases, with the promises of [this module](self).
#[async_trait]
pub trait Store: Send + Sync {
    /// Applies the batches and returns a result for each, in the order given. A batch has at most [`MAX_OPS`]
    /// operations.
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>>;

    /// The counts of channels in the order given, in one round trip. An unknown channel has the count 0 and is not
    /// created.
    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>>;

    /// The same, each from the channel's own data, so that a loss of the channel shows. [`Store::counts`] may return a count
    /// that is known not to have changed.
    async fn verify(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        self.counts(channels).await
    }

    /// The channels that have viewers now. If a part of the store is unavailable, only its channels are missing.
    async fn live(&self) -> Result<Listed, StoreError>;

    /// The names of the channels of some parts that may have viewers now.
    async fn listed(&self, parts: &[u16]) -> Result<Names, StoreError>;

    /// Enters channels with viewers into what [`Store::listed`] returns, which the store may have lost. Returns an error if
    /// some of them could not be entered.
    async fn enter(&self, _channels: &[ChannelId]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Renews a node's share in the parts of the channels, for the next [`Claim::lease`].
    async fn share(&self, claim: &Claim) -> Result<Share, StoreError>;

    /// Frees the memory of expired entries, in bounded steps.
    async fn sweep(&self) -> Result<(), StoreError>;

    /// Whether the store is outside of this process. Other nodes then write to it too, and it can be unavailable or
    /// lose data.
    fn is_shared(&self) -> bool {
        false
    }

    /// The logs of renewals, if writing to them first costs less than writing to the channels.
    fn renewal_log(&self) -> Option<&dyn RenewalLog> {
        None
    }

    /// Whether one call with many channels costs less than a call for each.
    fn takes_many_channels(&self) -> bool {
        true
    }

    /// Attends the roll call for a node. Returns `None` if the store has only one node.
    async fn attend(&self, _attendance: &Attendance) -> Result<Option<RollCall>, StoreError> {
        Ok(None)
    }

    /// The shortest pause between two roll calls of a node, for stores that charge for each command.
    fn roll_call_pause(&self) -> Duration {
        Duration::ZERO
    }

    /// Checks that the store responds.
    ///
    /// # Errors
    /// When the store does not respond.
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether the store is available, by the outcome of recent calls or by a ping.
    async fn is_available(&self) -> bool {
        self.ping().await.is_ok()
    }

    /// An identifier that changes when servers were restarted or replaced, so that all data may have been lost. `None`
    /// if the store can't provide one. The loss of a single channel shows in [`Reading::mark`].
    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// The number of the newest outage of one of several servers that is not resolved; see [`Reading::was_away`].
    fn unresolved_outage(&self) -> Option<u64> {
        None
    }

    /// Resolves all outages up to a number: no node has anything to replay from before.
    fn resolve_outages(&self, _up_to: u64) {}
}

/// The most operations in a batch. They block a server for a few milliseconds.
pub const MAX_OPS: usize = 250;

/// Splits items into runs with a total weight of at most `max_weight`. An item above the limit is a run of its own.
pub(crate) fn split<T>(mut items: &[T], weight: impl Fn(&T) -> usize, max_weight: usize) -> Vec<&[T]> {
    let mut runs = Vec::new();
    while !items.is_empty() {
        let mut sum = 0;
        let fits = items.iter().take_while(|item| {
            sum += weight(item);
            sum <= max_weight
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
    /// The operations, in order.
    pub ops: SmallVec<[Op; 1]>,
}

/// The result of a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// For each operation, whether its session is counted after the operation.
    pub active: SmallVec<[bool; 1]>,
    /// When each operation was applied, by the clock of its server. Empty if all were applied at the time of the reading.
    pub applied: Vec<Timestamp>,
    /// The channel's count after all operations.
    pub reading: Reading,
}

impl Written {
    /// The result of operations that were all applied at the time of the reading.
    #[must_use]
    pub const fn at_once(active: SmallVec<[bool; 1]>, reading: Reading) -> Self {
        Self { active, applied: Vec::new(), reading }
    }

    /// When an operation was applied, by the store's clock.
    #[must_use]
    pub fn applied_at(&self, nth: usize) -> Timestamp {
        self.applied.get(nth).copied().unwrap_or(self.reading.as_of)
    }
}

/// A count and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The number of viewers with a live lease.
    pub count: u32,
    /// The time of the count, by the store's clock.
    pub as_of: Timestamp,
    /// The mark of the channel. A changed or missing mark means that the channel was lost, unless it has expired.
    pub mark: Option<Mark>,
    /// When a node last replayed something that the store lacked; the Unix epoch if never. The count may be incomplete
    /// until every node has checked its journal after this time (see [`RollCall`]).
    pub restored: Timestamp,
    /// The roll call that the store holds. `None` from a store whose responses do not name it.
    pub epoch: Option<Epoch>,
    /// Whether the channel's server did not respond, and the outage is not resolved, or a part of the channel is missing.
    /// The outages of a store with one server show in the roll call instead.
    pub was_away: bool,
}

impl Reading {
    /// A reading of a store that can't lose data.
    #[must_use]
    pub const fn certain(count: u32, as_of: Timestamp) -> Self {
        let restored = Timestamp::from_millis(0);
        Self { count, as_of, mark: None, restored, epoch: None, was_away: false }
    }
}

/// Identifies a roll call and the connection that read it. A changed epoch means that the store may have lost data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u64);

/// What a node reports at a roll call.
#[derive(Debug, Clone)]
pub struct Attendance {
    /// The node's random number.
    pub node: u64,
    /// How long the other nodes should wait for this node's next attendance. Zero: the node shuts down.
    pub expected_for: Duration,
    /// The time since which the node knows that its whole journal is in the store, by the store's clock. `None`: the
    /// journal is empty.
    pub sure_since: Option<Timestamp>,
    /// The number of the last roll call that the node knows.
    pub known: Option<u64>,
    /// Whether the node has found a loss or replayed operations.
    pub has_found_loss: bool,
    /// Whether the node can't write accepted operations, since a later version keeps a channel. All counts may lack
    /// viewers until the node has shut down or can write again.
    pub is_locked_out: bool,
    /// The other nodes that the node knows.
    pub peers: Vec<u64>,
}

/// The nodes of a store and the state of a recovery. It shows every node whether other nodes still have operations to
/// replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollCall {
    /// The store's time.
    pub now: Timestamp,
    /// The random number of the roll call.
    pub number: u64,
    /// The epoch: the number together with the connection that read it.
    pub epoch: Option<Epoch>,
    /// When all data may have been lost; the Unix epoch if never.
    pub lost: Timestamp,
    /// When the nodes were last asked to check their journals against the store; the Unix epoch if never.
    pub asked: Timestamp,
    /// The time since which all nodes know that their journals are in the store.
    pub sure_since: Timestamp,
    /// The nodes that are expected to attend.
    pub nodes: Vec<u64>,
}

impl RollCall {
    /// Whether the count of a channel that was restored at `restored` is complete.
    #[must_use]
    pub fn is_complete(&self, restored: Timestamp) -> bool {
        self.lost.max(restored) <= self.sure_since
    }
}

/// A random number that a channel gets when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u64);

/// What a node says when it renews its share in the parts of the channels (see [`ChannelId::PARTS`]).
#[derive(Debug, Clone)]
pub struct Claim {
    /// The node's random number.
    pub node: u64,
    /// How long the node owns its parts. Zero: the node shuts down.
    pub lease: Duration,
    /// The id of the node's database, if it is known.
    pub database: Option<Uuid>,
}

/// The parts of the channels that a node owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// The node owns these parts until its lease ends. At most for moments, another node owns one of them too.
    Parts(Vec<u16>),
    /// The node gets no part, since the other nodes of this store have another setting.
    Refused(Difference),
}

/// A setting in which a node differs from the other nodes of its store, and must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The database.
    #[error(
        "DATABASE_URL: the other nodes of this store use another database; all nodes of a store must share one. Set \
         DATABASE_URL to theirs, or REDIS_KEY_PREFIX to a prefix of your own"
    )]
    Database,
    /// The number of parts of each channel. The others have this setting.
    #[error(
        "REDIS_CHANNEL_PARTS: the other nodes of this store have {0}, so the counts of this node would be wrong; set \
         REDIS_CHANNEL_PARTS={0}, or end the other nodes first (for 40 s after they were killed, they count as running)"
    )]
    ChannelParts(String),
}

impl Difference {
    /// The reason and the detail for the check of readiness.
    #[must_use]
    pub const fn readiness(&self) -> (&'static str, &'static str) {
        match self {
            Self::Database => ("database", "the other nodes use another database; set DATABASE_URL"),
            Self::ChannelParts(_) => {
                ("store", "the other nodes have another setting of parts; set REDIS_CHANNEL_PARTS")
            }
        }
    }
}

/// Names of channels that may have viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The channels, in no particular order.
    pub channels: Vec<ChannelId>,
    /// Whether every channel with viewers is among them.
    pub is_whole: bool,
}

/// The channels that have viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The channels, in no particular order.
    pub live: Vec<Live>,
    /// Whether the list is complete.
    pub is_whole: bool,
}

/// A channel that has viewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The channel.
    pub channel: ChannelId,
    /// The number of viewers, at least one.
    pub count: u32,
    /// The time of the count, by the store's clock.
    pub as_of: Timestamp,
    /// See [`Reading::restored`].
    pub restored: Timestamp,
}

impl From<Reading> for Count {
    fn from(reading: Reading) -> Self {
        Self::fresh(reading.count, reading.as_of)
    }
}
