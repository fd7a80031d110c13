//! The body of a response over HTTP/2. Its request is in flight until the client has taken the response.
//!
//! An answer counts among what the connection holds ([`Unread`]). An event stream does not.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, Response, header},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{
    connection_info::InFlight,
    held::{HeldBody, Holds},
    unread::{Hold, Unread, Wait},
};

/// The most that an answer holds which is produced while it is sent, in bytes: what hyper and h2 buffer of it, and the part
/// that is produced next.
const STREAMED_BYTES: usize = 32 * 1024;

/// The body of a response.
pub(super) enum TrackedBody {
    /// A stream of events, which ends when the client or the server wants it.
    Stream {
        /// The events.
        body: Body,
        /// The request.
        _in_flight: InFlight,
    },
    /// An answer, which ends by itself.
    Answer(HeldBody<Held>),
}

/// What an answer holds.
pub(super) struct Held {
    request: Arc<(InFlight, [Hold; 2])>,
    unread: Arc<Unread>,
}

impl Holds for Held {
    type Frame = (Arc<(InFlight, [Hold; 2])>, Wait);

    fn frame(&self) -> Self::Frame {
        (Arc::clone(&self.request), self.unread.wait())
    }
}

impl TrackedBody {
    /// Tracks the body of a response. `None` if its address holds too much already.
    pub(super) fn of(
        response: Response<Body>,
        in_flight: InFlight,
        request: Hold,
        unread: &Arc<Unread>,
    ) -> Option<Response<Self>> {
        let (head, body) = response.into_parts();
        let body = if is_event_stream(&head.headers) {
            Self::Stream { body, _in_flight: in_flight }
        } else {
            let answer = unread.hold(bytes_of(&head.headers, &body))?;
            let request = Arc::new((in_flight, [request, answer]));
            Self::Answer(HeldBody::new(body, Held { request, unread: Arc::clone(unread) }))
        };
        Some(Response::from_parts(head, body))
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// How much of an answer is in memory at most, in bytes.
fn bytes_of(headers: &HeaderMap, body: &Body) -> usize {
    if let Some(bytes) = body.size_hint().exact() {
        return usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    declared.unwrap_or(STREAMED_BYTES).min(STREAMED_BYTES)
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Stream { body, .. } => Pin::new(body).poll_frame(cx),
            Self::Answer(answer) => Pin::new(answer).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Stream { body, .. } => body.is_end_stream(),
            Self::Answer(answer) => answer.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Stream { body, .. } => body.size_hint(),
            Self::Answer(answer) => answer.size_hint(),
        }
    }
}
