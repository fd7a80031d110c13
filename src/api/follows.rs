//! How many follow a channel. (Following is no server function: it also is a plain form.)

use leptos::{prelude::*, server_fn::codec::GetUrl};
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::domain::ChannelId;

/// Where following is.
pub const FOLLOW_PATH: &str = "/api/channel/follow";

/// How many follow a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowerCount {
    /// Which channel.
    pub channel_id: ChannelId,
    /// How many browsers follow it.
    pub followers: u32,
}

/// The answer to a follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Followed {
    /// Which channel.
    pub channel_id: ChannelId,
    /// Whether the viewer follows it now.
    pub following: bool,
    /// How many do.
    pub followers: u32,
}

/// How many follow a channel.
///
/// # Errors
/// `invalid-channel`; `unavailable` when the store can't tell.
#[server(prefix = "/api/channel", endpoint = "followers", input = GetUrl)]
pub async fn followers(
    /// The channel asked for.
    #[server(rename = "channelId")]
    channel_id: String,
) -> Result<FollowerCount, Problem> {
    use crate::server::follows::Follows;
    let channel_id = ChannelId::parse(&channel_id)?;
    let followers = expect_context::<Follows>().count(&channel_id).await?;
    Ok(FollowerCount { channel_id, followers })
}
