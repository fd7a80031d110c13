//! `Cache-Control` of the answers that contain counts, as `COUNT_MAX_AGE` allows.
//!
//! Promises:
//! - Without `COUNT_MAX_AGE`, no cache keeps a count. A badge may be kept for 5 s.
//! - With it, every cache may keep a current count for that long, and may show it for as long again while it fetches a
//!   new one.
//! - A stale or an unknown count is kept for a second at most, and never shown after that. One second is enough to
//!   protect a node in trouble from its readers.

use std::num::NonZeroU32;

use axum::{
    http::{HeaderValue, Response, header},
    response::IntoResponse,
};

use crate::api::{Code, Problem};

/// No cache may keep the response.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// For a stale or an unknown count.
const ONE_SECOND: HeaderValue = HeaderValue::from_static("public, max-age=1, s-maxage=1");

/// For a badge without `COUNT_MAX_AGE`: a popular README causes few reads of the store.
const BADGE: HeaderValue =
    HeaderValue::from_static("public, max-age=5, s-maxage=5, stale-while-revalidate=30");

/// A response that no cache may keep.
pub(super) fn uncached(response: impl IntoResponse) -> axum::response::Response {
    ([(header::CACHE_CONTROL, NO_STORE)], response).into_response()
}

/// Decides how long caches may keep counts. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct CountCaching {
    /// The header for a current count; `None` if no cache may keep counts.
    current: Option<HeaderValue>,
}

impl CountCaching {
    /// `max_age`: how long caches may keep a current count, in seconds. `None`: not at all.
    #[must_use]
    pub fn new(max_age: Option<NonZeroU32>) -> Self {
        let header = |age: NonZeroU32| {
            format!("public, max-age={age}, s-maxage={age}, stale-while-revalidate={age}").try_into().ok()
        };
        Self { current: max_age.and_then(header) }
    }

    /// The header for an answer with counts. `is_current`: whether all of them are neither stale nor unknown.
    #[must_use]
    pub fn counts(&self, is_current: bool) -> HeaderValue {
        match &self.current {
            Some(current) if is_current => current.clone(),
            Some(_) => ONE_SECOND,
            None => NO_STORE,
        }
    }

    /// The header for a badge.
    #[must_use]
    pub fn badge(&self, is_current: bool) -> HeaderValue {
        if self.current.is_some() { self.counts(is_current) } else { BADGE }
    }

    /// The response to a read that failed. That a count is unknown may be kept like an unknown count.
    #[must_use]
    pub fn problem<B: From<Vec<u8>>>(&self, problem: Problem) -> Response<B> {
        let is_unknown = problem.code == Code::Unavailable;
        let mut response = problem.response();
        if is_unknown {
            response.headers_mut().insert(header::CACHE_CONTROL, self.counts(false));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caching(seconds: u32) -> CountCaching {
        CountCaching::new(NonZeroU32::new(seconds))
    }

    #[test]
    fn without_a_maximum_age_only_badges_are_kept() {
        for is_current in [true, false] {
            assert_eq!(caching(0).counts(is_current), "no-store");
            assert_eq!(
                caching(0).badge(is_current),
                "public, max-age=5, s-maxage=5, stale-while-revalidate=30"
            );
        }
    }

    #[test]
    fn current_counts_are_kept_for_the_maximum_age() {
        let expected = "public, max-age=7, s-maxage=7, stale-while-revalidate=7";
        assert_eq!(caching(7).counts(true), expected);
        assert_eq!(caching(7).badge(true), expected);
    }

    #[test]
    fn stale_and_unknown_counts_are_kept_for_a_second() {
        for seconds in [1, 60] {
            assert_eq!(caching(seconds).counts(false), ONE_SECOND);
            assert_eq!(caching(seconds).badge(false), ONE_SECOND);
        }
    }

    #[test]
    fn only_the_problem_of_an_unknown_count_is_kept() {
        let header = |seconds, code| {
            caching(seconds).problem::<Vec<u8>>(Problem::new(code)).headers()[header::CACHE_CONTROL].clone()
        };
        assert_eq!(header(5, Code::Unavailable), ONE_SECOND);
        assert_eq!(header(0, Code::Unavailable), NO_STORE);
        assert_eq!(header(5, Code::InvalidChannel), NO_STORE);
        assert_eq!(header(5, Code::Internal), NO_STORE);
    }
}
