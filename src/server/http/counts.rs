//! Reads: server functions that are answered without their framing, and some that are none.

use std::collections::HashSet;

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State, rejection::PathRejection},
    http::{Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use leptos::server_fn::ServerFn;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    state::AppState,
    viewers::{answer_count, check_media_type, essence, parse, read, run},
};
use crate::server::{follows::Follows, presence::Presence};
use crate::{
    api::{Code, Problem, follows, viewers},
    domain::{ChannelId, CountUpdate, channel::InvalidChannel},
};

/// The most channels that one call may ask for.
const MAX_COUNTS: usize = 1_000;

/// The largest body with so many names of the longest kind, in bytes; `%2C` for each comma takes 67 KB.
const MAX_LIST: usize = 128 * 1024;

/// How the list may be written in a body. A form needs no preflight from other origins.
const MEDIA_TYPES: [&str; 2] = ["application/x-www-form-urlencoded", "application/json"];

/// All of them.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/viewer/count/{channelId}", get(count))
        .route("/api/viewer/counts", get(counts).post(counts_of_list))
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

#[derive(Deserialize)]
struct ChannelNames {
    channels: Vec<String>,
}

async fn count(
    State(presence): State<Presence>,
    channel: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    answer_count(presence.count(&channel_in_path(channel)?).await)
}

async fn counts(State(presence): State<Presence>, uri: Uri) -> Result<Response, Problem> {
    let channels = channels_in_query(&uri, MAX_COUNTS)?;
    Ok(answer_counts(&presence, &channels).await)
}

/// The same for more channels than an address has room for.
async fn counts_of_list(State(presence): State<Presence>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    check_media_type(&head.headers, &MEDIA_TYPES)?;
    let is_json = essence(&head.headers).eq_ignore_ascii_case("application/json");
    let body = read(body, Some(MAX_LIST)).await?;
    let channels = if is_json {
        let ChannelNames { channels } = parse(&body)?;
        distinct(channels.iter().map(String::as_str), MAX_COUNTS)?
    } else {
        let ChannelList { channels } = serde_urlencoded::from_bytes(&body)
            .map_err(|_| Problem::new(Code::Malformed).detail("the body has no channels=a,b,…"))?;
        distinct(channels.split(','), MAX_COUNTS)?
    };
    Ok(answer_counts(&presence, &channels).await)
}

async fn answer_counts(presence: &Presence, channels: &[ChannelId]) -> Response {
    let counts = presence.count_all(channels).await;
    ([(header::CACHE_CONTROL, "no-store")], Json(CountsAnswer { counts })).into_response()
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
    distinct(channels.split(','), most)
}

/// These channels, each once, in the order of their first mention.
fn distinct<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    most: usize,
) -> Result<Vec<ChannelId>, Problem> {
    if names.clone().take(most + 1).count() > most {
        return Err(Problem::new(Code::Malformed).detail(format!("{most} channels at most")));
    }
    let mut seen = HashSet::new();
    let mut parsed = names.map(ChannelId::parse).collect::<Result<Vec<_>, _>>()?;
    parsed.retain(|channel| seen.insert(channel.clone()));
    Ok(parsed)
}

fn query<T: DeserializeOwned>(uri: &Uri, otherwise: &str) -> Result<T, Problem> {
    let Query(query) =
        Query::try_from_uri(uri).map_err(|_| Problem::new(Code::Malformed).detail(otherwise))?;
    Ok(query)
}
