//! A socket whose traffic is taken note of. What was read before the HTTP machinery began comes first; and what that
//! machinery says by itself to a head that it can't read is held back, so that the application can say it.

use std::{
    io::{IoSlice, Result},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::connection_info::ConnectionInfo;

/// The socket.
pub struct Watched<T> {
    io: T,
    /// What is still to be read of the bytes that were read before; without an allocation once it is.
    start: Vec<u8>,
    link: ConnectionInfo,
}

impl<T> Watched<T> {
    /// Watches a socket of which `start` was read already.
    pub fn new(io: T, start: Vec<u8>, link: ConnectionInfo) -> Self {
        Self { io, start, link }
    }

    /// The socket alone.
    pub fn into_inner(self) -> T {
        self.io
    }

    /// Whether these bytes are to be held back: the head of a refusal that the application knows nothing of.
    fn holds_back(&self, bytes: &[u8]) -> bool {
        let Some(status) = status(bytes).filter(|status| (400..500).contains(status)) else { return false };
        let is_foreign = !self.link.is_owed();
        if is_foreign {
            self.link.refuse(status);
        }
        is_foreign
    }

    fn sent(&self, first: &[u8], sent: &Poll<Result<usize>>) {
        self.link.sent(sent.is_pending());
        if sent.is_ready() && status(first).is_some_and(|status| status >= 200) {
            self.link.paid();
        }
    }
}

/// The status of an answer that begins here.
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
            self.start.drain(..fits);
            if self.start.is_empty() {
                self.start = Vec::new();
            }
            self.link.received();
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.link.received();
        }
        read
    }
}

impl<T: Write + Unpin> Write for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.holds_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let sent = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.sent(bytes, &sent);
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
        if self.holds_back(first) {
            return Poll::Ready(Ok(bytes.iter().map(|bytes| bytes.len()).sum()));
        }
        let sent = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.sent(first, &sent);
        sent
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
