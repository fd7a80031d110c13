//! The calls that count viewers: join, heartbeat and leave.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    http::{Request, Response, header, request::Parts},
    routing::post,
};
use leptos::server_fn::ServerFn;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    bots, cors,
    json::json,
    server_fn::{check_media_type, parse_json, read_body, run},
    state::AppState,
};
use crate::{
    api::{Problem, viewers},
    server::{caller::Caller, listen::ConnectionInfo},
};

/// A server function that takes its arguments as JSON in the body of a POST.
pub(super) trait ViewerCall:
    ServerFn<Error = Problem, Output: Serialize> + DeserializeOwned + 'static
{
    /// The media types that its body may have.
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];
}

impl ViewerCall for viewers::Join {}

impl ViewerCall for viewers::Heartbeat {}

impl ViewerCall for viewers::Leave {
    /// `navigator.sendBeacon` sends a string as text/plain, which needs no preflight from other origins.
    const MEDIA_TYPES: &'static [&'static str] = &["application/json", "text/plain"];
}

/// The routes of these calls.
pub fn routes() -> Router<AppState> {
    Router::new()
        .merge(route::<viewers::Join>())
        .merge(route::<viewers::Heartbeat>())
        .merge(route::<viewers::Leave>())
}

fn route<F: ViewerCall>() -> Router<AppState> {
    let handler = async move |State(state): State<AppState>,
                              Extension(connection): Extension<ConnectionInfo>,
                              request: Request<Body>| {
        let (head, body) = request.into_parts();
        // Boxed, because the router moves the future of the whole response several times before it is polled.
        Box::pin(respond::<F, Body>(&state, &connection, &head, read_body(body, state.body_limit))).await
    };
    Router::new().route(F::PATH, post(handler).options(cors::preflight))
}

/// Responds to a call. Its body is read only if the rest is in order.
pub(super) async fn respond<F: ViewerCall, B: From<Vec<u8>>>(
    state: &AppState,
    connection: &ConnectionInfo,
    head: &Parts,
    body: impl Future<Output = Result<impl AsRef<[u8]>, Problem>>,
) -> Response<B> {
    let call = async {
        state.origins.check(head)?;
        check_media_type(&head.headers, F::MEDIA_TYPES)?;
        let arguments: F = parse_json(body.await?.as_ref())?;
        run(caller(state, connection, head), arguments).await
    };
    let response = match call.await {
        Ok(output) => json(&output),
        Err(problem) => problem.response(),
    };
    state.origins.allow_reading(head.headers.get(header::ORIGIN), response)
}

/// Identifies the caller of a request, for limits and metrics.
fn caller(state: &AppState, connection: &ConnectionInfo, request: &Parts) -> Caller {
    let headers = &request.headers;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Caller {
        services: Arc::clone(&state.callers),
        address: state.proxies.client(connection.peer(), headers),
        is_robot: text(header::USER_AGENT).is_some_and(bots::announces_itself),
        origin: text(header::ORIGIN).map(str::to_owned),
        foreign_host: cors::foreign_host(request),
    }
}
