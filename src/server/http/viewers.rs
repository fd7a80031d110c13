//! Server functions over HTTP: how their arguments come in and how their answers and problems go out.
//!
//! Leptos would mount them itself, but answers every error with 500; callers who are no browser of ours get the status
//! that says what was wrong. The functions, their endpoints and their arguments are Leptos's.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    body::{Body, HttpBody},
    extract::{Query, Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use leptos::{
    prelude::{Owner, provide_context},
    reactive::computed::ScopedFuture,
    server_fn::ServerFn,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::{bots, caller::Caller, cors, state::AppState};
use crate::server::{listen::ConnectionInfo, presence::Presence};
use crate::{
    api::{Code, Problem, viewers},
    domain::CountUpdate,
};

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// All server functions at their endpoints.
pub fn routes() -> Router<AppState> {
    Router::new()
        .merge(posted::<viewers::Join>(&["application/json"]))
        .merge(posted::<viewers::Heartbeat>(&["application/json"]))
        // `navigator.sendBeacon` sends a string as text/plain, which needs no preflight from other origins.
        .merge(posted::<viewers::Leave>(&["application/json", "text/plain"]))
        .route(viewers::Count::PATH, get(count))
}

/// A function that takes JSON in the body of a POST.
fn posted<F>(media_types: &'static [&'static str]) -> Router<AppState>
where
    F: ServerFn<Error = Problem, Output: Serialize> + DeserializeOwned + 'static,
{
    let answer =
        async move |state: &AppState, link: &ConnectionInfo, request: Request| -> Result<Response, Problem> {
            let (parts, body) = request.into_parts();
            state.origins.check(&parts)?;
            check_media_type(&parts.headers, media_types)?;
            let arguments: F = parse(&read(body, state.body_limit).await?)?;
            let visitor = visitor(state, link, &parts.headers);
            Ok(Json(run(visitor, arguments).await?).into_response())
        };
    let call = async move |State(state): State<AppState>,
                           Extension(link): Extension<ConnectionInfo>,
                           request: Request| {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let response = answer(&state, &link, request).await.into_response();
        state.origins.let_read(origin, response)
    };
    Router::new().route(F::PATH, post(call).options(cors::preflight))
}

/// A whole body, unless it is over the limit or takes too long. One that is declared too large is not read at all, so that
/// who asks before sending it (`Expect: 100-continue`) is not told to go on.
pub(super) async fn read(body: Body, limit: Option<usize>) -> Result<Bytes, Problem> {
    let limit = limit.unwrap_or(usize::MAX);
    if usize::try_from(body.size_hint().lower()).map_or(true, |declared| declared > limit) {
        return Err(Problem::new(Code::BodyTooLarge));
    }
    let whole = timeout(BODY_TIME, Limited::new(body, limit).collect()).await;
    let whole = whole.map_err(|_| Problem::new(Code::RequestTimeout))?.map_err(|error| {
        Problem::new(if error.is::<LengthLimitError>() { Code::BodyTooLarge } else { Code::Malformed })
    })?;
    Ok(whole.to_bytes())
}

/// The count, by query. Unknown is an error here: whoever asks for a number and nothing else must not take null for one.
async fn count(State(presence): State<Presence>, request: Request) -> Result<Response, Problem> {
    let Query(arguments) = Query::<viewers::Count>::try_from_uri(request.uri())
        .map_err(|_| Problem::new(Code::Malformed).detail("the query has no channelId, or more than one"))?;
    answer_count(run(presence, arguments).await?)
}

/// The answer to a count call: the count, or 503 if it is unknown.
pub(super) fn answer_count(update: CountUpdate) -> Result<Response, Problem> {
    match update.count {
        Some(_) => Ok(([(header::CACHE_CONTROL, "no-store")], Json(update)).into_response()),
        None => Err(Problem::new(Code::Unavailable).detail("the count is unknown just now").retry_after(2)),
    }
}

/// Runs a server function's body with what it expects in its context: the caller, or for reads the service.
pub(super) async fn run<F: ServerFn<Error = Problem>>(
    context: impl Send + Sync + 'static,
    arguments: F,
) -> Result<F::Output, Problem> {
    let owner = Owner::new();
    let body = owner.with(|| {
        provide_context(context);
        ScopedFuture::new(arguments.run_body())
    });
    body.await
}

/// Who calls.
fn visitor(state: &AppState, link: &ConnectionInfo, headers: &HeaderMap) -> Caller {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Caller {
        address: state.proxies.client(link.peer(), headers),
        is_robot: agent.is_some_and(bots::announces_itself),
        presence: state.presence.clone(),
        sessions: state.sessions.clone(),
        metrics: state.metrics.clone(),
    }
}

/// The media type that a body is declared as, without parameters.
pub(super) fn essence(headers: &HeaderMap) -> &str {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim()
}

pub(super) fn check_media_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let essence = essence(headers);
    if accepted.iter().any(|media_type| essence.eq_ignore_ascii_case(media_type)) {
        Ok(())
    } else {
        Err(Problem::new(Code::UnsupportedMediaType).detail("send Content-Type: application/json"))
    }
}

/// A JSON object with the arguments. Serde would take an array for one too; callers of ours don't send any.
pub(super) fn parse<F: DeserializeOwned>(body: &Bytes) -> Result<F, Problem> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(Code::Malformed).detail("the body is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| Problem::new(Code::Malformed).detail(error.to_string()))
}
