//! The statistics page of a channel: who may see it, and what it shows.
//!
//! The token of a link is in the address of the page. So caches must not keep the page, search engines must not list it,
//! and browsers must not tell its address to other sites. It is compressed like other pages: who does not know the token
//! cannot make a browser request a page that contains it.

use axum::{
    Extension, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use leptos::{nonce::Nonce, prelude::provide_context};
use serde::Deserialize;
use std::time::Duration;

use super::{
    extract::{ChannelPath, ClientAddress},
    pages,
    state::AppState,
    statistics::check_access,
    turns::Turns,
};
use crate::{
    api::Problem,
    app::stats::{Asked, Kept, Range, Shown, Statistics},
    domain::{ChannelId, Timestamp},
    server::{
        history::{CutError, Cuts, Figures, Span, Zone, instant::parse_instant},
        listen::ConnectionInfo,
        store_error::StoreError,
    },
};

/// The path of the page, as the router of Leptos has it.
pub const PATH: &str = "/{channel}/stats";

/// The broadcasts of one page.
const BROADCASTS: u32 = 10;

const DAY_MS: u64 = 86_400_000;

/// The steps of a short broadcast, in seconds.
const FINE_STEP: u64 = 10;
const SHORT_MS: u64 = 30 * 60_000;

/// `Retry-After` while the database is away, or the address reads too much, in seconds.
const RETRY_AFTER: u32 = 30;

/// The longest token that links of the page keep. Longer ones are not valid.
const MAX_TOKEN_BYTES: usize = 2_048;

/// Scripts, styles and images of this site only. The page has no inline script.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// The route of the page.
pub fn routes() -> Router<AppState> {
    Router::new().route(PATH, get(page))
}

async fn page(
    State(state): State<AppState>,
    Extension(connection): Extension<ConnectionInfo>,
    ClientAddress(address): ClientAddress,
    channel: Result<ChannelPath, Problem>,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let (mut status, mut statistics, mut answer) = (StatusCode::OK, None, None);
    if let Ok(ChannelPath(channel)) = channel {
        if check_access(&state, &channel, address, &headers, &uri).is_ok() {
            let query = asked(&uri);
            let loaded = match state.turns.take(address).await {
                Some(turn) => {
                    let (loaded, held) = turn.read(load(state.clone(), channel, query, true)).await;
                    answer = Some(held);
                    loaded
                }
                None => {
                    state.metrics.refused(Turns::NAME);
                    status = StatusCode::TOO_MANY_REQUESTS;
                    load(state.clone(), channel, query, false).await
                }
            };
            if loaded.kept.is_none() && status == StatusCode::OK {
                status = StatusCode::SERVICE_UNAVAILABLE;
            }
            statistics = Some(loaded);
        } else {
            status = StatusCode::UNAUTHORIZED;
        }
    }
    let context = move || {
        if let Some(statistics) = statistics.clone() {
            provide_context(statistics);
        }
    };
    let Some(rendered) = pages::render(&state, &connection, Nonce::new(), request, context).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // An invalid name has its own page, with status 404.
    let status = if rendered.status == StatusCode::OK { status } else { rendered.status };
    let mut answered = HeaderMap::new();
    answered.insert(header::CONTENT_TYPE, pages::HTML);
    answered.insert(header::VARY, pages::VARY);
    answered.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    answered.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answered.insert("x-robots-tag", HeaderValue::from_static("noindex"));
    match status {
        StatusCode::UNAUTHORIZED => {
            answered.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            answered.insert(header::RETRY_AFTER, RETRY_AFTER.into());
        }
        _ => {}
    }
    let response = pages::compressed(&headers, (status, answered, rendered.html).into_response()).await;
    match answer {
        Some(answer) => answer.hold(response),
        None => response,
    }
}

/// The query of the page.
#[derive(Deserialize, Default)]
struct PageQuery {
    range: Option<String>,
    broadcast: Option<String>,
    before: Option<String>,
    tz: Option<String>,
    token: Option<String>,
}

/// What the query asks for. A page is for people, so what is not valid has its default.
fn asked(uri: &Uri) -> Asked {
    let query = Query::<PageQuery>::try_from_uri(uri).map(|Query(query)| query).unwrap_or_default();
    let instant = |text: Option<String>| parse_instant(&text?).ok();
    Asked {
        range: query.range.as_deref().and_then(Range::parse),
        broadcast: instant(query.broadcast),
        before: instant(query.before),
        zone: query.tz.as_deref().and_then(|name| Zone::parse(name).ok()).map(|zone| zone.name().to_owned()),
        token: query.token.filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN_BYTES),
    }
}

/// Loads what the page shows. The count does not depend on the database. Without a turn, it is all that is shown.
async fn load(state: AppState, channel: ChannelId, asked: Asked, has_turn: bool) -> Statistics {
    let now = state.recorder.now();
    let zone = asked.zone.as_deref().and_then(|name| Zone::parse(name).ok()).unwrap_or(Zone::utc());
    let kept = async {
        if !has_turn {
            return None;
        }
        let kept = load_kept(&state, &channel, &asked, &zone, now).await;
        kept.inspect_err(|error| tracing::debug!(%error, "statistics could not be read")).ok()
    };
    let (count, kept) = tokio::join!(state.presence.count(&channel), kept);
    Statistics { count: count.count(), now, zone, asked, kept }
}

async fn load_kept(
    state: &AppState,
    channel: &ChannelId,
    asked: &Asked,
    zone: &Zone,
    now: Timestamp,
) -> Result<Kept, StoreError> {
    let all = now + Duration::from_secs(1);
    let before = asked.before.unwrap_or(all);
    let kept = state.archive.broadcasts(channel, before, BROADCASTS + 1, now).await?;
    let mut broadcasts: Vec<Figures> = kept.into_iter().map(|kept| kept.figures).collect();
    let has_older = broadcasts.len() > BROADCASTS as usize;
    broadcasts.truncate(BROADCASTS as usize);
    let newest = match asked.before {
        None => broadcasts.first().cloned(),
        Some(_) => broadcast_before(state, channel, all, now).await?,
    };
    let is_on_air = newest.as_ref().is_some_and(|newest| newest.ended_at.is_none());
    let range = asked.range.unwrap_or(if is_on_air { Range::Broadcast } else { Range::Day });
    let shown = match range.days() {
        Some(days) => {
            let from = Timestamp::from_millis(now.as_millis().saturating_sub(days * DAY_MS));
            let figures = state.archive.figures(channel, Span::new(from, now), Some(now)).await?;
            Some((figures, from, now, false))
        }
        None => {
            let figures = match asked.broadcast {
                Some(start) => broadcast_before(state, channel, start.plus_millis(1), now).await?,
                None => newest.clone(),
            };
            figures.map(|figures| {
                let is_newest = newest.as_ref().is_some_and(|newest| newest.started_at == figures.started_at);
                let (from, to) = (figures.started_at, figures.ended_at.unwrap_or(now));
                (figures, from, to, is_newest)
            })
        }
    };
    let Some((figures, from, to, is_newest)) = shown else {
        return Ok(Kept { newest, shown: None, broadcasts, has_older });
    };
    // A broadcast may have only just started.
    let to = to.max(from.plus_millis(1_000));
    let Ok(cuts) = cuts(from, to, zone) else {
        return Ok(Kept { newest, shown: None, broadcasts, has_older });
    };
    let points = state.archive.points(channel, &cuts).await?;
    let shown = Shown { range, is_newest, from, to, step: cuts.step, figures, points };
    Ok(Kept { newest, shown: Some(shown), broadcasts, has_older })
}

/// Cuts a range into as many steps as a chart can show: finer ones than the default for a short broadcast.
fn cuts(from: Timestamp, to: Timestamp, zone: &Zone) -> Result<Cuts, CutError> {
    let is_short = to.as_millis().saturating_sub(from.as_millis()) <= SHORT_MS;
    Cuts::new(from, to, is_short.then_some(FINE_STEP), zone)
}

/// The newest broadcast that started before an instant.
async fn broadcast_before(
    state: &AppState,
    channel: &ChannelId,
    before: Timestamp,
    now: Timestamp,
) -> Result<Option<Figures>, StoreError> {
    let newest = state.archive.broadcasts(channel, before, 1, now).await?.pop();
    Ok(newest.map(|kept| kept.figures))
}
