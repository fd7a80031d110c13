//! Every route, in one place.

use std::{io, panic::AssertUnwindSafe, path::Path};

use axum::{
    Extension, Router,
    extract::{Request, State},
    handler::Handler,
    http::{HeaderValue, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use tower_http::set_header::SetResponseHeaderLayer;

use super::{
    badge, counts, follows, health, openapi, pages, preflight, request_id, state::AppState, stream, viewers,
};
use crate::api::{Code, Problem};
use crate::server::{listen::ConnectionInfo, metrics::Metrics};

const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const ORIGIN_ONLY: HeaderValue = HeaderValue::from_static("strict-origin-when-cross-origin");

/// The whole application.
///
/// # Errors
/// When the files of the site can't be read.
pub fn router(site_root: &Path, state: AppState) -> io::Result<Router> {
    // Numbers are public: every site may read them. (Calls that change something are not in here.)
    let any_origin = SetResponseHeaderLayer::overriding(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    Ok(Router::new()
        .merge(counts::routes().layer(any_origin.clone()))
        .merge(badge::routes().layer(any_origin.clone()))
        .merge(openapi::routes().layer(any_origin.clone()))
        .merge(health::ping().layer(any_origin.clone()))
        .merge(stream::routes().layer(any_origin))
        .merge(viewers::routes())
        .merge(follows::routes())
        .merge(health::routes())
        .merge(pages::routes(site_root)?)
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed))
        .fallback(not_found.layer(pages::compression()))
        // One layer for all that every answer has: each costs every request a copy of what it is laid round.
        .layer(from_fn_with_state(state.metrics.clone(), answer))
        .with_state(state))
}

/// Names the request, refuses what no route should see, and gives the answer what every answer has. A panic is an answer.
async fn answer(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    // Beside a declared length it would win, by what RFC 9112, section 6.1, says; and then the connection has to end.
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = request_id::named(request, async |request: Request| {
        if let Err(problem) = preflight::check(&request) {
            return problem.into_response();
        }
        AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_panic| {
            metrics.panic();
            Problem::new(Code::Internal).into_response()
        })
    })
    .await;
    if is_chunked {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    finish(&metrics, &mut response);
    response
}

/// Counts an answer, and gives it the headers that every answer has.
fn finish(metrics: &Metrics, response: &mut Response) {
    metrics.answer(response.status().as_u16());
    let headers = response.headers_mut();
    // What is no page loads nothing and is framed by nobody; pages have a policy of their own.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(NOTHING);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.insert(header::REFERRER_POLICY, ORIGIN_ONLY);
}

/// What answers a request when the layer above has panicked itself.
pub fn panicked(metrics: Metrics) -> impl Fn() -> Response {
    move || {
        metrics.panic();
        let mut response = Problem::new(Code::Internal).into_response();
        request_id::name(&mut response);
        finish(&metrics, &mut response);
        response
    }
}

/// What answers when the server has no place for another connection: that it lives, and that others should come back.
pub fn busy(metrics: Metrics) -> Router {
    let overloaded = async || Problem::new(Code::Overloaded).retry_after(5);
    last(health::liveness().merge(health::ping()).fallback(overloaded), metrics)
}

/// What answers an address that has too many connections: the same to everything.
pub fn crowded(metrics: Metrics) -> Router {
    let refused = metrics.clone();
    let limit_reached = async move || {
        refused.refused("connections-per-address");
        let what = "too many connections from this address are open";
        Problem::new(Code::LimitReached).detail(what).retry_after(5)
    };
    last(Router::new().fallback(limit_reached), metrics)
}

/// Answers once by connection.
fn last(router: Router, metrics: Metrics) -> Router {
    router
        .layer(SetResponseHeaderLayer::overriding(header::CONNECTION, CLOSE))
        .layer(from_fn_with_state(metrics, answer))
}

/// Programs get a problem, people a page.
async fn not_found(state: State<AppState>, link: Extension<ConnectionInfo>, request: Request) -> Response {
    if request.uri().path().starts_with("/api/") {
        Problem::new(Code::NotFound).into_response()
    } else {
        pages::page(state, link, request).await
    }
}
