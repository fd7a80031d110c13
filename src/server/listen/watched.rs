//! The socket that hyper reads from and writes to.
//!
//! It first returns the bytes that were read before hyper started, and notes activity in [`ConnectionInfo`]. It
//! withholds hyper's own response to an unreadable request, so that the application can respond instead.

use std::{
    io::{IoSlice, Result},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::connection_info::ConnectionInfo;

/// A socket that notes its activity.
pub(super) struct Watched<T> {
    io: T,
    /// The bytes that were read before hyper started and that hyper has not read yet. Deallocated when empty.
    start: BytesMut,
    info: ConnectionInfo,
}

impl<T> Watched<T> {
    /// Wraps a socket from which `start` has already been read.
    pub(super) fn new(io: T, start: BytesMut, info: ConnectionInfo) -> Self {
        Self { io, start, info }
    }

    /// Unwraps the socket, and the bytes that hyper has not read yet.
    pub(super) fn into_parts(self) -> (T, BytesMut) {
        (self.io, self.start)
    }

    /// Whether to withhold these bytes: the head of a 4xx response that hyper sends itself.
    fn withholds(&self, bytes: &[u8]) -> bool {
        let Some(status) = status(bytes).filter(|status| (400..500).contains(status)) else { return false };
        let is_from_hyper = !self.info.has_pending_head();
        if is_from_hyper {
            self.info.note_refused(status);
        }
        is_from_hyper
    }

    fn note_sent(&self, first: &[u8], sent: &Poll<Result<usize>>) {
        self.info.note_sent(sent.is_pending());
        if sent.is_ready() && status(first).is_some_and(|status| status >= 200) {
            self.info.note_head_sent();
        }
    }
}

/// The status of a response that starts with these bytes.
fn status(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

impl<T: Read + Unpin> Read for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        if !self.start.is_empty() {
            let fits = self.start.len().min(buffer.remaining());
            buffer.put_slice(&self.start[..fits]);
            self.start.advance(fits);
            if self.start.is_empty() {
                self.start = BytesMut::new();
            }
            self.info.note_received();
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.info.note_received();
        }
        read
    }
}

impl<T: Write + Unpin> Write for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.withholds(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let sent = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note_sent(bytes, &sent);
        sent
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let first = bytes.iter().find(|bytes| !bytes.is_empty()).map_or(&[][..], |bytes| bytes);
        if self.withholds(first) {
            return Poll::Ready(Ok(bytes.iter().map(|bytes| bytes.len()).sum()));
        }
        let sent = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.note_sent(first, &sent);
        sent
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // TLS buffers what was written.
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.info.note_flushed(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
