//! Request ids. The id is in the response's `X-Request-Id` and in every log line of the request, so that logs of Aforo
//! and of proxies can be matched with responses.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tracing::Instrument;

use crate::server::spans;

/// The header of the id in requests and responses.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is accepted from a request. A UUID has 36 characters.
const MAX_LEN: usize = 64;

/// Runs `respond` in a log span with the id of the request, or with a new id if the request has none; and in the span of
/// the request's trace. `route` is the pattern of the path.
pub async fn with_id<I, B, F: Future<Output = Response<B>>>(
    request: Request<I>,
    route: Option<&str>,
    respond: impl FnOnce(Request<I>) -> F,
) -> Response<B> {
    let id = accepted_id(request.headers()).unwrap_or_else(new_id);
    let method = request.method().clone();
    let text = id.to_str().unwrap_or_default();
    let trace = spans::request(&method, route, text, request.headers());
    let span = trace.in_scope(|| tracing::info_span!("request", id = text));
    let response = span.in_scope(|| respond(request)).instrument(span.clone());
    let mut response = response.instrument(trace.clone()).await;
    spans::answered(&trace, response.status().as_u16());
    span.in_scope(|| {
        let (route, status) = (route.unwrap_or("(none)"), response.status().as_u16());
        tracing::debug!(%method, route, status, "[HTTP] answered");
    });
    response.headers_mut().insert(HEADER, id);
    response
}

/// Adds a new id to a response whose request is no longer available.
pub fn assign<B>(response: &mut Response<B>) {
    response.headers_mut().insert(HEADER, new_id());
}

/// The id in the request, if it is valid. It is written to logs, so it must be short and must not contain special
/// characters.
fn accepted_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_allowed = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let id = headers.get(HEADER)?;
    ((1..=MAX_LEN).contains(&id.len()) && id.as_bytes().iter().all(is_allowed)).then(|| id.clone())
}

/// A unique id: a counter hashed with a key that is random for each process. It does not reveal the number of requests
/// and needs no system call.
fn new_id() -> HeaderValue {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let id = format!("{:016x}", KEY.hash_one(COUNTER.fetch_add(1, Relaxed)));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_ids_are_accepted() {
        let accepted = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(id).unwrap());
            accepted_id(&headers)
        };
        for id in ["a", "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10", "edge_7.2", &"x".repeat(64)] {
            assert_eq!(accepted(id.as_bytes()).unwrap(), id);
        }
        for id in [&b""[..], b"a b", b"a\tb", b"a=b", b"\"", b"{}", b"\xff", b"10.0.0.1:80", &[b'x'; 65]] {
            assert_eq!(accepted(id), None, "{id:?}");
        }
        assert_eq!(accepted_id(&HeaderMap::new()), None);
    }

    #[test]
    fn new_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
