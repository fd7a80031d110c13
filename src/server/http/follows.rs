//! The calls that follow a channel and that tell whether a browser follows it.
//!
//! - `POST /api/channel/follow` takes JSON from scripts, and a form from the button of pages without scripts.
//! - `GET /api/channel/follow/{channelId}` tells a script whether its browser follows. The viewer id is in a header,
//!   because URLs end up in logs.
//! - `GET /api/channel/follow/{channelId}/heart.svg` shows the same on pages without scripts: a filled heart, or nothing.
//!
//! A script names the follower with `viewerId`. A form cannot, since the server's pages contain no viewer id; the
//! cookie `aforo_follower` names it instead. Scripts cannot read the cookie, and browsers send it to these paths only.
//! After every follow the cookie holds the follower's id, so a browser is one follower whichever way it follows.

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    caching::{NO_STORE, uncached},
    cors,
    extract::ChannelPath,
    server_fn::{check_media_type, media_type, parse_json, read_body},
    state::AppState,
};
use crate::{
    api::{Code, Problem, follows},
    domain::{ChannelId, ViewerId, viewer::InvalidSessionKey},
    server::{follows::Followed, listen::ConnectionInfo},
};

/// The name of the cookie.
const COOKIE: &str = "aforo_follower";

/// `Max-Age` of the cookie in seconds: 400 days, the most that browsers allow.
const COOKIE_AGE: u32 = 34_560_000;

/// The header with the viewer id.
const VIEWER_HEADER: HeaderName = HeaderName::from_static("aforo-viewer");

/// The routes of these calls.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route(follows::FOLLOW_PATH, post(follow).options(cors::preflight))
        .route("/api/channel/follow/{channelId}", get(is_following))
        .route("/api/channel/follow/{channelId}/heart.svg", get(heart))
}

/// Tells whether this browser follows a channel with the id in the header or the id in the cookie.
async fn is_following(
    State(state): State<AppState>,
    ChannelPath(channel): ChannelPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let viewer = headers.get(VIEWER_HEADER).map(|id| ViewerId::parse(id.to_str().unwrap_or_default()));
    let viewer = viewer.transpose().map_err(InvalidSessionKey::from)?;
    let ids = [viewer, viewer_of_cookie(&headers)].into_iter().flatten();
    let Followed { following, followers } = state.follows.of(&channel, ids).await?;
    Ok(uncached(Json(follows::Followed { channel_id: channel, following, followers })))
}

/// The heart of the button (`components/follow_button.rs`), filled. The style sheet of the pages cannot color it.
const FILLED_HEART: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24" viewBox="0 0 24 24" fill="#dc2626" stroke="#dc2626" stroke-width="2" stroke-linejoin="round"><path d="M12 20.5S3 15 3 8.8A4.8 4.8 0 0 1 12 6.5 4.8 4.8 0 0 1 21 8.8c0 6.2-9 11.7-9 11.7Z"/></svg>"##;

/// An image that shows nothing.
const NO_HEART: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>"#;

/// The image that covers the hollow heart of the button on pages without scripts. The id in the cookie tells whether
/// this browser follows.
async fn heart(
    State(state): State<AppState>,
    ChannelPath(channel): ChannelPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let image = match viewer_of_cookie(&headers) {
        Some(viewer) if state.follows.of(&channel, [viewer].into_iter()).await?.following => FILLED_HEART,
        _ => NO_HEART,
    };
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml; charset=utf-8"),
        // Other sites must not learn from the size of the image whether this browser follows.
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    Ok(uncached((headers, image)))
}

/// The JSON that a script sends. `follow` is the wanted state; without it, the call toggles.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FollowRequest {
    channel_id: String,
    viewer_id: String,
    follow: Option<bool>,
}

/// The fields of the form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FollowForm {
    channel_id: String,
    follow: Option<bool>,
}

const FORM_TYPE: &str = "application/x-www-form-urlencoded";

async fn follow(
    State(state): State<AppState>,
    Extension(connection): Extension<ConnectionInfo>,
    request: Request,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let response = try_follow(&state, &connection, request).await.into_response();
    state.origins.allow_reading(origin.as_ref(), response)
}

async fn try_follow(
    state: &AppState,
    connection: &ConnectionInfo,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    state.origins.check(&parts)?;
    check_media_type(&parts.headers, &["application/json", FORM_TYPE])?;
    let is_form = media_type(&parts.headers).eq_ignore_ascii_case(FORM_TYPE);
    let (body, earlier) = (read_body(body, state.body_limit).await?, viewer_of_cookie(&parts.headers));

    let (channel, viewer, wanted) = if is_form {
        let form: FollowForm =
            serde_urlencoded::from_bytes(&body).map_err(|error| Problem::malformed(error.to_string()))?;
        let viewer = earlier.or_else(|| ViewerId::new(Uuid::new_v4())).ok_or(Problem::new(Code::Internal))?;
        (ChannelId::parse(&form.channel_id)?, viewer, form.follow)
    } else {
        let call: FollowRequest = parse_json(&body)?;
        let viewer = ViewerId::parse(&call.viewer_id).map_err(InvalidSessionKey::from)?;
        (ChannelId::parse(&call.channel_id)?, viewer, call.follow)
    };

    state.follow_rate.take(state.proxies.client(connection.peer(), &parts.headers)).map_err(|wait| {
        state.metrics.refused("follows");
        let detail = "too many follows from this address";
        Problem::new(Code::LimitReached).detail(detail).retry_once_over(wait)
    })?;
    let followed = state.follows.follow(&channel, viewer, wanted, earlier).await?;
    let mut response = if is_form {
        // Redirect to the channel's page, never to a URL from the request. The page is the same for every visitor, and
        // its URL says nothing of who follows, since people share it. The image in its button shows that.
        Redirect::to(&format!("/{channel}")).into_response()
    } else {
        let Followed { following, followers } = followed;
        Json(follows::Followed { channel_id: channel, following, followers }).into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    // Also if the browser has it already, so that it lasts for another 400 days.
    response.headers_mut().insert(header::SET_COOKIE, cookie(viewer, &parts.headers)?);
    Ok(response)
}

/// The id of this browser's last follow.
fn viewer_of_cookie(headers: &HeaderMap) -> Option<ViewerId> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| ViewerId::parse(value).ok().filter(|_| name == COOKIE))
}

fn cookie(viewer: ViewerId, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    // Behind a proxy the scheme of the page is known from the browser's `Origin` only.
    let is_secure =
        headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if is_secure { "; Secure" } else { "" };
    let path = follows::FOLLOW_PATH;
    HeaderValue::try_from(format!(
        "{COOKIE}={viewer}; Path={path}; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Lax{secure}"
    ))
    .map_err(|_| Problem::new(Code::Internal))
}
