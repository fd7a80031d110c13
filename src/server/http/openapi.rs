//! The `OpenAPI` document: `GET /api/openapi.json`. A test compares it with the routes and with real responses.

use axum::{Router, http::header, routing::get};

use super::state::AppState;

/// The `OpenAPI` 3.1 document.
const DOCUMENT: &str = include_str!("openapi.json");

/// The document changes only with a new version of the program, so caches may keep it for an hour.
const CACHING: &str = "public, max-age=3600";

/// The route of the document.
pub fn routes() -> Router<AppState> {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHING)];
    Router::new().route("/api/openapi.json", get(async move || (headers, DOCUMENT)))
}
