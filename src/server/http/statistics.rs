//! The statistics of a channel: its broadcasts, its history and the figures of a range.
//!
//! They are private unless `STATS=public`: the operator's token, or a link that the site's backend has signed, opens them.
//! A refusal says nothing about the channel.

use std::fmt::Write as _;

use axum::{
    Json, Router,
    extract::{FromRequestParts, Query, State},
    http::{HeaderMap, Uri, header, request::Parts},
    response::Response,
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{
    access::bearer,
    caching::uncached,
    extract::{ChannelPath, ClientAddress},
    json::ExactJson,
    query::query,
    state::AppState,
};
use crate::{
    api::{Code, Problem},
    domain::{ChannelId, Timestamp},
    server::{
        access::Admission,
        history::{
            Arrivals, CutError, Cuts, Figures, Joins, Point, Span, Zone,
            arrivals::MAX_POINT_HOSTS,
            instant::{InvalidInstant, parse_instant},
        },
        limits::Address,
    },
};

/// The most broadcasts of one answer.
const MAX_BROADCASTS: u32 = 100;

/// The default number of broadcasts.
const DEFAULT_BROADCASTS: u32 = 20;

/// The default length of a history, in milliseconds.
const DEFAULT_RANGE_MS: u64 = DAY_MS;

const DAY_MS: u64 = 24 * 3_600_000;

/// The routes of statistics.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/channel/{channelId}/broadcasts", get(broadcasts))
        .route("/api/channel/{channelId}/history", get(history))
        .route("/api/channel/{channelId}/history.csv", get(history_csv))
        .route("/api/channel/{channelId}/summary", get(summary))
}

/// Checks that a request may see the statistics of a channel. The token of a link is in the query, the operator's in the
/// header `Authorization`.
pub(super) fn check_access(
    state: &AppState,
    channel: &ChannelId,
    address: Address,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Admission, Problem> {
    #[derive(Deserialize)]
    struct Link {
        token: Option<String>,
    }
    let link = Query::<Link>::try_from_uri(uri).ok().and_then(|Query(link)| link.token);
    let bearer = bearer(headers).and_then(|token| str::from_utf8(token).ok());
    let admitted = state.statistics.admit(channel, bearer, link.as_deref());
    admitted.ok_or_else(|| state.access.refused(address))
}

/// A request that may see the statistics of the channel in its path.
pub(super) struct Permitted {
    channel: ChannelId,
    uri: Uri,
}

impl FromRequestParts<AppState> for Permitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let ChannelPath(channel) = ChannelPath::from_request_parts(parts, state).await?;
        let ClientAddress(address) = ClientAddress::from_request_parts(parts, state).await?;
        check_access(state, &channel, address, &parts.headers, &parts.uri)?;
        Ok(Self { channel, uri: parts.uri.clone() })
    }
}

#[derive(Deserialize)]
struct BroadcastsQuery {
    limit: Option<u32>,
    before: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Broadcasts {
    channel_id: ChannelId,
    broadcasts: Vec<Figures>,
}

async fn broadcasts(
    State(state): State<AppState>,
    Permitted { channel, uri }: Permitted,
) -> Result<Response, Problem> {
    let BroadcastsQuery { limit, before } = query(&uri, "limit must be a whole number")?;
    let limit = limit.unwrap_or(DEFAULT_BROADCASTS);
    if !(1..=MAX_BROADCASTS).contains(&limit) {
        return Err(Problem::malformed(format!("limit must be 1 to {MAX_BROADCASTS}")));
    }
    let now = state.recorder.now();
    let before =
        before.as_deref().map(parse_instant).transpose()?.unwrap_or(now + std::time::Duration::from_secs(1));
    let kept = state.archive.broadcasts(&channel, before, limit, now).await?;
    let broadcasts = kept.into_iter().map(|kept| kept.figures).collect();
    Ok(uncached(ExactJson(Broadcasts { channel_id: channel, broadcasts })))
}

#[derive(Deserialize)]
struct HistoryQuery {
    from: Option<String>,
    to: Option<String>,
    step: Option<u64>,
    tz: Option<String>,
}

/// A range that was asked for, cut into steps.
struct Range {
    zone: Zone,
    from: Timestamp,
    to: Timestamp,
    cuts: Cuts,
}

impl Range {
    /// The range of a query: the last 24 hours by default.
    fn of(uri: &Uri, now: Timestamp) -> Result<Self, Problem> {
        let HistoryQuery { from, to, step, tz } = query(uri, "step must be a whole number of seconds")?;
        let zone = tz.as_deref().map(Zone::parse).transpose();
        let zone = zone.map_err(|error| Problem::malformed(format!("tz: {error}")))?.unwrap_or(Zone::utc());
        let to = to.as_deref().map(parse_instant).transpose()?.unwrap_or(now);
        let from = from.as_deref().map(parse_instant).transpose()?;
        let from = from.unwrap_or(Timestamp::from_millis(to.as_millis().saturating_sub(DEFAULT_RANGE_MS)));
        let cuts = Cuts::new(from, to, step, &zone)?;
        Ok(Self { zone, from, to, cuts })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct History {
    channel_id: ChannelId,
    from: Timestamp,
    to: Timestamp,
    step: u64,
    tz: String,
    points: Vec<HistoryPoint>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryPoint {
    at: Timestamp,
    min: Option<u32>,
    average: Option<f64>,
    max: Option<u32>,
    observed: f64,
    new_viewers: Arrivals,
    #[serde(skip_serializing_if = "Option::is_none")]
    joins: Option<Joins>,
}

impl HistoryPoint {
    fn new(mut point: Point, now: Timestamp) -> Self {
        // Strangers can invent hosts with long names, and an answer has many points.
        point.tally.arrivals.limit_hosts(MAX_POINT_HOSTS);
        let observed = point.observed(now);
        let counts = point.counts();
        Self {
            at: point.at,
            min: counts.map(|(min, _, _)| min),
            average: counts.map(|(_, average, _)| average),
            max: counts.map(|(_, _, max)| max),
            observed,
            new_viewers: point.tally.arrivals,
            joins: point.joins,
        }
    }
}

async fn history(
    State(state): State<AppState>,
    Permitted { channel, uri }: Permitted,
) -> Result<Response, Problem> {
    let now = state.recorder.now();
    let Range { zone, from, to, cuts } = Range::of(&uri, now)?;
    let points = state.archive.points(&channel, &cuts).await?;
    let points = points.into_iter().map(|point| HistoryPoint::new(point, now)).collect();
    let tz = zone.name().to_owned();
    Ok(uncached(ExactJson(History { channel_id: channel, from, to, step: cuts.step, tz, points })))
}

/// The same as CSV (RFC 4180), with instants in the asked time zone.
async fn history_csv(
    State(state): State<AppState>,
    Permitted { channel, uri }: Permitted,
) -> Result<Response, Problem> {
    let now = state.recorder.now();
    let Range { zone, cuts, .. } = Range::of(&uri, now)?;
    let mut text = String::from("at,min,average,max,observed,newViewers\r\n");
    for point in state.archive.points(&channel, &cuts).await? {
        let point = HistoryPoint::new(point, now);
        let number = |value: Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
        let average = point.average.map(|average| format!("{average:.3}")).unwrap_or_default();
        // Writing into a string does not fail.
        let _written = write!(
            text,
            "{},{},{average},{},{:.4},{}\r\n",
            zone.format(point.at),
            number(point.min),
            number(point.max),
            point.observed,
            point.new_viewers.total(),
        );
    }
    let name = format!("attachment; filename=\"{channel}-history.csv\"");
    let headers =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok(uncached((headers, text)))
}

#[derive(Deserialize)]
struct SummaryQuery {
    range: Option<String>,
}

/// The figures of a range. All are null or 0 if the channel has no broadcast.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    channel_id: ChannelId,
    range: &'static str,
    #[serde(flatten)]
    figures: Figures,
}

async fn summary(
    State(state): State<AppState>,
    Permitted { channel, uri }: Permitted,
) -> Result<Response, Problem> {
    let SummaryQuery { range } = query(&uri, "range must be 24h, 7d, 30d or broadcast")?;
    let now = state.recorder.now();
    let days = match range.as_deref().unwrap_or("24h") {
        "24h" => Some(("24h", 1)),
        "7d" => Some(("7d", 7)),
        "30d" => Some(("30d", 30)),
        "broadcast" => None,
        _ => return Err(Problem::malformed("range must be 24h, 7d, 30d or broadcast".to_owned())),
    };
    let (range, figures) = match days {
        Some((range, days)) => {
            let span = Span::new(Timestamp::from_millis(now.as_millis().saturating_sub(days * DAY_MS)), now);
            (range, state.archive.figures(&channel, span, Some(now)).await?)
        }
        None => {
            let last = state
                .archive
                .broadcasts(&channel, now + std::time::Duration::from_secs(1), 1, now)
                .await?
                .pop();
            let Some(kept) = last else {
                return Err(Problem::new(Code::NotFound).detail("the channel has had no broadcast"));
            };
            ("broadcast", kept.figures)
        }
    };
    Ok(uncached(Json(Summary { channel_id: channel, range, figures })))
}

impl From<InvalidInstant> for Problem {
    fn from(error: InvalidInstant) -> Self {
        Problem::malformed(error.to_string())
    }
}

impl From<CutError> for Problem {
    fn from(error: CutError) -> Self {
        Problem::malformed(error.to_string())
    }
}
