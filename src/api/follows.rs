//! The number of followers of a channel. (Following is not a server function, because it also takes a form.)

use leptos::{prelude::*, server_fn::codec::GetUrl};
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::domain::ChannelId;

/// The path of the call that follows a channel.
pub const FOLLOW_PATH: &str = "/api/channel/follow";

/// The number of followers of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowerCount {
    /// The channel.
    pub channel_id: ChannelId,
    /// The number of browsers that follow it.
    pub followers: u32,
}

/// The response to a follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Followed {
    /// The channel.
    pub channel_id: ChannelId,
    /// Whether the viewer follows it now.
    pub following: bool,
    /// The number of browsers that follow it.
    pub followers: u32,
}

/// Returns the number of followers of a channel.
///
/// # Errors
/// `invalid-channel`; `unavailable` when the database does not respond.
#[server(prefix = "/api/channel", endpoint = "followers", input = GetUrl)]
pub async fn followers(
    /// The channel.
    #[server(rename = "channelId")]
    channel_id: String,
) -> Result<FollowerCount, Problem> {
    use crate::server::follows::Follows;
    let channel_id = ChannelId::parse(&channel_id)?;
    let followers = expect_context::<Follows>().count(&channel_id).await?;
    Ok(FollowerCount { channel_id, followers })
}
