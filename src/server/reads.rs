//! Reads: server functions that are answered without their framing, and some that are none.

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::PathRejection},
    http::{Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use leptos::server_fn::ServerFn;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    calls::{answer_count, run},
    follow::Follows,
    presence::Presence,
    state::AppState,
};
use crate::{
    api::{Code, Problem, follows, viewers},
    domain::{ChannelId, CountUpdate, channel::InvalidChannel},
};

/// The most channels that one call may ask for.
const MAX_COUNTS: usize = 1_000;

/// All of them.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/viewer/count/{channelId}", get(count))
        .route("/api/viewer/counts", get(counts))
        .route(viewers::Live::PATH, get(live))
        .route(follows::Followers::PATH, get(followers))
}

/// The counts of many channels, in the order asked for; unknown ones are null.
#[derive(Serialize)]
struct CountsAnswer {
    counts: Vec<CountUpdate>,
}

#[derive(Deserialize)]
struct ChannelList {
    channels: String,
}

async fn count(
    State(presence): State<Presence>,
    channel: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    answer_count(presence.count(&channel_in_path(channel)?).await)
}

async fn counts(State(presence): State<Presence>, uri: Uri) -> Result<Response, Problem> {
    let channels = channels_in_query(&uri, MAX_COUNTS)?;
    let counts = presence.count_all(&channels).await;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(CountsAnswer { counts })).into_response())
}

async fn live(State(presence): State<Presence>, uri: Uri) -> Result<Response, Problem> {
    let arguments = query::<viewers::Live>(&uri, "limit is a whole number")?;
    let answer = run(presence, arguments).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

async fn followers(State(follows): State<Follows>, uri: Uri) -> Result<Response, Problem> {
    let arguments = query::<follows::Followers>(&uri, "the query has no channelId, or more than one")?;
    let answer = run(follows, arguments).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// The channel in a path. What can't even be decoded is no channel either.
pub(super) fn channel_in_path(
    path: Result<Path<String>, PathRejection>,
) -> Result<ChannelId, InvalidChannel> {
    ChannelId::parse(&path.map_err(|_| InvalidChannel)?.0)
}

/// The channels in `?channels=a,b,…`, each once, in the order of their first mention.
pub(super) fn channels_in_query(uri: &Uri, most: usize) -> Result<Vec<ChannelId>, Problem> {
    let ChannelList { channels } = query(uri, "the query has no channels=a,b,…")?;
    if channels.split(',').count() > most {
        return Err(Problem::new(Code::Malformed).detail(format!("{most} channels at most")));
    }
    let mut seen = std::collections::HashSet::new();
    let mut parsed = channels.split(',').map(ChannelId::parse).collect::<Result<Vec<_>, _>>()?;
    parsed.retain(|channel| seen.insert(channel.clone()));
    Ok(parsed)
}

fn query<T: DeserializeOwned>(uri: &Uri, otherwise: &str) -> Result<T, Problem> {
    let Query(query) =
        Query::try_from_uri(uri).map_err(|_| Problem::new(Code::Malformed).detail(otherwise))?;
    Ok(query)
}
