//! Badges: the count as an SVG image, as JSON for shields.io and as plain text, for places without scripts such as
//! READMEs, forums and chat bots.

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{caching::CountCaching, state::AppState};
use crate::{
    api::{Code, Problem},
    domain::{ChannelId, CountUpdate, channel::InvalidChannel, count::CountState},
    i18n::Locale,
    server::presence::Presence,
};

/// What an unknown number is shown as.
const UNKNOWN: &str = "—";

/// The routes `/badge/{channel}.svg`, `/badge/{channel}.json` and `/badge/{channel}.txt`.
pub fn routes() -> Router<AppState> {
    Router::new().route("/badge/{file}", get(badge))
}

#[derive(Deserialize)]
struct BadgeQuery {
    locale: Option<String>,
}

async fn badge(
    State(presence): State<Presence>,
    State(caching): State<CountCaching>,
    file: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(file) = file.map_err(|_| InvalidChannel)?;
    let not_found =
        || Problem::new(Code::NotFound).detail("expected /badge/{channel} and .svg, .json or .txt");
    // Channel names may contain dots; the extension follows the last one.
    let (name, format) = file.rsplit_once('.').ok_or_else(not_found)?;
    let render = match format {
        "svg" => svg,
        "json" => json,
        "txt" => text,
        _ => return Err(not_found()),
    };
    let channel = ChannelId::parse(name)?;
    let requested = Query::<BadgeQuery>::try_from_uri(&uri).ok().and_then(|Query(query)| query.locale);
    let requested = requested.as_deref().and_then(Locale::from_tag);
    let locale = requested.unwrap_or_else(|| preferred_locale(&headers));

    let update = presence.count(&channel).await;
    let mut response = render(&update, locale);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, caching.badge(update.count().state() == CountState::Live));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    if requested.is_none() && format != "txt" {
        headers.insert(header::VARY, HeaderValue::from_static("accept-language"));
    }
    Ok(response)
}

fn preferred_locale(headers: &HeaderMap) -> Locale {
    let header = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Locale::from_accept_language(header.unwrap_or_default())
}

/// The colors of the badge on channel pages. A channel that is off air has no red badge.
fn color(update: &CountUpdate) -> &'static str {
    match update.count().state() {
        CountState::Live if update.live != Some(false) => "#dc2626",
        _ => "#57534e",
    }
}

/// The JSON that <https://shields.io/badges/endpoint-badge> reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shield {
    schema_version: u8,
    label: &'static str,
    message: String,
    color: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
}

fn json(update: &CountUpdate, locale: Locale) -> Response {
    let shield = Shield {
        schema_version: 1,
        label: locale.viewers_label(),
        message: update.count.map_or_else(|| UNKNOWN.to_owned(), |viewers| locale.number(viewers)),
        color: color(update),
        is_error: update.count.is_none(),
    };
    Json(shield).into_response()
}

/// The number alone, in plain digits: what chat bots put into their sentences.
fn text(update: &CountUpdate, _locale: Locale) -> Response {
    let number = update.count.map_or_else(|| UNKNOWN.to_owned(), |viewers| viewers.to_string());
    // axum sends text as `text/plain; charset=utf-8`.
    number.into_response()
}

/// The badge of channel pages as an image: dot, eye, "5 espectadores". It uses attributes instead of styles, because a
/// content security policy may block styles.
fn svg(update: &CountUpdate, locale: Locale) -> Response {
    let (channel, count) = (&update.channel_id, update.count());
    let text = count.value().map_or_else(|| UNKNOWN.to_owned(), |viewers| locale.viewers(Some(viewers)));
    let label = locale.viewers(count.value());
    let (state, color) = (count.state().as_str(), color(update));
    let live = update.live.map_or_else(String::new, |live| format!(r#" data-live="{live}""#));
    // `textLength` fits the text into its space in any font.
    let length = text_length(&text);
    let width = 58 + length;
    let dot = match count.state() {
        CountState::Live => r##"fill="#fff""##,
        CountState::Stale | CountState::Unknown => r##"fill="none" stroke="#fff""##,
    };
    let image = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="36" role="img" aria-label="{channel}: {label}" data-state="{state}"{live}><title>{channel}: {label}</title><rect width="{width}" height="36" rx="8" fill="{color}"/><circle cx="15" cy="18" r="3" {dot}/><svg x="26" y="10" width="16" height="16" viewBox="0 0 24 24" fill="none" stroke="#fff" stroke-width="2" stroke-linejoin="round"><path d="M2 12s3.6-7 10-7 10 7 10 7-3.6 7-10 7S2 12 2 12Z"/><circle cx="12" cy="12" r="3"/></svg><text x="46" y="23" fill="#fff" font-family="Helvetica,Arial,sans-serif" font-size="14" font-weight="500" textLength="{length}" lengthAdjust="spacingAndGlyphs">{text}</text></svg>"##
    );
    ([(header::CONTENT_TYPE, "image/svg+xml; charset=utf-8")], image).into_response()
}

/// The width of a text in Helvetica at 14 px, rounded up to whole pixels. The table holds the advance widths of the
/// characters in badges, in thousandths of the font size.
fn text_length(text: &str) -> u32 {
    let advance = |c: char| match c {
        'i' => 222,
        '.' | ',' | ' ' | 't' => 278,
        'r' => 333,
        'c' | 's' | 'v' => 500,
        'w' => 722,
        '—' => 1_000,
        _ => 556,
    };
    (text.chars().map(advance).sum::<u32>() * 14).div_ceil(1_000)
}
