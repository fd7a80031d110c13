//! The calls that count viewers: join, heartbeat and leave.

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::{header, request::Parts},
    response::{IntoResponse, Response},
    routing::post,
};
use leptos::server_fn::ServerFn;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    bots,
    caller::Caller,
    cors,
    server_fn::{check_media_type, parse_json, read_body, run},
    state::AppState,
};
use crate::{
    api::{Problem, viewers},
    server::listen::ConnectionInfo,
};

/// The routes of these calls.
pub fn routes() -> Router<AppState> {
    Router::new()
        .merge(post_route::<viewers::Join>(&["application/json"]))
        .merge(post_route::<viewers::Heartbeat>(&["application/json"]))
        // `navigator.sendBeacon` sends a string as text/plain, which needs no preflight from other origins.
        .merge(post_route::<viewers::Leave>(&["application/json", "text/plain"]))
}

/// The route of a server function that takes its arguments as JSON in the body of a POST.
fn post_route<F>(media_types: &'static [&'static str]) -> Router<AppState>
where
    F: ServerFn<Error = Problem, Output: Serialize> + DeserializeOwned + 'static,
{
    let respond = async move |state: &AppState,
                              connection: &ConnectionInfo,
                              request: Request|
                -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        state.origins.check(&parts)?;
        check_media_type(&parts.headers, media_types)?;
        let arguments: F = parse_json(&read_body(body, state.body_limit).await?)?;
        let caller = caller(state, connection, &parts);
        // Boxed, because the router moves the future of the whole response several times before it is polled.
        Ok(Json(Box::pin(run(caller, arguments)).await?).into_response())
    };
    let handler = async move |State(state): State<AppState>,
                              Extension(connection): Extension<ConnectionInfo>,
                              request: Request| {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let response = respond(&state, &connection, request).await.into_response();
        state.origins.allow_reading(origin, response)
    };
    Router::new().route(F::PATH, post(handler).options(cors::preflight))
}

/// Identifies the caller of a request, for limits and metrics.
fn caller(state: &AppState, connection: &ConnectionInfo, request: &Parts) -> Caller {
    let headers = &request.headers;
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Caller {
        address: state.proxies.client(connection.peer(), headers),
        is_robot: user_agent.is_some_and(bots::announces_itself),
        origin: headers.get(header::ORIGIN).cloned(),
        foreign_host: cors::foreign_host(request),
        recorder: state.recorder.clone(),
        presence: state.presence.clone(),
        sessions: state.sessions.clone(),
        tickets: state.tickets.clone(),
        ticket_checks: state.ticket_checks.clone(),
        metrics: state.metrics.clone(),
    }
}
