//! Whether the process lives, whether it should get traffic, and its metrics.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{runtime::Handle, time::timeout};

use super::state::AppState;
use crate::server::presence::Presence;

/// How long the store has to show that it is there.
const STORE_LIMIT: Duration = Duration::from_secs(1);

/// `GET /healthz`: answers as long as the process does. It asks nothing of the store.
pub fn liveness<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/healthz", get(async || "ok\n"))
}

/// `GET /api/viewer/ping`: the same for pages, which reach what is under `/api/viewer/` through every proxy. It is open to
/// every origin.
pub fn ping<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let answer = (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]);
    Router::new().route("/api/viewer/ping", get(async move || answer))
}

/// `GET /readyz` and `GET /metrics`, beside liveness.
pub fn routes() -> Router<AppState> {
    liveness().route("/readyz", get(ready)).route("/metrics", get(metrics))
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    /// Which part is concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// 200 when all is well. 503 says why not: a degraded server still takes beats and shows stale counts, so a balancer that
/// has no better one may go on using it; one that is ending should get nothing new.
async fn ready(State(state): State<AppState>) -> Response {
    let readiness = if state.ending.is_set() {
        Readiness { status: "ending", reason: Some("shutdown"), detail: Some("the server is shutting down") }
    } else if is_store_up(&state.presence).await {
        Readiness { status: "ok", reason: None, detail: None }
    } else {
        Readiness { status: "degraded", reason: Some("store"), detail: Some("the store does not answer") }
    };
    let code = if readiness.reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

/// The store is asked here too, so that an outage shows although nobody watches.
async fn metrics(State(state): State<AppState>, State(presence): State<Presence>) -> Response {
    let is_store_up = is_store_up(&presence).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    let text = state.metrics.text(state.streams.open(), presence.watched(), tasks, is_store_up);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn is_store_up(presence: &Presence) -> bool {
    timeout(STORE_LIMIT, presence.reaches_store()).await == Ok(true)
}
