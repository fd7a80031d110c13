//! Liveness, readiness and metrics.

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

use super::{caching::uncached, state::AppState};
use crate::server::presence::Presence;

/// How long the store may take to respond to a check.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// `GET /healthz`: 200 while the process runs. It does not call the store.
pub fn liveness<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/healthz", get(async || "ok\n"))
}

/// `GET /api/viewer/ping`: the same for pages. It is under `/api/viewer/` because every proxy forwards that path.
/// Scripts of every origin may call it.
pub fn ping<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/api/viewer/ping", get(async || uncached(StatusCode::NO_CONTENT)))
}

/// `GET /healthz`, `GET /readyz` and `GET /metrics`.
pub fn routes() -> Router<AppState> {
    liveness().route("/readyz", get(ready)).route("/metrics", get(metrics))
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    /// The cause of a status other than `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// `GET /readyz`: 200, or 503 with the reason. A `degraded` node still accepts beats and shows stale counts, so a
/// balancer without a better node may keep using it. An `ending` node must get no new requests.
async fn ready(State(state): State<AppState>) -> Response {
    let readiness = if state.shutdown.is_set() {
        Readiness { status: "ending", reason: Some("shutdown"), detail: Some("the server is shutting down") }
    } else if let Some(difference) = state.recorder.ownership().difference() {
        let (reason, detail) = difference.readiness();
        Readiness { status: "degraded", reason: Some(reason), detail: Some(detail) }
    } else if !is_store_up(&state.presence).await {
        Readiness {
            status: "degraded",
            reason: Some("store"),
            detail: Some("the store does not respond, or refuses calls; the log says why"),
        }
    } else if !state.database.is_available() {
        Readiness {
            status: "degraded",
            reason: Some("database"),
            detail: Some("the database does not answer or refuses writes"),
        }
    } else {
        Readiness { status: "ok", reason: None, detail: None }
    };
    let status = if readiness.reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    uncached((status, Json(readiness)))
}

/// `GET /metrics`. It also checks the store, so that `aforo_store_up` is current when no other request calls the store.
async fn metrics(State(state): State<AppState>, State(presence): State<Presence>) -> Response {
    let is_store_up = is_store_up(&presence).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    let text = state.metrics.text(state.streams.open(), presence.watched(), tasks, is_store_up);
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response()
}

async fn is_store_up(presence: &Presence) -> bool {
    timeout(STORE_TIMEOUT, presence.reaches_store()).await == Ok(true)
}
