//! Who follows which channel: data, kept across restarts. In Redis where that keeps the leases, in a file of this node
//! otherwise.
//!
//! What every place promises:
//! - **A wish, not a flip**: a viewer is made a follower or no follower, so that repeating a call changes nothing.
//! - **Counting** is by what is kept; it is no number of its own that could drift.
//! - **Nothing expires**, and what was answered is kept.

mod file;
pub mod open;
mod remote;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::{
    file::FileFollowers,
    open::{OpenError, open},
    remote::RemoteFollowers,
};
use super::store_error::StoreError;
use crate::domain::{ChannelId, ViewerId};

/// A place that keeps followers. See the module for what it promises.
#[async_trait]
pub trait Followers: Send + Sync {
    /// Has a viewer follow a channel, or not any more; how many follow it then.
    async fn set(&self, channel: &ChannelId, viewer: ViewerId, follows: bool) -> Result<u32, StoreError>;

    /// Whether a viewer follows a channel.
    async fn has(&self, channel: &ChannelId, viewer: ViewerId) -> Result<bool, StoreError>;

    /// How many follow a channel.
    async fn count(&self, channel: &ChannelId) -> Result<u32, StoreError>;
}

/// The service behind the calls. Cloning is cheap.
#[derive(Clone)]
pub struct Follows(Arc<dyn Followers>);

/// What a call led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// Whether the viewer follows the channel now.
    pub following: bool,
    /// How many do.
    pub followers: u32,
}

impl Follows {
    /// The service over a place.
    #[must_use]
    pub fn new(followers: Arc<dyn Followers>) -> Self {
        Self(followers)
    }

    /// How many follow a channel.
    ///
    /// # Errors
    /// When the place can't tell.
    pub async fn count(&self, channel: &ChannelId) -> Result<u32, StoreError> {
        self.0.count(channel).await
    }

    /// Whether a browser follows a channel by any of its ids, and how many do.
    ///
    /// # Errors
    /// When the place can't tell.
    pub async fn of(
        &self,
        channel: &ChannelId,
        ids: impl Iterator<Item = ViewerId>,
    ) -> Result<Followed, StoreError> {
        let mut following = false;
        for id in ids {
            following = following || self.0.has(channel, id).await?;
        }
        Ok(Followed { following, followers: self.0.count(channel).await? })
    }

    /// Does what `wish` says, or the opposite of what was where nothing is wished. `earlier` is the id by which the same
    /// browser followed before, if it had another: the new one takes its place, since a browser is one follower.
    ///
    /// # Errors
    /// When the place can't do it. It may have been done in part; asking again for the same completes it.
    pub async fn follow(
        &self,
        channel: &ChannelId,
        viewer: ViewerId,
        wish: Option<bool>,
        earlier: Option<ViewerId>,
    ) -> Result<Followed, StoreError> {
        let earlier = earlier.filter(|earlier| *earlier != viewer);
        let following = match wish {
            Some(wish) => wish,
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
