//! Response bodies that hold something, such as a permit, until the client has taken all of them.
//!
//! hyper may drop a body before its bytes are sent: over HTTP/2 they wait until the client has room for them. So each
//! frame holds the same as the body, and lets go of it when it has been written to the socket or is given up.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The most of a body that is handed over at once, in bytes. Whether a client still reads is seen only when it has taken
/// all of a chunk.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

/// What a body holds.
pub trait Holds: Unpin {
    /// What each frame of the body holds.
    type Frame: Send + 'static;

    /// For one more frame.
    fn frame(&self) -> Self::Frame;
}

impl<T: Send + Sync + 'static> Holds for Arc<T> {
    type Frame = Self;

    fn frame(&self) -> Self {
        Self::clone(self)
    }
}

/// A response body with what it holds.
pub struct HeldBody<H> {
    body: Body,
    /// What is left of a long frame.
    rest: Bytes,
    held: H,
}

impl<H> HeldBody<H> {
    /// The body, with what it holds.
    pub const fn new(body: Body, held: H) -> Self {
        Self { body, rest: Bytes::new(), held }
    }
}

impl<H: Holds> http_body::Body for HeldBody<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let length = self.rest.len().min(CHUNK_BYTES);
        let chunk = HeldBytes { bytes: self.rest.split_to(length), _held: self.held.frame() };
        if self.rest.is_empty() {
            self.rest = Bytes::new();
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(chunk)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let of_body = http_body::Body::size_hint(&self.body);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// The bytes of a frame, with what they hold.
struct HeldBytes<T> {
    bytes: Bytes,
    _held: T,
}

impl<T> AsRef<[u8]> for HeldBytes<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_long_frame_is_handed_over_in_chunks() {
        let text = "0123456789".repeat(CHUNK_BYTES / 4);
        let mut body = HeldBody::new(Body::from(text.clone()), Arc::new(()));
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let chunk = frame.unwrap().into_data().unwrap();
            assert!(chunk.len() <= CHUNK_BYTES);
            whole.extend_from_slice(&chunk);
            let left = (text.len() - whole.len()) as u64;
            assert_eq!(http_body::Body::size_hint(&body).exact(), Some(left));
            assert_eq!(http_body::Body::is_end_stream(&body), left == 0);
        }
        assert_eq!(whole, text.as_bytes());
    }

    #[tokio::test]
    async fn what_is_held_is_held_until_the_last_frame_is_gone() {
        let held = Arc::new(());
        let mut body = HeldBody::new(Body::from("answer"), Arc::clone(&held));
        assert_eq!(Arc::strong_count(&held), 2);
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert_eq!(Arc::strong_count(&held), 2, "the frame holds it");
        drop(frame);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
