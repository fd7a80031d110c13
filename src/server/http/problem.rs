//! Turns problems into HTTP responses, and refusals and store errors into problems.

use std::{
    mem::{self, Discriminant},
    time::{Duration, Instant},
};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;

use super::caching::NO_STORE;
use crate::{
    api::{Code, Problem},
    server::{caller::Refused, limits::sessions::LimitExceeded, store_error::StoreError, tickets::Refusal},
};

/// `Retry-After` of the limit of sessions per channel. Within this time some sessions usually end.
const SESSIONS_RETRY: Duration = Duration::from_secs(30);

/// The shortest time between two log lines about store calls that failed in the same way. The metric `store_errors_total`
/// counts all of them.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

impl Problem {
    /// The response with any kind of body.
    pub(super) fn response<B: From<Vec<u8>>>(self) -> Response<B> {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(body.into());
        *response.status_mut() =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Self::MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.response()
    }
}

impl From<StoreError> for Problem {
    /// The cause goes into the log; the caller gets `unavailable` without it.
    fn from(error: StoreError) -> Self {
        log(&error);
        Self::new(Code::Unavailable).retry_after(1)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Limit(limit) => limit.into(),
            Refused::TicketChecks(wait) => limit_reached("too many tickets from this address", wait),
            Refused::Ticket(Refusal::Required) => Self::new(Code::TicketRequired),
            Refused::Ticket(Refusal::Invalid(why)) => Self::new(Code::TicketInvalid).detail(why),
            Refused::Ticket(Refusal::Expired) => Self::new(Code::TicketExpired),
            Refused::Store(error) => error.into(),
        }
    }
}

impl From<LimitExceeded> for Problem {
    fn from(limit: LimitExceeded) -> Self {
        let (detail, wait) = match limit {
            LimitExceeded::Joins(wait) => ("too many new sessions from this address", wait),
            LimitExceeded::Sessions => {
                ("too many sessions in this channel from this address", SESSIONS_RETRY)
            }
            LimitExceeded::Uncounted(wait) => {
                ("too many calls of robots and leaves of unknown sessions from this address", wait)
            }
            LimitExceeded::Channels(wait) => ("too many new channels from this address", wait),
        };
        limit_reached(detail, wait)
    }
}

/// The problem of an address that has reached a limit, and may retry after `wait`.
fn limit_reached(detail: &str, wait: Duration) -> Problem {
    Problem::new(Code::LimitReached).detail(detail).retry_once_over(wait)
}

/// Logs an error of the store, each kind at most once in an interval: during an outage every request has one. The database
/// logs its outages itself.
pub(super) fn log(error: &StoreError) {
    static LOGGED: Mutex<Vec<(Discriminant<StoreError>, Instant)>> = Mutex::new(Vec::new());
    if matches!(error, StoreError::Away(_)) {
        tracing::debug!(%error, "database call failed");
    } else if is_due(&mut LOGGED.lock(), mem::discriminant(error), Instant::now()) {
        tracing::warn!(%error, "store call failed");
    }
}

/// Whether nothing of this kind was logged in the last interval. It is noted as logged then.
fn is_due<K: PartialEq>(logged: &mut Vec<(K, Instant)>, kind: K, now: Instant) -> bool {
    logged.retain(|(_, at)| now < *at + LOG_INTERVAL);
    let is_due = logged.iter().all(|(known, _)| *known != kind);
    if is_due {
        logged.push((kind, now));
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_is_logged_once_in_an_interval() {
        let (mut logged, now) = (Vec::new(), Instant::now());
        assert!(is_due(&mut logged, 'a', now) && is_due(&mut logged, 'b', now));
        assert!(!is_due(&mut logged, 'a', now + LOG_INTERVAL / 2));
        assert!(is_due(&mut logged, 'a', now + LOG_INTERVAL));
        assert_eq!(logged.len(), 1);
    }
}
