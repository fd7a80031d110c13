//! `POST /api/channel/follow`: from a page's script as JSON, and as the plain form that the button is without one.
//! `GET /api/channel/follow/{channelId}` tells a script whether its browser follows. The viewer's id comes in a header there,
//! since addresses are kept in logs.
//!
//! Who follows: a script says it (`viewerId`). A form can't, since no page of the server holds an id; there a cookie tells,
//! which scripts can't read and which is sent to this call alone. The last follow of a browser, of either kind, has set
//! it, so that a browser is one follower, however it follows.

use axum::{
    Extension, Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    cors,
    state::AppState,
    viewers::{check_media_type, essence, parse, read},
};
use crate::server::{follows::Followed, listen::ConnectionInfo};
use crate::{
    api::{Code, Problem, follows},
    domain::{ChannelId, ViewerId, viewer::InvalidSessionKey},
};

/// The cookie's name.
const COOKIE: &str = "aforo_follower";

/// For how long a browser keeps it, in seconds: 400 days, the longest that browsers allow.
const COOKIE_AGE: u32 = 34_560_000;

/// Whose following is asked for.
const VIEWER_HEADER: HeaderName = HeaderName::from_static("aforo-viewer");

/// The calls.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route(follows::FOLLOW_PATH, post(call).options(cors::preflight))
        .route("/api/channel/follow/{channelId}", get(ask))
}

/// Whether this browser follows a channel, by either of the ids that it may have followed by.
async fn ask(State(state): State<AppState>, Path(channel): Path<String>, headers: HeaderMap) -> Response {
    is_following(&state, &channel, &headers).await.into_response()
}

async fn is_following(state: &AppState, channel: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let channel = ChannelId::parse(channel)?;
    let viewer = headers.get(VIEWER_HEADER).map(|id| ViewerId::parse(id.to_str().unwrap_or_default()));
    let viewer = viewer.transpose().map_err(InvalidSessionKey::from)?;
    let ids = [viewer, viewer_of_cookie(headers)].into_iter().flatten();
    let Followed { following, followers } = state.follows.of(&channel, ids).await?;
    let answer = Json(follows::Followed { channel_id: channel, following, followers });
    Ok(([(header::CACHE_CONTROL, "no-store")], answer).into_response())
}

/// What a script sends. `follow` is what is wished; without it, the opposite of what was.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    channel_id: String,
    viewer_id: String,
    follow: Option<bool>,
}

/// What the form sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    channel_id: String,
    follow: Option<bool>,
}

const FORM: &str = "application/x-www-form-urlencoded";

async fn call(
    State(state): State<AppState>,
    Extension(link): Extension<ConnectionInfo>,
    request: Request,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let response = follow(&state, &link, request).await.into_response();
    state.origins.let_read(origin, response)
}

async fn follow(state: &AppState, link: &ConnectionInfo, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    state.origins.check(&parts)?;
    check_media_type(&parts.headers, &["application/json", FORM])?;
    let is_form = essence(&parts.headers).eq_ignore_ascii_case(FORM);
    let (body, earlier) = (read(body, state.body_limit).await?, viewer_of_cookie(&parts.headers));

    let (channel, viewer, wish) = if is_form {
        let form: Form = serde_urlencoded::from_bytes(&body)
            .map_err(|error| Problem::new(Code::Malformed).detail(error.to_string()))?;
        let viewer = earlier.or_else(|| ViewerId::new(Uuid::new_v4())).ok_or(Problem::new(Code::Internal))?;
        (ChannelId::parse(&form.channel_id)?, viewer, form.follow)
    } else {
        let call: Call = parse(&body)?;
        let viewer = ViewerId::parse(&call.viewer_id).map_err(InvalidSessionKey::from)?;
        (ChannelId::parse(&call.channel_id)?, viewer, call.follow)
    };

    state.follow_rate.take(state.proxies.client(link.peer(), &parts.headers)).map_err(|wait| {
        state.metrics.refused("follows");
        let what = "too many follows come from this address";
        Problem::new(Code::LimitReached).detail(what).retry_once_over(wait)
    })?;
    let followed = state.follows.follow(&channel, viewer, wish, earlier).await?;
    let mut response = if is_form {
        // The channel's page is where the button is; no address is taken from the request. The fragment is for the styles:
        // it shows that it worked, in a page that is the same for all.
        let fragment = if followed.following { "#following" } else { "" };
        Redirect::to(&format!("/{channel}{fragment}")).into_response()
    } else {
        let Followed { following, followers } = followed;
        Json(follows::Followed { channel_id: channel, following, followers }).into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if earlier != Some(viewer) {
        response.headers_mut().insert(header::SET_COOKIE, cookie(viewer, &parts.headers)?);
    }
    Ok(response)
}

/// Who followed last from this browser.
fn viewer_of_cookie(headers: &HeaderMap) -> Option<ViewerId> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| ViewerId::parse(value).ok().filter(|_| name == COOKIE))
}

fn cookie(viewer: ViewerId, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    // Behind a proxy only the browser knows whether it speaks TLS.
    let is_secure =
        headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if is_secure { "; Secure" } else { "" };
    let path = follows::FOLLOW_PATH;
    HeaderValue::try_from(format!(
        "{COOKIE}={viewer}; Path={path}; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Lax{secure}"
    ))
    .map_err(|_| Problem::new(Code::Internal))
}
