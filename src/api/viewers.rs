//! Join, heartbeat, leave and count.

use leptos::{
    prelude::*,
    server_fn::{
        ServerFn,
        codec::{GetUrl, Json},
    },
};
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::domain::CountUpdate;

/// Where [`join`] is.
pub const JOIN_PATH: &str = <Join as ServerFn>::PATH;

/// Where [`heartbeat`] is.
pub const HEARTBEAT_PATH: &str = <Heartbeat as ServerFn>::PATH;

/// Where [`leave`] is.
pub const LEAVE_PATH: &str = <Leave as ServerFn>::PATH;

/// The answer to a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinResponse {
    /// Who joined: as asked, or a new id if the caller had none.
    pub viewer_id: String,
    /// Which page of the viewer; the viewer's own id for callers that know no sessions.
    pub session_id: String,
    /// Viewers of the channel, this one included; `null` when unknown.
    pub count: Option<u32>,
    /// Whether the count is the last good one instead of a current one.
    pub stale: bool,
    /// How often to beat, at most, in milliseconds.
    pub heartbeat_interval_ms: u32,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatResponse {
    /// Viewers of the channel; `null` when unknown.
    pub count: Option<u32>,
    /// Whether the count is the last good one instead of a current one.
    pub stale: bool,
    /// Whether the session is counted; it is not if it left within the last 10 s and has not joined again.
    pub active: bool,
}

/// The answer to a leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveResponse {
    /// Always true: leaving what is unknown succeeds too.
    pub ok: bool,
}

/// The channels that have viewers now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveChannels {
    /// Most viewers first; those with as many by name.
    pub channels: Vec<CountUpdate>,
}

/// Starts a session of a viewer in a channel. Repeating it changes nothing.
///
/// # Errors
/// `invalid-channel`, `invalid-viewer`, `limit-reached`; `unavailable` when the server is going down.
#[server(prefix = "/api/viewer", endpoint = "join", input = Json)]
pub async fn join(
    /// The channel watched.
    #[server(rename = "channelId")]
    channel_id: String,
    /// Who watches; a new id is made for whom comes without.
    #[server(rename = "viewerId")]
    viewer_id: Option<String>,
    /// Which page of the viewer; without one, the viewer's id is taken for it.
    #[server(rename = "sessionId")]
    session_id: Option<String>,
    /// Whether the page is out of sight, so that its timers are slow and its lease has to be longer.
    hidden: Option<bool>,
) -> Result<JoinResponse, Problem> {
    use crate::{
        domain::SessionKey,
        server::{http::caller::Caller, presence::Presence},
    };
    let visitor = expect_context::<Caller>();
    let viewer_id = viewer_id.unwrap_or_else(Presence::new_viewer_id);
    let who = SessionKey::parse(&channel_id, &viewer_id, session_id.as_deref())?;
    let beat = visitor.join(&who, hidden.unwrap_or_default()).await?;
    Ok(JoinResponse {
        viewer_id: who.viewer.to_string(),
        session_id: who.session.to_string(),
        count: beat.count.value,
        stale: beat.count.stale,
        heartbeat_interval_ms: visitor.presence.heartbeat_interval_ms(),
    })
}

/// Keeps a session counted. One that the store does not know is created.
///
/// # Errors
/// `invalid-channel`, `invalid-viewer`, `limit-reached`; `unavailable` when the server is going down.
#[server(prefix = "/api/viewer", endpoint = "heartbeat", input = Json)]
pub async fn heartbeat(
    /// The channel watched.
    #[server(rename = "channelId")]
    channel_id: String,
    /// Who watches.
    #[server(rename = "viewerId")]
    viewer_id: String,
    /// Which page of the viewer; without one, the viewer's id is taken for it.
    #[server(rename = "sessionId")]
    session_id: Option<String>,
    /// Whether the page is out of sight, so that its timers are slow and its lease has to be longer.
    hidden: Option<bool>,
) -> Result<HeartbeatResponse, Problem> {
    use crate::{domain::SessionKey, server::http::caller::Caller};
    let who = SessionKey::parse(&channel_id, &viewer_id, session_id.as_deref())?;
    let beat = expect_context::<Caller>().heartbeat(&who, hidden.unwrap_or_default()).await?;
    Ok(HeartbeatResponse { count: beat.count.value, stale: beat.count.stale, active: beat.active })
}

/// Ends a session; the viewer is gone with the last one.
///
/// # Errors
/// `invalid-channel`, `invalid-viewer`; `unavailable` when the server is going down.
#[server(prefix = "/api/viewer", endpoint = "leave", input = Json)]
pub async fn leave(
    /// The channel watched.
    #[server(rename = "channelId")]
    channel_id: String,
    /// Who watches.
    #[server(rename = "viewerId")]
    viewer_id: String,
    /// Which page of the viewer; without one, the viewer's id is taken for it.
    #[server(rename = "sessionId")]
    session_id: Option<String>,
) -> Result<LeaveResponse, Problem> {
    use crate::{domain::SessionKey, server::http::caller::Caller};
    let who = SessionKey::parse(&channel_id, &viewer_id, session_id.as_deref())?;
    expect_context::<Caller>().leave(&who).await?;
    Ok(LeaveResponse { ok: true })
}

/// The count of a channel. Asking counts nobody.
///
/// # Errors
/// `invalid-channel`. Over HTTP an unknown count is answered with 503 `unavailable`.
#[server(prefix = "/api/viewer", endpoint = "count", input = GetUrl)]
pub async fn count(
    /// The channel asked for.
    #[server(rename = "channelId")]
    channel_id: String,
) -> Result<CountUpdate, Problem> {
    use crate::{domain::ChannelId, server::presence::Presence};
    Ok(expect_context::<Presence>().count(&ChannelId::parse(&channel_id)?).await)
}

/// The channels that have viewers now, most viewers first; 50 unless asked otherwise, and 1,000 at most.
///
/// # Errors
/// `malformed` for another limit; `unavailable` when the store can't tell.
#[server(prefix = "/api/viewer", endpoint = "live", input = GetUrl)]
pub async fn live(
    /// How many, at most.
    limit: Option<usize>,
) -> Result<LiveChannels, Problem> {
    use super::Code;
    use crate::server::presence::Presence;
    const MOST: usize = 1_000;
    let limit = limit.unwrap_or(50);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::new(Code::Malformed).detail(format!("limit is 1 to {MOST}")));
    }
    Ok(LiveChannels { channels: expect_context::<Presence>().live(limit).await? })
}
