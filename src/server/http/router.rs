//! The routes of the application, and the middleware around them.

use std::{io, panic::AssertUnwindSafe};

use axum::{
    Extension, Router,
    body::Body,
    extract::{MatchedPath, State},
    http::{HeaderValue, Request, Response, header},
    middleware::{Next, from_fn_with_state},
    response::IntoResponse,
};
use futures::FutureExt;
use tower_http::set_header::SetResponseHeaderLayer;

use super::{
    anomalies, badge, cors, counts, follows, health, hooks, oembed, openapi, pages, preflight, request_id,
    signals, state::AppState, statistics, stream, turns::in_turn, viewers,
};
use crate::{
    api::{Code, Problem},
    server::{listen::ConnectionInfo, metrics::Metrics, site::Site},
};

/// Scripts of every site may read the answer.
pub(super) const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");

/// The headers of errors that clients need: a pause, and what to tell the operator.
const ERROR_HEADERS: HeaderValue = HeaderValue::from_static("retry-after, x-request-id");
const LOAD_NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const ORIGIN_ONLY: HeaderValue = HeaderValue::from_static("strict-origin-when-cross-origin");

/// The whole application.
///
/// # Errors
/// When the site cannot be read.
pub fn router(site: &Site, state: AppState) -> io::Result<Router> {
    // Counts are public, so scripts of every site may read them. Calls that change something must not get this header.
    let any_origin = SetResponseHeaderLayer::overriding(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN);
    let reads: Router<AppState> = Router::new()
        .merge(counts::routes())
        .merge(badge::routes())
        .merge(oembed::routes(site)?)
        .merge(openapi::routes())
        .merge(health::ping())
        .merge(stream::routes())
        .layer(any_origin)
        // After the layer, so that only preflights get the header.
        .method_not_allowed_fallback(cors::preflight_of_reads);
    Ok(Router::new()
        .merge(reads)
        .merge(statistics::routes().route_layer(from_fn_with_state(state.clone(), in_turn)))
        .merge(anomalies::routes())
        .merge(viewers::routes())
        .merge(follows::routes())
        .merge(signals::routes())
        .merge(hooks::routes())
        .merge(health::routes())
        .merge(pages::routes(site)?)
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed))
        .fallback(not_found)
        // A single layer: each layer clones the service that it wraps on every request.
        .layer(from_fn_with_state(state.metrics.clone(), respond))
        .with_state(state))
}

/// The middleware of every request.
async fn respond(State(metrics): State<Metrics>, request: Request<Body>, next: Next) -> Response<Body> {
    // If a request has both Transfer-Encoding and Content-Length, Transfer-Encoding wins and the connection must be
    // closed after the response (RFC 9112, section 6.1).
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let mut response = answer(&metrics, request, route, |request| next.run(request)).await;
    if is_chunked {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    response
}

/// Answers a request by `run`, which gets valid requests only: assigns a request id, turns panics into 500, counts the
/// response and adds the common headers. `route` is the pattern of the path.
pub(super) async fn answer<I, B: From<Vec<u8>>, F: Future<Output = Response<B>>>(
    metrics: &Metrics,
    request: Request<I>,
    route: Option<&str>,
    run: impl FnOnce(Request<I>) -> F,
) -> Response<B> {
    let mut response = request_id::with_id(request, route, async |request| {
        if let Err(problem) = preflight::check(&request) {
            return problem.response();
        }
        AssertUnwindSafe(run(request)).catch_unwind().await.unwrap_or_else(|_panic| {
            metrics.panic();
            Problem::new(Code::Internal).response()
        })
    })
    .await;
    finish(metrics, &mut response);
    response
}

/// Counts the response and adds the common headers.
fn finish<B>(metrics: &Metrics, response: &mut Response<B>) {
    metrics.response(response.status().as_u16());
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    let headers = response.headers_mut();
    // Pages set their own policy. Pages with a token in their address tell it to no site.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(LOAD_NOTHING);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.entry(header::REFERRER_POLICY).or_insert(ORIGIN_ONLY);
    // Scripts of other sites that may read the response see only some of its headers otherwise.
    if is_error && headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ERROR_HEADERS);
    }
}

/// The response to a request whose middleware panicked.
pub fn panic_response(metrics: Metrics) -> impl Fn() -> Response<Body> {
    move || {
        metrics.panic();
        let mut response = Problem::new(Code::Internal).into_response();
        request_id::assign(&mut response);
        finish(&metrics, &mut response);
        response
    }
}

/// The application for connections over the node's limit: serves `/healthz` and `/api/viewer/ping`, and responds to all
/// other requests with `overloaded`.
pub fn overloaded(metrics: Metrics) -> Router {
    let overloaded = async || Problem::new(Code::Overloaded).retry_after(5);
    one_request(health::liveness().merge(health::ping()).fallback(overloaded), metrics)
}

/// The application for connections over the limit of their address: responds to every request with `limit-reached`.
pub fn limit_reached(metrics: Metrics) -> Router {
    let rejections = metrics.clone();
    let limit_reached = async move || {
        rejections.refused("connections-per-address");
        let detail = "too many open connections from this address";
        Problem::new(Code::LimitReached).detail(detail).retry_after(5)
    };
    one_request(Router::new().fallback(limit_reached), metrics)
}

/// Closes the connection after one response.
fn one_request(router: Router, metrics: Metrics) -> Router {
    router
        .layer(SetResponseHeaderLayer::overriding(header::CONNECTION, CLOSE))
        .layer(from_fn_with_state(metrics, respond))
}

/// Responds with a problem under `/api/`, and with a page elsewhere.
async fn not_found(
    state: State<AppState>,
    connection: Extension<ConnectionInfo>,
    request: Request<Body>,
) -> Response<Body> {
    if request.uri().path().starts_with("/api/") {
        Problem::new(Code::NotFound).into_response()
    } else {
        pages::page(state, connection, request).await
    }
}
