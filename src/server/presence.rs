//! The service behind every call: who joins, beats and leaves, and how many are there.

use std::sync::Arc;

use smallvec::smallvec;
use uuid::Uuid;

use super::{
    fanout::{Hub, Subscription},
    store::{Batch, Store, StoreError},
};
use crate::domain::{Act, ChannelId, Count, CountUpdate, Op, Policy, Timestamp, Who};

/// Counts viewers: the store's leases, and the streams that show them. Cloning is cheap.
#[derive(Clone)]
pub struct Presence {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    policy: Policy,
}

/// What a beat led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beaten {
    /// The channel's count after it.
    pub count: Count,
    /// Whether the session is counted.
    pub active: bool,
}

impl Presence {
    /// The service over a store and the streams of this node.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, hub: Arc<Hub>, policy: Policy) -> Self {
        Self { store, hub, policy }
    }

    /// An id for a viewer that came without one.
    #[must_use]
    pub fn new_viewer_id() -> String {
        Uuid::new_v4().to_string()
    }

    /// Starts a session.
    ///
    /// # Errors
    /// When the store can't take it.
    pub async fn join(&self, who: &Who, hidden: bool) -> Result<Beaten, StoreError> {
        self.write(who, Act::Join { lease: self.policy.lease(hidden) }).await
    }

    /// Keeps a session counted.
    ///
    /// # Errors
    /// When the store can't take it.
    pub async fn heartbeat(&self, who: &Who, hidden: bool) -> Result<Beaten, StoreError> {
        self.write(who, Act::Heartbeat { lease: self.policy.lease(hidden) }).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the store can't take it.
    pub async fn leave(&self, who: &Who) -> Result<(), StoreError> {
        self.write(who, Act::Leave).await.map(|_| ())
    }

    /// The count of a channel.
    pub async fn count(&self, channel: &ChannelId) -> CountUpdate {
        let reading = self.store.counts(std::slice::from_ref(channel)).await.pop();
        let count = match reading {
            Some(Ok(reading)) => reading.into(),
            Some(Err(_)) | None => Count::unknown(Timestamp::default()),
        };
        CountUpdate::new(channel.clone(), count)
    }

    /// Watches channels: their counts now, and every change.
    #[must_use]
    pub fn watch(&self, channels: &[ChannelId]) -> Subscription {
        self.hub.subscribe(channels)
    }

    /// How often a page is to beat, at most, in milliseconds.
    #[must_use]
    pub fn heartbeat_interval_ms(&self) -> u32 {
        u32::try_from(self.policy.heartbeat_interval.as_millis()).unwrap_or(u32::MAX)
    }

    async fn write(&self, who: &Who, act: Act) -> Result<Beaten, StoreError> {
        let op = Op { viewer: who.viewer, session: who.session, act };
        let batch = Batch { channel: who.channel.clone(), ops: smallvec![op] };
        let written = self.store.write(&[batch]).await.pop();
        let written = written.unwrap_or_else(|| Err(StoreError::Unreachable("no answer".to_owned())))?;
        self.hub.touch(&who.channel, written.reading.count);
        tracing::debug!(channel = %who.channel, viewer = %who.viewer, count = written.reading.count, "[VIEWER] {}", verb(act));
        Ok(Beaten {
            count: written.reading.into(),
            active: written.active.first().copied().unwrap_or_default(),
        })
    }
}

const fn verb(act: Act) -> &'static str {
    match act {
        Act::Join { .. } => "join",
        Act::Heartbeat { .. } => "heartbeat",
        Act::Leave => "leave",
    }
}
