//! Origin checks: which sites' scripts may count viewers and follow channels.
//!
//! A browser names the site that sends a POST in `Origin`, and scripts cannot change that header
//! (<https://fetch.spec.whatwg.org/#origin-header>). Without this check any page on the web could make its visitors
//! join. Requests without `Origin` are allowed unless `Sec-Fetch-Site` is `cross-site`: they come from programs, which
//! could send any value.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::state::AppState;
use crate::{
    api::{Code, Problem},
    server::config::Origin,
};

/// How long browsers may cache a preflight response, in seconds. Chrome caps it at two hours.
const PREFLIGHT_AGE: u64 = 7200;

/// The same for calls that every site may read, in seconds: no setting changes what they allow. Firefox caps it at a
/// day.
const READ_PREFLIGHT_AGE: u64 = 86_400;

/// The headers that scripts of every site may send to calls that read: those of lists, of clients of event streams that
/// use `fetch`, and of traces.
const READ_HEADERS: &str =
    "content-type, cache-control, last-event-id, x-requested-with, traceparent, tracestate";

/// Other origins whose scripts may call what this site's own scripts may call. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Origins(Arc<[Origin]>);

impl FromIterator<Origin> for Origins {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        Self(origins.into_iter().collect())
    }
}

impl Origins {
    /// Rejects a request that comes from a site whose scripts may not change anything.
    ///
    /// # Errors
    /// `origin-not-allowed`.
    pub fn check(&self, request: &Parts) -> Result<(), Problem> {
        let site = request.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let is_allowed = match request.headers.get(header::ORIGIN) {
            // The browser sets this header, so it is right even if a proxy has rewritten `Host`.
            Some(_) if site == Some(b"same-origin") => true,
            Some(origin) => is_own(origin, request) || self.contains(origin),
            None => site != Some(b"cross-site"),
        };
        if is_allowed { Ok(()) } else { Err(Problem::new(Code::OriginNotAllowed)) }
    }

    /// Lets the scripts of a listed site read the response (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
    #[must_use]
    pub fn allow_reading<B>(&self, origin: Option<&HeaderValue>, mut response: Response<B>) -> Response<B> {
        if let Some(origin) = origin.filter(|origin| self.contains(origin)) {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
        response
    }

    fn contains(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|listed| listed.matches(origin.as_bytes()))
    }
}

/// Whether an origin has the host and port that the request was sent to. The scheme is not compared: behind a proxy the
/// server does not know it.
fn is_own(origin: &HeaderValue, request: &Parts) -> bool {
    let host = request.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| request.uri.authority().map(|authority| authority.as_str().as_bytes()));
    let origin_host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.zip(origin_host).is_some_and(|(host, origin)| host.eq_ignore_ascii_case(origin.as_bytes()))
}

/// The host of the page that sent a request, if it is not a page of this server. Empty if the browser does not name it.
pub(super) fn foreign_host(request: &Parts) -> Option<String> {
    let origin = request.headers.get(header::ORIGIN)?;
    let site = request.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site == Some(b"same-origin") || is_own(origin, request) {
        return None;
    }
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let host = authority.unwrap_or_default();
    let without_port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|c| c.is_ascii_digit()));
    Some(without_port.map_or(host, |(host, _)| host).to_ascii_lowercase())
}

/// Responds to the preflight that a browser sends before a script of another site may send JSON.
pub async fn preflight(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let response = allow("POST", "content-type", PREFLIGHT_AGE);
    state.origins.allow_reading(headers.get(header::ORIGIN), response)
}

/// The same for the call that reads the counts of a list. Its route adds `Access-Control-Allow-Origin: *`.
pub async fn preflight_of_lists() -> Response {
    allow("GET, HEAD, POST", READ_HEADERS, READ_PREFLIGHT_AGE)
}

/// Responds to a method that a call for scripts of every site does not have. The preflight of a read is allowed: a
/// browser sends one if a script adds headers to its GET, such as the `Last-Event-ID` of a stream.
///
/// # Errors
/// `method-not-allowed` for everything else.
pub async fn preflight_of_reads(method: Method, headers: HeaderMap) -> Result<Response, Problem> {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).map(HeaderValue::as_bytes);
    let is_read = matches!(asked, Some(b"GET" | b"HEAD"));
    if method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) || !is_read {
        return Err(Problem::new(Code::MethodNotAllowed));
    }
    let mut response = allow("GET, HEAD", READ_HEADERS, READ_PREFLIGHT_AGE);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::VARY, HeaderValue::from_static("origin, access-control-request-method"));
    Ok(response)
}

/// The response to a preflight, without the origin that it allows.
fn allow(methods: &'static str, headers: &'static str, age: u64) -> Response {
    let response_headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(headers)),
        (header::ACCESS_CONTROL_MAX_AGE, age.into()),
    ];
    (StatusCode::NO_CONTENT, response_headers).into_response()
}
