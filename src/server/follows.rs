//! The followers of channels, kept across restarts.
//!
//! Promises of every [`Followers`] store:
//! - **Idempotency**: a call states whether a viewer follows a channel, so repeating it changes nothing.
//! - **Counting**: a count changes together with the stored followers or not at all, so it can't drift.
//! - **Durability**: nothing expires, and a change is stored before the call returns.
//!
//! Calls of [`Follows`] return within [`FOLLOW_LIMIT`], and reads for pages within [`READ_LIMIT`], whatever happens to
//! the store.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::timeout;

use super::store_error::StoreError;
use crate::domain::{ChannelId, ViewerId};

/// How long a follow may take.
pub const FOLLOW_LIMIT: Duration = Duration::from_secs(4);

/// How long a read may take. A page is sent without the number of followers then.
pub const READ_LIMIT: Duration = Duration::from_secs(1);

/// A store of followers, with the promises of [this module](self).
#[async_trait]
pub trait Followers: Send + Sync {
    /// Sets whether a viewer follows a channel. Returns the number of followers afterwards.
    async fn set(&self, channel: &ChannelId, viewer: ViewerId, follows: bool) -> Result<u32, StoreError>;

    /// Whether a viewer follows a channel.
    async fn has(&self, channel: &ChannelId, viewer: ViewerId) -> Result<bool, StoreError>;

    /// The number of followers of a channel.
    async fn count(&self, channel: &ChannelId) -> Result<u32, StoreError>;
}

/// The follow service. Cloning is cheap.
#[derive(Clone)]
pub struct Follows(Arc<dyn Followers>);

/// The result of a follow call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// Whether the viewer follows the channel now.
    pub following: bool,
    /// The number of followers of the channel.
    pub followers: u32,
}

impl Follows {
    /// Creates the service over a store of followers.
    #[must_use]
    pub fn new(followers: Arc<dyn Followers>) -> Self {
        Self(followers)
    }

    /// The number of followers of a channel.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count(&self, channel: &ChannelId) -> Result<u32, StoreError> {
        within(READ_LIMIT, self.0.count(channel)).await
    }

    /// Whether a browser follows a channel by any of its ids, and the number of followers.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of(
        &self,
        channel: &ChannelId,
        ids: impl Iterator<Item = ViewerId>,
    ) -> Result<Followed, StoreError> {
        let read = async {
            let mut following = false;
            for id in ids {
                following = following || self.0.has(channel, id).await?;
            }
            Ok(Followed { following, followers: self.0.count(channel).await? })
        };
        within(READ_LIMIT, read).await
    }

    /// Sets whether a viewer follows a channel to `wanted`, or toggles it if `wanted` is `None`. `earlier` is a
    /// previous id of the same browser. It is removed from the followers, since a browser counts as one follower.
    ///
    /// # Errors
    /// When the store fails. The change may have been made in part. A repeated call with `Some(following)` completes
    /// it.
    pub async fn follow(
        &self,
        channel: &ChannelId,
        viewer: ViewerId,
        wanted: Option<bool>,
        earlier: Option<ViewerId>,
    ) -> Result<Followed, StoreError> {
        within(FOLLOW_LIMIT, self.change(channel, viewer, wanted, earlier)).await
    }

    async fn change(
        &self,
        channel: &ChannelId,
        viewer: ViewerId,
        wanted: Option<bool>,
        earlier: Option<ViewerId>,
    ) -> Result<Followed, StoreError> {
        let earlier = earlier.filter(|earlier| *earlier != viewer);
        let following = match wanted {
            Some(wanted) => wanted,
            None => !self.is_following(channel, viewer, earlier).await?,
        };
        let mut followers = self.0.set(channel, viewer, following).await?;
        if let Some(earlier) = earlier {
            followers = self.0.set(channel, earlier, false).await?;
        }
        tracing::debug!(%channel, %viewer, following, followers, "[CHANNEL] follow");
        Ok(Followed { following, followers })
    }

    async fn is_following(
        &self,
        channel: &ChannelId,
        viewer: ViewerId,
        earlier: Option<ViewerId>,
    ) -> Result<bool, StoreError> {
        Ok(self.0.has(channel, viewer).await?
            || match earlier {
                Some(earlier) => self.0.has(channel, earlier).await?,
                None => false,
            })
    }
}

/// Waits for a call, but no longer than `limit`.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, call).await.unwrap_or(Err(StoreError::Away("it does not respond in time".to_owned())))
}
