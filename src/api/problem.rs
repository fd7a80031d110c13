//! What a caller is told when a call fails: a problem document (RFC 9457) with a stable code.
//!
//! Nothing of the inside shows in one: no type name, no message of Redis.

use std::{fmt, time::Duration};

use leptos::server_fn::{
    ContentType, Decodes, Encodes, Format, FormatType,
    error::{FromServerFnError, ServerFnErrorErr},
};
use serde::{Deserialize, Serialize};

use crate::domain::{channel::InvalidChannel, viewer::InvalidSessionKey};

/// Why a call failed. Callers may rely on these words; each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// 400: the body or query is not what the call takes.
    Malformed,
    /// 400: not a channel name.
    InvalidChannel,
    /// 400: a viewer or session id that is no UUID, or nil.
    InvalidViewer,
    /// 403: the request comes from the scripts of a site that may not count viewers here.
    OriginNotAllowed,
    /// 404: there is no such call.
    NotFound,
    /// 405: the call exists with another method, named in `Allow`.
    MethodNotAllowed,
    /// 408: the body did not arrive in time.
    RequestTimeout,
    /// 413: the body is over the limit.
    BodyTooLarge,
    /// 415: the body is not declared as JSON.
    UnsupportedMediaType,
    /// 429: more than one address may have; `Retry-After` says when to come back.
    LimitReached,
    /// 431: the request line and headers are over the limit.
    HeadTooLarge,
    /// 500: a fault of ours.
    Internal,
    /// 503: this node has as much as it may have; `Retry-After` says when to come back.
    Overloaded,
    /// 503: the store can't answer, or the server is going down; try again.
    Unavailable,
}

impl Code {
    /// Every code, in the order of their statuses.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::InvalidChannel,
        Self::InvalidViewer,
        Self::OriginNotAllowed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::LimitReached,
        Self::HeadTooLarge,
        Self::Internal,
        Self::Overloaded,
        Self::Unavailable,
    ];

    /// Its HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::InvalidChannel | Self::InvalidViewer => 400,
            Self::OriginNotAllowed => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::LimitReached => 429,
            Self::HeadTooLarge => 431,
            Self::Internal => 500,
            Self::Overloaded | Self::Unavailable => 503,
        }
    }

    /// A sentence for people.
    const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request is not what this call takes",
            Self::InvalidChannel => "That is no channel name",
            Self::InvalidViewer => "That is no viewer or session id",
            Self::OriginNotAllowed => "That site may not do this",
            Self::NotFound => "There is no such call",
            Self::MethodNotAllowed => "This call takes another method",
            Self::RequestTimeout => "The body did not arrive in time",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "This call takes JSON",
            Self::LimitReached => "That is more than one address may have",
            Self::HeadTooLarge => "The request line and headers are too large",
            Self::Internal => "Something failed here",
            Self::Overloaded => "This server has all that it can take",
            Self::Unavailable => "Not available just now",
        }
    }
}

/// A problem document: `{"type","title","status","code","detail"?}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: the code says it all.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong, for whoever debugs the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Seconds to wait before the next try; also in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none", rename = "retryAfter")]
    pub retry_after: Option<u32>,
}

impl Problem {
    /// The media type of problem documents.
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// The problem with this code.
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

    /// Adds what a caller's developer wants to know.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Asks for a pause before the next try.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Asks for a pause that is over once `wait` has passed.
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

/// How problems are written: as JSON.
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
            r#"{"type":"about:blank","title":"That is no channel name","status":400,"code":"invalid-channel"}"#
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
