//! Whether the process lives.

use axum::{Router, routing::get};

use super::state::AppState;

/// `GET /healthz`: answers as long as the process does. It asks nothing of the store.
pub fn routes() -> Router<AppState> {
    Router::new().route("/healthz", get(async || "ok\n"))
}
