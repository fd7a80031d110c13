//! Which sites' scripts may count viewers, and otherwise change something.
//!
//! A browser names the site that a POST comes from in `Origin`, and scripts can't change that
//! (<https://fetch.spec.whatwg.org/#origin-header>). Without this rule any page on the web could have its visitors join.
//! Programs that are no browsers send none, and are let in: they could name any.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::state::AppState;
use crate::{
    api::{Code, Problem},
    server::config::Origin,
};

/// How long a browser may remember that it may call, in seconds; browsers hold it to two hours at most.
const PREFLIGHT_AGE: u64 = 7200;

/// The origins of others that may do what ours may. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Origins(Arc<[Origin]>);

impl FromIterator<Origin> for Origins {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        Self(origins.into_iter().collect())
    }
}

impl Origins {
    /// Refuses a request that comes from a site which may not change anything.
    ///
    /// # Errors
    /// `origin-not-allowed`.
    pub fn check(&self, request: &Parts) -> Result<(), Problem> {
        let site = request.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let is_allowed = match request.headers.get(header::ORIGIN) {
            // What the browser itself says; it holds also where a proxy has rewritten `Host`.
            Some(_) if site == Some(b"same-origin") => true,
            Some(origin) => is_own(origin, request) || self.lists(origin),
            None => site != Some(b"cross-site"),
        };
        if is_allowed { Ok(()) } else { Err(Problem::new(Code::OriginNotAllowed)) }
    }

    /// Lets the scripts of a listed site read an answer (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
    #[must_use]
    pub fn let_read(&self, origin: Option<HeaderValue>, mut response: Response) -> Response {
        if let Some(origin) = origin.filter(|origin| self.lists(origin)) {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
        response
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|listed| listed.matches(origin.as_bytes()))
    }
}

/// Whether an origin is the host that the request was sent to. The scheme is left out: behind a proxy it is not known.
fn is_own(origin: &HeaderValue, request: &Parts) -> bool {
    let host = request.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| request.uri.authority().map(|authority| authority.as_str().as_bytes()));
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    host.zip(site).is_some_and(|(host, site)| host.eq_ignore_ascii_case(site.as_bytes()))
}

/// What a browser asks before the script of another site may send JSON: whether it may.
pub async fn preflight(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type")),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE.into()),
    ];
    state
        .origins
        .let_read(headers.get(header::ORIGIN).cloned(), (StatusCode::NO_CONTENT, allowed).into_response())
}
