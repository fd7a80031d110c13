//! A log of renewals: heartbeats that only prolong leases. They change no count, so a node may write them to their channels
//! later, many at a time. Until then, its log in the store has them, and another node writes them if it dies.

use std::time::Duration;

use async_trait::async_trait;

use super::{Epoch, ShortIds, StoreError};
use crate::domain::{ChannelId, SessionId, Timestamp, ViewerId};

/// The logs of the nodes of a store.
#[async_trait]
pub trait RenewalLog: Send + Sync {
    /// Appends at most [`MAX_OPS`](super::MAX_OPS) renewals to a log: all or none.
    ///
    /// # Errors
    /// When the store fails. The renewals may or may not be in the log.
    async fn append(&self, log: LogId, renewals: &[Renewal]) -> Result<Append, StoreError>;

    /// What is in a log, oldest first. A log expires with the last lease that it prolongs.
    ///
    /// # Errors
    /// When the store fails.
    async fn read(&self, log: LogId) -> Result<Vec<(Renewal, Timestamp)>, StoreError>;

    /// Deletes a log, since its renewals are in their channels.
    ///
    /// # Errors
    /// When the store fails.
    async fn clear(&self, log: LogId) -> Result<(), StoreError>;

    /// The nodes that have logs, or had some lately, and have begun none for this time.
    ///
    /// # Errors
    /// When the store fails.
    async fn owners(&self, idle_for: Duration) -> Result<Vec<u64>, StoreError>;

    /// Deletes both logs of a node, unless it attends the roll call.
    ///
    /// # Errors
    /// When the store fails.
    async fn remove(&self, node: u64) -> Result<(), StoreError>;

    /// The sessions of all channels that have left since this time and have not come back, oldest first. At most some
    /// thousand are read at once.
    ///
    /// # Errors
    /// When the store fails.
    async fn left_since(&self, since: Timestamp) -> Result<LeftSince, StoreError>;

    /// How many calls must be under way at once for a log to be worth it.
    fn worth_from(&self) -> usize {
        8
    }

    /// Whether the store takes another renewal into the logs now. Call it once for each.
    fn admit(&self) -> bool {
        true
    }
}

/// Sessions that have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftSince {
    /// The sessions.
    pub left: Vec<Left>,
    /// Since when others may have left that were not read. `None` if these are all.
    pub rest: Option<Timestamp>,
}

/// A session that has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The channel.
    pub channel: ChannelId,
    /// The session.
    pub ids: ShortIds,
    /// When it left, by the clock of the channel's server.
    pub at: Timestamp,
}

/// Identifies one of the two logs of a node. The node appends to one of them while it writes what is in the other one to the
/// channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId {
    /// The node's random number, as in a roll call.
    pub node: u64,
    /// Which of the two logs.
    pub is_second: bool,
}

impl LogId {
    /// The two logs of a node.
    #[must_use]
    pub const fn both(node: u64) -> [Self; 2] {
        [Self { node, is_second: false }, Self { node, is_second: true }]
    }
}

/// A heartbeat that only prolongs a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The channel.
    pub channel: ChannelId,
    /// The viewer.
    pub viewer: ViewerId,
    /// The session, which the store counts.
    pub session: SessionId,
    /// The length of the new lease.
    pub lease: Duration,
}

/// The result of an attempt to append renewals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Append {
    /// They were appended.
    Done(Appended),
    /// None was, since some have to be written to their channels: their sessions have left, perhaps through other nodes, or the
    /// store may have lost their channels. For each renewal, whether it is one of those.
    Refused(Vec<bool>),
    /// None was, or it is not known: the call arrived late, the store may have lost the logs, or a node has not entered who left.
    NotNow,
}

/// When renewals were appended, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// When, by the store's clock. The new leases begin at this time.
    pub at: Timestamp,
    /// The roll call that the store holds; see [`Reading::epoch`](super::Reading::epoch).
    pub epoch: Option<Epoch>,
}
