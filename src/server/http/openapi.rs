//! The description of every call, for programs: `GET /api/openapi.json`. A test holds it to the routes and to what they
//! answer.

use axum::{Router, http::header, routing::get};

use super::state::AppState;

/// The document, as `OpenAPI` 3.1 writes it.
const DOCUMENT: &str = include_str!("openapi.json");

/// How long it may be kept: it changes with a new version of the program only.
const CACHING: &str = "public, max-age=3600";

/// The one route.
pub fn routes() -> Router<AppState> {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHING)];
    Router::new().route("/api/openapi.json", get(async move || (headers, DOCUMENT)))
}
