//! Errors of the API: problem documents (RFC 9457) with stable codes.
//!
//! A problem reveals no internals, such as type names or messages of Redis.

use std::{fmt, time::Duration};

use leptos::server_fn::{
    ContentType, Decodes, Encodes, Format, FormatType,
    error::{FromServerFnError, ServerFnErrorErr},
};
use serde::{Deserialize, Serialize};

use crate::domain::{channel::InvalidChannel, viewer::InvalidSessionKey};

/// Why a call failed. Codes are stable, and each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// 400: the request is not valid HTTP, or its body or query does not match the call.
    Malformed,
    /// 400: the text is not a channel name.
    InvalidChannel,
    /// 400: a viewer or session id is not a UUID, or is nil.
    InvalidViewer,
    /// 401: the call needs a secret of the operator or a link to this channel, and the request has none or a wrong one.
    Unauthorized,
    /// 403: the request comes from a script of a site that may not change anything here.
    OriginNotAllowed,
    /// 403: the call needs a ticket and has none.
    TicketRequired,
    /// 403: the ticket is not valid, or not for this channel or origin.
    TicketInvalid,
    /// 403: the ticket has expired.
    TicketExpired,
    /// 404: the endpoint does not exist, or what it is asked for.
    NotFound,
    /// 405: the endpoint takes other methods, which `Allow` names.
    MethodNotAllowed,
    /// 408: the body did not arrive in time.
    RequestTimeout,
    /// 413: the body is larger than the limit.
    BodyTooLarge,
    /// 415: the endpoint does not take the `Content-Type` of the body.
    UnsupportedMediaType,
    /// 429: the address has reached a limit. `Retry-After` says when to retry.
    LimitReached,
    /// 431: the request line and headers are larger than the limit.
    HeadTooLarge,
    /// 500: a fault in the server.
    Internal,
    /// 501: the endpoint does not support the requested format.
    NotImplemented,
    /// 503: this node has reached a limit. `Retry-After` says when to retry.
    Overloaded,
    /// 503: the store or the database cannot respond, or the count is unknown. Retry.
    Unavailable,
}

impl Code {
    /// All codes, ordered by status.
    pub const ALL: [Self; 19] = [
        Self::Malformed,
        Self::InvalidChannel,
        Self::InvalidViewer,
        Self::Unauthorized,
        Self::OriginNotAllowed,
        Self::TicketRequired,
        Self::TicketInvalid,
        Self::TicketExpired,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::LimitReached,
        Self::HeadTooLarge,
        Self::Internal,
        Self::NotImplemented,
        Self::Overloaded,
        Self::Unavailable,
    ];

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::InvalidChannel | Self::InvalidViewer => 400,
            Self::Unauthorized => 401,
            Self::OriginNotAllowed | Self::TicketRequired | Self::TicketInvalid | Self::TicketExpired => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::LimitReached => 429,
            Self::HeadTooLarge => 431,
            Self::Internal => 500,
            Self::NotImplemented => 501,
            Self::Overloaded | Self::Unavailable => 503,
        }
    }

    /// A short text for people.
    const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed request",
            Self::InvalidChannel => "Invalid channel name",
            Self::InvalidViewer => "Invalid viewer or session id",
            Self::Unauthorized => "Missing or wrong secret",
            Self::OriginNotAllowed => "Origin not allowed",
            Self::TicketRequired => "Ticket required",
            Self::TicketInvalid => "Invalid ticket",
            Self::TicketExpired => "Ticket expired",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::RequestTimeout => "Request body timed out",
            Self::BodyTooLarge => "Request body too large",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::LimitReached => "Limit reached for this address",
            Self::HeadTooLarge => "Request line and headers too large",
            Self::Internal => "Internal server error",
            Self::NotImplemented => "Format not implemented",
            Self::Overloaded => "Server overloaded",
            Self::Unavailable => "Temporarily unavailable",
        }
    }
}

/// A problem document: `{"type","title","status","code","detail"?}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: the code identifies the problem.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    /// The cause, for programs.
    pub code: Code,
    /// The cause, for developers of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Seconds to wait before a retry, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none", rename = "retryAfter")]
    pub retry_after: Option<u32>,
}

impl Problem {
    /// The media type of problem documents.
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// A problem with this code.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: None,
            retry_after: None,
        }
    }

    /// A request that does not match the call, and why.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::Malformed).detail(detail)
    }

    /// Adds a detail for developers of clients.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Asks the client to wait before a retry.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Asks the client to wait for at least `wait`, in whole seconds, before a retry.
    #[must_use]
    pub fn retry_once_over(self, wait: Duration) -> Self {
        self.retry_after(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Problem {}

impl From<InvalidChannel> for Problem {
    fn from(error: InvalidChannel) -> Self {
        Self::new(Code::InvalidChannel).detail(error.to_string())
    }
}

impl From<InvalidSessionKey> for Problem {
    fn from(error: InvalidSessionKey) -> Self {
        match error {
            InvalidSessionKey::Channel(error) => error.into(),
            InvalidSessionKey::Id(error) => Self::new(Code::InvalidViewer).detail(error.to_string()),
        }
    }
}

impl FromServerFnError for Problem {
    type Encoder = ProblemJson;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        Self::new(match error {
            ServerFnErrorErr::Args(_)
            | ServerFnErrorErr::MissingArg(_)
            | ServerFnErrorErr::Deserialization(_) => Code::Malformed,
            ServerFnErrorErr::Request(_) => Code::Unavailable,
            _ => Code::Internal,
        })
    }
}

/// The encoding of problems in server functions: JSON.
#[derive(Debug)]
pub struct ProblemJson;

impl ContentType for ProblemJson {
    const CONTENT_TYPE: &'static str = Problem::MEDIA_TYPE;
}

impl FormatType for ProblemJson {
    const FORMAT_TYPE: Format = Format::Text;
}

impl Encodes<Problem> for ProblemJson {
    type Error = serde_json::Error;

    fn encode(problem: &Problem) -> Result<leptos::server_fn::Bytes, Self::Error> {
        serde_json::to_vec(problem).map(Into::into)
    }
}

impl Decodes<Problem> for ProblemJson {
    type Error = serde_json::Error;

    fn decode(bytes: leptos::server_fn::Bytes) -> Result<Problem, Self::Error> {
        serde_json::from_slice(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_a_stable_document() {
        let problem = Problem::new(Code::InvalidChannel);
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"about:blank","title":"Invalid channel name","status":400,"code":"invalid-channel"}"#
        );
        let problem = Problem::new(Code::Unavailable).detail("why").retry_after(2);
        let json = serde_json::to_string(&problem).unwrap();
        assert!(
            json.ends_with(r#""status":503,"code":"unavailable","detail":"why","retryAfter":2}"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
    }
}
