//! Server functions over HTTP: reads their arguments from requests, runs them, and keeps the status of their errors.
//!
//! Leptos can mount server functions itself, but it responds to every error with 500. The functions, their paths and
//! their arguments are still those that Leptos generates.

use std::time::Duration;

use axum::{
    BoxError,
    body::{Body, HttpBody},
    http::{HeaderMap, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use leptos::{
    prelude::{Owner, provide_context},
    reactive::computed::ScopedFuture,
    server_fn::ServerFn,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::api::{Code, Problem};

/// How long a request body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a whole request body within the size limit and [`BODY_TIMEOUT`].
///
/// A body whose declared length is over the limit is rejected unread, so that a client that sent
/// `Expect: 100-continue` gets the error instead of `100 Continue`.
pub(super) async fn read_body(body: Body, limit: Option<usize>) -> Result<Vec<u8>, Problem> {
    let limit = limit.unwrap_or(usize::MAX);
    if usize::try_from(body.size_hint().lower()).map_or(true, |declared| declared > limit) {
        return Err(Problem::new(Code::BodyTooLarge));
    }
    // One buffer: a client may send each byte as a chunk of its own, and a chunk takes far more memory than a byte.
    let whole = async {
        let (mut body, mut whole) = (Limited::new(body, limit), Vec::new());
        while let Some(frame) = body.frame().await {
            whole.extend_from_slice(&frame?.into_data().unwrap_or_default());
        }
        Ok::<_, BoxError>(whole)
    };
    let whole = timeout(BODY_TIMEOUT, whole).await.map_err(|_| Problem::new(Code::RequestTimeout))?;
    whole.map_err(|error| {
        Problem::new(if error.is::<LengthLimitError>() { Code::BodyTooLarge } else { Code::Malformed })
    })
}

/// Parses the arguments from a JSON object. Serde would also accept an array; this function rejects it.
pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::malformed("the body is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| Problem::malformed(error.to_string()))
}

/// The media type of a body as declared in `Content-Type`, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim()
}

/// Rejects a body whose declared media type is not in `accepted`.
pub(super) fn check_media_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let declared = media_type(headers);
    if accepted.iter().any(|media_type| declared.eq_ignore_ascii_case(media_type)) {
        Ok(())
    } else {
        Err(Problem::new(Code::UnsupportedMediaType).detail("send Content-Type: application/json"))
    }
}

/// Runs the body of a server function. `context` is the Leptos context that the function expects: the caller, or the
/// service for functions that only read.
pub(super) async fn run<F: ServerFn<Error = Problem>>(
    context: impl Send + Sync + 'static,
    arguments: F,
) -> Result<F::Output, Problem> {
    let owner = Owner::new();
    let body = owner.with(|| {
        provide_context(context);
        ScopedFuture::new(arguments.run_body())
    });
    body.await
}
