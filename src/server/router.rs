//! Every route, in one place.

use std::{io, path::Path};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use tower_http::{catch_panic::CatchPanicLayer, set_header::SetResponseHeaderLayer};

use super::{
    calls, health, metrics,
    origins::{self, Origins},
    reads, site, sse,
    state::AppState,
};
use crate::api::{Code, Problem};

/// The whole application.
///
/// # Errors
/// When the files of the site can't be read.
pub fn router(site_root: &Path, state: AppState, origins: Origins) -> io::Result<Router> {
    // Numbers are public: every site may read them. (Calls that count are not in here.)
    let any_origin = SetResponseHeaderLayer::overriding(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    let panics = state.metrics.clone();
    let other_method = async || Problem::new(Code::MethodNotAllowed);
    // Set before the layers, so that they see the question whether a call may be made (OPTIONS).
    let changes = calls::routes()
        .method_not_allowed_fallback(other_method)
        .layer(origins.cors())
        .layer(from_fn_with_state(origins, origins::check));
    Ok(Router::new()
        .merge(reads::routes().layer(any_origin.clone()))
        .merge(sse::routes().layer(any_origin))
        .merge(changes)
        .merge(health::routes())
        .merge(site::routes(site_root)?)
        .method_not_allowed_fallback(other_method)
        .fallback(not_found)
        // What is no page loads nothing and is framed by nobody; pages have a policy of their own.
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ))
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(SetResponseHeaderLayer::overriding(
            header::REFERRER_POLICY,
            HeaderValue::from_static("strict-origin-when-cross-origin"),
        ))
        .layer(CatchPanicLayer::custom(move |_panic| {
            panics.panic();
            Problem::new(Code::Internal).into_response()
        }))
        .layer(from_fn_with_state(state.metrics.clone(), metrics::observe))
        .with_state(state))
}

/// What answers when the server has no place for another connection: that it lives, and that others should come back.
pub fn busy() -> Router {
    let overloaded = async || Problem::new(Code::Overloaded).retry_after(5);
    Router::new()
        .merge(health::liveness())
        .fallback(overloaded)
        .layer(SetResponseHeaderLayer::overriding(header::CONNECTION, HeaderValue::from_static("close")))
}

/// Programs get a problem, people a page.
async fn not_found(state: State<AppState>, request: Request) -> Response {
    if request.uri().path().starts_with("/api/") {
        Problem::new(Code::NotFound).into_response()
    } else {
        site::page(state, request).await
    }
}
