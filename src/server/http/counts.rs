//! The calls that read counts: one channel, many channels, the live channels, and followers. They count nobody.

use std::collections::HashSet;

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{Response, Uri, header},
    response::IntoResponse,
    routing::get,
};
use leptos::server_fn::ServerFn;
use serde::{Deserialize, Serialize};

use super::{
    caching::{CountCaching, uncached},
    cors,
    extract::ChannelPath,
    json::{ExactJson, json},
    query::query,
    server_fn::{check_media_type, media_type, parse_json, read_body, run},
    state::AppState,
};
use crate::{
    api::{Code, Problem, follows, viewers},
    domain::{ChannelId, CountUpdate},
    server::{follows::Follows, metrics::Metrics, presence::Presence},
};

/// The most channels of one request.
const MAX_CHANNELS: usize = 1_000;

/// The largest body of a channel list, in bytes. The longest list takes 67 KB as a form with `%2C` for each comma.
const MAX_LIST_BYTES: usize = 128 * 1024;

/// The media types of a channel list. A form needs no preflight from other origins.
const LIST_MEDIA_TYPES: [&str; 2] = ["application/x-www-form-urlencoded", "application/json"];

/// The routes of these calls.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/viewer/count/{channelId}", get(count))
        .route(viewers::Count::PATH, get(count_by_query))
        .route("/api/viewer/counts", get(counts).post(counts_of_list).options(cors::preflight_of_lists))
        .route(viewers::Live::PATH, get(live))
        .route(follows::Followers::PATH, get(followers))
}

/// The counts of many channels, in the order of the request. An unknown count is null.
#[derive(Serialize)]
struct CountsResponse {
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
    State(caching): State<CountCaching>,
    State(metrics): State<Metrics>,
    ChannelPath(channel): ChannelPath,
) -> Response<Body> {
    read(&presence, &caching, &metrics, &channel).await
}

/// Reads one count, and responds with it.
pub(super) async fn read<B: From<Vec<u8>>>(
    presence: &Presence,
    caching: &CountCaching,
    metrics: &Metrics,
    channel: &ChannelId,
) -> Response<B> {
    metrics.counts_read(1);
    count_response(caching, &presence.count(channel).await)
}

async fn count_by_query(
    State(presence): State<Presence>,
    State(caching): State<CountCaching>,
    State(metrics): State<Metrics>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    let arguments = query::<viewers::Count>(&uri, "the query must have exactly one channelId")?;
    let update = run(presence, arguments).await?;
    metrics.counts_read(1);
    Ok(count_response(&caching, &update))
}

/// The response to a request for one count: the count, or 503 if it is unknown. A client that reads only the number
/// must not mistake null for one.
fn count_response<B: From<Vec<u8>>>(caching: &CountCaching, update: &CountUpdate) -> Response<B> {
    if update.count.is_none() {
        let problem = Problem::new(Code::Unavailable).detail("the count is currently unknown").retry_after(2);
        return caching.problem(problem);
    }
    let mut response = json(update);
    response.headers_mut().insert(header::CACHE_CONTROL, caching.counts(!update.stale));
    response
}

async fn counts(
    State(presence): State<Presence>,
    State(caching): State<CountCaching>,
    State(metrics): State<Metrics>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    let channels = channels_in_query(&uri, MAX_CHANNELS)?;
    let counts = presence.count_all(&channels).await;
    metrics.counts_read(counts.len());
    let cache_control = caching.counts(are_current(&counts));
    Ok(([(header::CACHE_CONTROL, cache_control)], ExactJson(CountsResponse { counts })).into_response())
}

/// Whether no count is stale or unknown.
fn are_current(counts: &[CountUpdate]) -> bool {
    counts.iter().all(|update| !update.stale)
}

/// Takes the channels from the body: a long list does not fit into a URL.
async fn counts_of_list(
    State(presence): State<Presence>,
    State(metrics): State<Metrics>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    check_media_type(&head.headers, &LIST_MEDIA_TYPES)?;
    let is_json = media_type(&head.headers).eq_ignore_ascii_case("application/json");
    let body = read_body(body, Some(MAX_LIST_BYTES)).await?;
    let channels = if is_json {
        let ChannelNames { channels } = parse_json(&body)?;
        distinct(channels.iter().map(String::as_str), MAX_CHANNELS)?
    } else {
        let ChannelList { channels } = serde_urlencoded::from_bytes(&body)
            .map_err(|_| Problem::malformed("the body must have channels=a,b,…"))?;
        distinct(channels.split(','), MAX_CHANNELS)?
    };
    let counts = presence.count_all(&channels).await;
    metrics.counts_read(counts.len());
    // Caches do not keep answers to POST.
    Ok(uncached(ExactJson(CountsResponse { counts })))
}

async fn live(
    State(presence): State<Presence>,
    State(caching): State<CountCaching>,
    uri: Uri,
) -> Result<Response<Body>, Problem> {
    let arguments = query::<viewers::Live>(&uri, "limit must be a whole number")?;
    Ok(match run(presence, arguments).await {
        Ok(live) => {
            let cache_control = caching.counts(are_current(&live.channels));
            ([(header::CACHE_CONTROL, cache_control)], ExactJson(live)).into_response()
        }
        Err(problem) => caching.problem(problem),
    })
}

async fn followers(State(follows): State<Follows>, uri: Uri) -> Result<Response<Body>, Problem> {
    let arguments = query::<follows::Followers>(&uri, "the query must have exactly one channelId")?;
    Ok(uncached(Json(run(follows, arguments).await?)))
}

/// The channels in `?channels=a,b,…`: each once, in the order of first occurrence.
pub(super) fn channels_in_query(uri: &Uri, most: usize) -> Result<Vec<ChannelId>, Problem> {
    let ChannelList { channels } = query(uri, "the query must have channels=a,b,…")?;
    distinct(channels.split(','), most)
}

/// Parses channel names. Returns each channel once, in the order of first occurrence.
fn distinct<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    most: usize,
) -> Result<Vec<ChannelId>, Problem> {
    if names.clone().take(most + 1).count() > most {
        return Err(Problem::malformed(format!("at most {most} channels are allowed")));
    }
    let mut seen = HashSet::new();
    let mut parsed = names.map(ChannelId::parse).collect::<Result<Vec<_>, _>>()?;
    parsed.retain(|channel| seen.insert(channel.clone()));
    Ok(parsed)
}
