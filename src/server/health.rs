//! Whether the process lives.

use axum::{Router, routing::get};

/// `GET /healthz`: answers as long as the process does. It asks nothing of the store.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/healthz", get(async || "ok\n"))
}
