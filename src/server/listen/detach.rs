//! Streams that have left the HTTP machinery.
//!
//! A stream is open for hours and says something now and then. Hyper keeps buffers, a parser and a dispatcher for it, some
//! 20 KB; once the head is sent none of that is needed any more. What remains is a socket, and a body to copy to it.
//!
//! The body has no length and is not chunked: it ends with the connection (RFC 9112, section 6.3), so that a frame goes to
//! the socket as it is, shared by all.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use axum::http::response::Parts;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The body of a response that may go on for hours.
pub type LongBody = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;

/// Stands for a body that is sent by other ways. Its length is not known.
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

/// A bare socket and what is to be sent on it. It ends with the body, or with the peer.
pub struct DetachedStream<S> {
    io: S,
    body: LongBody,
    unsent: Bytes,
    is_over: bool,
}

impl<S> DetachedStream<S> {
    /// Goes on with a response whose head has not been sent yet.
    pub fn new(io: S, head: &Parts, body: LongBody) -> Self {
        Self { io, body, unsent: encode(head), is_over: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> DetachedStream<S> {
    /// Whether the peer is still there. What it sends after its request is not asked for, and dropped.
    fn poll_peer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = [0; 256];
        loop {
            let mut dropped = ReadBuf::new(&mut dropped);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut dropped));
            if read.is_err() || dropped.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }

    /// Sends what there is to send; ready when there will be no more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            while !self.unsent.is_empty() {
                match ready!(Pin::new(&mut self.io).poll_write(cx, &self.unsent)) {
                    Ok(sent) if sent > 0 => self.unsent.advance(sent),
                    _ => return Poll::Ready(()),
                }
            }
            if !self.is_over {
                match self.body.as_mut().poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.unsent = frame.into_data().unwrap_or_default();
                        continue;
                    }
                    Poll::Ready(None) => self.is_over = true,
                    // Over TLS, what was written may be waiting in a buffer.
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

impl<S: AsyncRead + AsyncWrite + Unpin> Future for DetachedStream<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_peer(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_send(cx)
    }
}

/// The head of a response, as it stands on the wire.
#[expect(
    clippy::disallowed_methods,
    reason = "the date of an answer is the wall clock's, whatever leases go by"
)]
pub(super) fn encode(head: &Parts) -> Bytes {
    let mut text = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let date = httpdate::fmt_http_date(SystemTime::now());
    text.extend_from_slice(format!("connection: close\r\ndate: {date}\r\n\r\n").as_bytes());
    text.into()
}
