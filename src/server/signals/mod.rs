//! The live signals of channels: kept in the database, and shared by all nodes within an update interval.
//!
//! Promises:
//! - **Independence**: [`Signals::state`] answers from memory. Nothing that asks it waits for the database. While the
//!   database is away, the last known state holds; before the first contact it is unknown.
//! - **Durability**: [`Signals::report`] returns when the report is stored, or an error. Reports are idempotent.
//! - **Order**: the database numbers the changes in the order of its commits, and decides by its own clock. No clock of
//!   a node matters. [`Signals::database_time`] returns its time, for code that uses another clock.
//! - **Memory**: one entry for each channel on air. Only callers with a secret of the operator put channels on air.

mod service;

use std::time::Duration;

use async_trait::async_trait;

pub use self::service::{SignalSettings, Signals};
use super::store_error::StoreError;
use crate::domain::{ChannelId, Live, Timestamp, signal::Report};

/// A store of live signals, with the promises of [this module](self).
#[async_trait]
pub trait SignalStore: Send + Sync {
    /// Stores a report. Returns the state of the channel afterwards.
    async fn report(&self, channel: &ChannelId, report: Report) -> Result<Change, StoreError>;

    /// The changes after the change with the number `after`, in order. Without `after`, and if `after` is not from this
    /// store, all channels on air.
    async fn changes(&self, after: Option<u64>) -> Result<Changes, StoreError>;

    /// Ends the signals that were not repeated for `silent_for`.
    async fn end_silent(&self, silent_for: Duration) -> Result<(), StoreError>;

    /// Forgets the channels that have been off air for `ended_for`. A node that has not read the changes for this long
    /// must read all channels on air.
    async fn forget_ended(&self, ended_for: Duration) -> Result<(), StoreError>;
}

/// The state of a channel after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The channel.
    pub channel: ChannelId,
    /// The number of the change. Later changes have greater numbers.
    pub number: u64,
    /// When the broadcast began; `None` if the channel is off air.
    pub since: Option<Timestamp>,
    /// When the channel went off air, if it is off air and that is known.
    pub ended_at: Option<Timestamp>,
}

impl Change {
    /// Whether the channel is on air afterwards.
    #[must_use]
    pub fn live(&self) -> Live {
        self.since.map_or(Live::No, |since| Live::Yes { since })
    }
}

/// How a node learns of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A caller of this node has reported it.
    Caller,
    /// It was read from the store. Callers of any node may have reported it.
    Store,
}

/// Changes of live signals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// The number up to which these are all changes.
    pub newest: u64,
    /// The time of the database at the end of the read.
    pub now: Timestamp,
    /// Whether the changes are all channels on air, so that all others are off air.
    pub is_whole: bool,
}
