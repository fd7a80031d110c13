//! Server functions of viewers: join, heartbeat, leave, count and live channels.

use leptos::{
    prelude::*,
    server_fn::codec::{GetUrl, Json},
};
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::domain::CountUpdate;

/// The response to a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinResponse {
    /// The id of the ticket's viewer. Without a ticket: the id of the request, or a new id if it had none.
    pub viewer_id: String,
    /// The session id of the request. If it had none: its viewer id, or a new id.
    pub session_id: String,
    /// Viewers of the channel, this one included. `null`: unknown.
    pub count: Option<u32>,
    /// Whether the count is not current: the last good one, an incomplete one, or unknown.
    pub stale: bool,
    /// The longest time between two heartbeats, in milliseconds.
    pub heartbeat_interval_ms: u32,
}

/// The response to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatResponse {
    /// Viewers of the channel. `null`: unknown.
    pub count: Option<u32>,
    /// Whether the count is not current: the last good one, an incomplete one, or unknown.
    pub stale: bool,
    /// Whether the session is counted. False if it left within the last 10 s and has not joined again, and for robots.
    pub active: bool,
}

/// The response to a leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveResponse {
    /// Always true: leaving an unknown session succeeds.
    pub ok: bool,
}

/// The live channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveChannels {
    /// Most viewers first, then by name.
    pub channels: Vec<CountUpdate>,
}

/// Starts a session of a viewer in a channel. Idempotent.
///
/// # Errors
/// `invalid-channel`, `invalid-viewer`, `ticket-required`, `ticket-invalid`, `ticket-expired`, `limit-reached`;
/// `unavailable` when the store must be asked and does not respond.
#[server(prefix = "/api/viewer", endpoint = "join", input = Json)]
pub async fn join(
    /// The watched channel.
    #[server(rename = "channelId")]
    channel_id: String,
    /// The viewer. Default: a new id.
    #[server(rename = "viewerId")]
    viewer_id: Option<String>,
    /// The page of the viewer. Default: the viewer's id.
    #[server(rename = "sessionId")]
    session_id: Option<String>,
    /// Whether the page is hidden. Browsers slow down the timers of hidden pages, so their lease is longer.
    hidden: Option<bool>,
    /// The ticket that says who the viewer is.
    ticket: Option<String>,
    /// The host of the page that embeds the player, for statistics.
    #[server(rename = "embeddedIn")]
    embedded_in: Option<String>,
) -> Result<JoinResponse, Problem> {
    use crate::{
        domain::SessionKey,
        server::{
            caller::{Caller, Joined},
            presence::Presence,
        },
    };
    let caller = expect_context::<Caller>();
    let viewer_id = viewer_id.unwrap_or_else(Presence::new_viewer_id);
    let who = SessionKey::parse(&channel_id, &viewer_id, session_id.as_deref())?;
    let joined = caller.join(who, ticket.as_deref(), hidden.unwrap_or_default()).await?;
    caller.arrived(&joined, embedded_in.as_deref());
    let Joined { who, beat, .. } = joined;
    Ok(JoinResponse {
        viewer_id: who.viewer.to_string(),
        session_id: who.session.to_string(),
        count: beat.count.value(),
        stale: beat.count.is_stale(),
        heartbeat_interval_ms: caller.services.presence.heartbeat_interval_ms(),
    })
}

/// Keeps a session counted. An unknown session is created.
///
/// # Errors
/// `invalid-channel`, `invalid-viewer`, `ticket-required`, `ticket-invalid`, `ticket-expired`, `limit-reached`;
/// `unavailable` when the store must be asked and does not respond.
#[server(prefix = "/api/viewer", endpoint = "heartbeat", input = Json)]
pub async fn heartbeat(
    /// The watched channel.
    #[server(rename = "channelId")]
    channel_id: String,
    /// The viewer.
    #[server(rename = "viewerId")]
    viewer_id: String,
    /// The page of the viewer. Default: the viewer's id.
    #[server(rename = "sessionId")]
    session_id: Option<String>,
    /// Whether the page is hidden. Browsers slow down the timers of hidden pages, so their lease is longer.
    hidden: Option<bool>,
    /// The ticket that says who the viewer is. Needed after `ticket-required` only.
    ticket: Option<String>,
) -> Result<HeartbeatResponse, Problem> {
    use crate::{domain::SessionKey, server::caller::Caller};
    let who = SessionKey::parse(&channel_id, &viewer_id, session_id.as_deref())?;
    let caller = expect_context::<Caller>();
    let beat = caller.heartbeat(who, ticket.as_deref(), hidden.unwrap_or_default()).await?;
    Ok(HeartbeatResponse { count: beat.count.value(), stale: beat.count.is_stale(), active: beat.active })
}

/// Ends a session. The viewer is no longer counted after its last session has ended.
///
/// # Errors
/// `invalid-channel`, `invalid-viewer`, `limit-reached`; `unavailable` when the store must be asked and does not respond.
#[server(prefix = "/api/viewer", endpoint = "leave", input = Json)]
pub async fn leave(
    /// The watched channel.
    #[server(rename = "channelId")]
    channel_id: String,
    /// The viewer.
    #[server(rename = "viewerId")]
    viewer_id: String,
    /// The page of the viewer. Default: the viewer's id.
    #[server(rename = "sessionId")]
    session_id: Option<String>,
) -> Result<LeaveResponse, Problem> {
    use crate::{domain::SessionKey, server::caller::Caller};
    let who = SessionKey::parse(&channel_id, &viewer_id, session_id.as_deref())?;
    expect_context::<Caller>().leave(&who).await?;
    Ok(LeaveResponse { ok: true })
}

/// Returns the count of a channel. Counts nobody.
///
/// # Errors
/// `invalid-channel`. Over HTTP, `unavailable` for an unknown count.
#[server(prefix = "/api/viewer", endpoint = "count", input = GetUrl)]
pub async fn count(
    /// The channel.
    #[server(rename = "channelId")]
    channel_id: String,
) -> Result<CountUpdate, Problem> {
    use crate::{domain::ChannelId, server::presence::Presence};
    Ok(expect_context::<Presence>().count(&ChannelId::parse(&channel_id)?).await)
}

/// Returns the live channels, most viewers first: those that have viewers or, with live signals, those on air.
///
/// # Errors
/// `malformed` for a limit outside of 1 to 1,000; `unavailable` when the store cannot respond.
#[server(prefix = "/api/viewer", endpoint = "live", input = GetUrl)]
pub async fn live(
    /// The most channels to return. Default: 50.
    limit: Option<usize>,
) -> Result<LiveChannels, Problem> {
    use super::Code;
    use crate::server::presence::Presence;
    const MAX_LIMIT: usize = 1_000;
    let limit = limit.unwrap_or(50);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(Code::Malformed).detail(format!("limit must be 1 to {MAX_LIMIT}")));
    }
    Ok(LiveChannels { channels: expect_context::<Presence>().live(limit).await? })
}
