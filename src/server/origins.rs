//! Which sites' scripts may count viewers, and otherwise change something.
//!
//! A browser names the site that a POST comes from in `Origin`, and scripts can't change that
//! (<https://fetch.spec.whatwg.org/#origin-header>). Without this rule any page on the web could have its visitors join.
//! Programs that are no browsers send none, and are let in: they could name any.

use std::{str::FromStr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts},
    middleware::Next,
    response::Response,
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::api::{Code, Problem};

/// How long a browser may remember that it may call, in seconds; browsers hold it to two hours at most.
const PREFLIGHT_AGE: u64 = 7200;

/// An origin as settings name it: `https://partner.example`, `null` for sandboxed frames, or `*` for every origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
        let is_site = |uri: &Uri| uri.scheme().is_some() && uri.host().is_some() && uri.path() == "/";
        if text == "*" || text == "null" || text.parse::<Uri>().is_ok_and(|uri| is_site(&uri)) {
            Ok(Self(text))
        } else {
            Err("not an origin such as https://partner.example".to_owned())
        }
    }
}

/// The origins of others that may do what ours may. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Origins(Arc<[Origin]>);

impl FromIterator<Origin> for Origins {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        Self(origins.into_iter().collect())
    }
}

impl Origins {
    /// What lets the scripts of allowed origins call us and read the answers.
    pub fn cors(&self) -> CorsLayer {
        let origins = self.clone();
        let allowed = move |origin: &HeaderValue, _parts: &Parts| origins.lists(origin);
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(allowed))
            .allow_methods([Method::POST])
            .allow_headers([header::CONTENT_TYPE])
            .max_age(Duration::from_secs(PREFLIGHT_AGE))
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        let origin = origin.as_bytes();
        self.0.iter().any(|Origin(listed)| listed == "*" || listed.as_bytes().eq_ignore_ascii_case(origin))
    }

    /// Whether a request comes from a site that may change something.
    fn admit(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        match headers.get(header::ORIGIN) {
            // What the browser itself says; it holds also where a proxy has rewritten `Host`.
            Some(_) if site == Some(b"same-origin") => true,
            Some(origin) => is_own(origin, headers, uri) || self.lists(origin),
            None => site != Some(b"cross-site"),
        }
    }
}

/// Whether an origin is the host that the request was sent to. The scheme is left out: behind a proxy it is not known.
fn is_own(origin: &HeaderValue, headers: &HeaderMap, uri: &Uri) -> bool {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str().as_bytes()));
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    host.zip(site).is_some_and(|(host, site)| host.eq_ignore_ascii_case(site.as_bytes()))
}

/// Refuses what comes from a site that may not change anything.
///
/// # Errors
/// `origin-not-allowed`.
pub async fn check(
    State(origins): State<Origins>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if request.method() == Method::POST && !origins.admit(request.headers(), request.uri()) {
        return Err(Problem::new(Code::OriginNotAllowed));
    }
    Ok(next.run(request).await)
}
