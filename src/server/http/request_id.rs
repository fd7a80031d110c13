//! A name for every request. It is in the answer and in each line of the log that the request leads to, so that the two
//! can be brought together, through proxies as well.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};
use tracing::Instrument;

/// Where the name is, in requests and answers.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that is taken from a caller; a UUID has 36.
const MAX_LEN: usize = 64;

/// Answers a request by the name that its caller or a proxy gave it, or by a new one.
pub async fn named<A: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> A,
) -> Response {
    let id = given(request.headers()).unwrap_or_else(fresh);
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = span.in_scope(|| answer(request)).instrument(span.clone()).await;
    span.in_scope(|| {
        let (route, status) =
            (route.as_ref().map_or("(none)", MatchedPath::as_str), response.status().as_u16());
        tracing::debug!(%method, route, status, "[HTTP] answered");
    });
    response.headers_mut().insert(HEADER, id);
    response
}

/// Names an answer whose request is lost.
pub fn name(response: &mut Response) {
    response.headers_mut().insert(HEADER, fresh());
}

/// The caller's own name, if it is one: it goes into logs, so it has to be short and plain.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let plain = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let id = headers.get(HEADER)?;
    ((1..=MAX_LEN).contains(&id.len()) && id.as_bytes().iter().all(plain)).then(|| id.clone())
}

/// A name that no other request has: the hash of a running number, by a key that is drawn at the start. It tells nobody
/// how many there were, and asks nothing of the system.
fn fresh() -> HeaderValue {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("{:016x}", KEY.hash_one(NUMBER.fetch_add(1, Relaxed)));
    HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken_and_nothing_else() {
        let given = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(id).unwrap());
            given(&headers)
        };
        for id in ["a", "6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10", "edge_7.2", &"x".repeat(64)] {
            assert_eq!(given(id.as_bytes()).unwrap(), id);
        }
        for id in [&b""[..], b"a b", b"a\tb", b"a=b", b"\"", b"{}", b"\xff", b"10.0.0.1:80", &[b'x'; 65]] {
            assert_eq!(given(id), None, "{id:?}");
        }
        assert_eq!(super::given(&HeaderMap::new()), None);
    }

    #[test]
    fn new_names_differ() {
        let names: std::collections::HashSet<_> = (0..10_000).map(|_| fresh()).collect();
        assert_eq!(names.len(), 10_000);
    }
}
