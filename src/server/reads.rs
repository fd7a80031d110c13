//! Reads that are no server functions.

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::PathRejection},
    http::{Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{calls::answer_count, presence::Presence, state::AppState};
use crate::{
    api::{Code, Problem},
    domain::{ChannelId, CountUpdate, channel::InvalidChannel},
};

/// The most channels that one call may ask for.
const MAX_COUNTS: usize = 1_000;

/// How many live channels are told, unless asked otherwise, and at most.
const LIVE: (usize, usize) = (50, 1_000);

/// Routes under `/api/viewer`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/viewer/count/{channelId}", get(count))
        .route("/api/viewer/counts", get(counts))
        .route("/api/viewer/live", get(live))
}

/// The counts of many channels, in the order asked for; unknown ones are null.
#[derive(Serialize)]
struct CountsAnswer {
    counts: Vec<CountUpdate>,
}

/// The channels that have viewers now, most first.
#[derive(Serialize)]
struct LiveAnswer {
    channels: Vec<CountUpdate>,
}

#[derive(Deserialize)]
struct ChannelList {
    channels: String,
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
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
    let limit = query::<Limit>(&uri, "limit is a whole number")?.limit.unwrap_or(LIVE.0);
    if !(1..=LIVE.1).contains(&limit) {
        return Err(Problem::new(Code::Malformed).detail(format!("limit is 1 to {}", LIVE.1)));
    }
    let mut channels = presence.live().await?;
    channels.truncate(limit);
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(LiveAnswer { channels })).into_response())
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
