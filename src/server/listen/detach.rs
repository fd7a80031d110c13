//! Detached streams: long responses that are sent without hyper.
//!
//! A stream is open for hours and rarely sends anything. hyper would hold about 20 KB for it: buffers, a parser and a
//! dispatcher. A detached stream needs only the socket and the body.
//!
//! The body has no length and is not chunked: it ends with the connection (RFC 9112, section 6.3). All streams of a
//! channel can therefore send the same bytes of a frame.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::http::response::Parts;
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use http_body::{Body, Frame};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::response_head;

/// The body of a stream.
pub type LongBody = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;

/// Placeholder for a detached body, which hyper never sends. Its length is unknown, so hyper adds no `Content-Length`.
pub struct DetachedBody;

impl Body for DetachedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

/// A socket on which a stream can be sent.
pub trait StreamSocket: AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static {
    /// Sends a stream until its body ends or the peer closes the connection. Everything that only further requests need is
    /// freed. `guard` is dropped when the stream ends. `None` if the socket cannot be used.
    fn send_stream<G: Send + Unpin + 'static>(
        self,
        head: &Parts,
        body: LongBody,
        guard: G,
    ) -> Option<BoxFuture<'static, ()>>;
}

impl StreamSocket for TcpStream {
    fn send_stream<G: Send + Unpin + 'static>(
        self,
        head: &Parts,
        body: LongBody,
        guard: G,
    ) -> Option<BoxFuture<'static, ()>> {
        Some(Box::pin(DetachedStream::new(self, head, body, guard)))
    }
}

/// A future that sends a response on a bare socket. It ends with the body or when the peer closes the connection.
pub struct DetachedStream<S, G> {
    io: S,
    /// `None` when it has ended.
    body: Option<LongBody>,
    unsent: Bytes,
    _guard: G,
}

impl<S, G> DetachedStream<S, G> {
    /// A response whose head has not been sent. `guard` is dropped when it ends.
    pub fn new(io: S, head: &Parts, body: LongBody, guard: G) -> Self {
        Self { unsent: encode(head), ..Self::after_head(io, body, guard) }
    }

    /// A response whose head has been sent.
    pub(super) const fn after_head(io: S, body: LongBody, guard: G) -> Self {
        Self { io, body: Some(body), unsent: Bytes::new(), _guard: guard }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, G> DetachedStream<S, G> {
    /// Ready when the peer has closed the connection. Bytes after the request are discarded, or end a stream over TLS.
    fn poll_peer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut discarded = [0; 256];
        loop {
            let mut discarded = ReadBuf::new(&mut discarded);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut discarded));
            if read.is_err() || discarded.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }

    /// Sends pending frames. Ready when the body has ended or the socket has failed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            while !self.unsent.is_empty() {
                match ready!(Pin::new(&mut self.io).poll_write(cx, &self.unsent)) {
                    Ok(sent) if sent > 0 => self.unsent.advance(sent),
                    _ => return Poll::Ready(()),
                }
            }
            if let Some(body) = &mut self.body {
                match body.as_mut().poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.unsent = frame.into_data().unwrap_or_default();
                        continue;
                    }
                    Poll::Ready(None) => self.body = None,
                    // TLS buffers what was written.
                    Poll::Pending => {
                        let flushed = ready!(Pin::new(&mut self.io).poll_flush(cx));
                        return if flushed.is_err() { Poll::Ready(()) } else { Poll::Pending };
                    }
                }
            }
            return Pin::new(&mut self.io).poll_shutdown(cx).map(drop);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, G: Unpin> Future for DetachedStream<S, G> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_peer(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_send(cx)
    }
}

/// Encodes the head of a response that ends with the connection.
pub(super) fn encode(head: &Parts) -> Bytes {
    let mut text = Vec::with_capacity(512);
    response_head::write(&mut text, head.status, &head.headers, None, true);
    text.into()
}
