//! Turns problems into HTTP responses, and refusals and store errors into problems.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::caching::NO_STORE;
use crate::{
    api::{Code, Problem},
    server::{caller::Refused, limits::sessions::LimitExceeded, store_error::StoreError, tickets::Refusal},
};

/// `Retry-After` of the limit of sessions per channel. Within this time some sessions usually end.
const SESSIONS_RETRY: Duration = Duration::from_secs(30);

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
    /// The caller does not get the cause. The store and the database log it, in few lines.
    fn from(error: StoreError) -> Self {
        tracing::debug!(%error, "call failed");
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
