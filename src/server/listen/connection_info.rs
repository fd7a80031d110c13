//! The state of one connection: its peer, its requests in flight, and the times for its timeouts.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    http::{Response, header},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    connection::{HEAD_TIMEOUT, IDLE_TIMEOUT},
    detach::{DetachedBody, LongBody},
};

/// The connection of a request. An extension of every request. Cloning is cheap.
#[derive(Clone)]
pub struct ConnectionInfo(Arc<InfoState>);

struct InfoState {
    peer: SocketAddr,
    /// HTTP/1 serves one request at a time, so a response body can be detached from hyper.
    is_http1: bool,
    /// The body that is to be detached from hyper.
    detached: Mutex<Option<LongBody>>,
    in_flight: AtomicU32,
    /// Whether the socket did not accept the last write.
    is_blocked: AtomicBool,
    /// HTTP/1: whether the application has responded and hyper has not yet written the head.
    has_pending_head: AtomicBool,
    /// HTTP/1: whether hyper has encoded all of the response to the last request, and could be at rest after that.
    has_responded: AtomicBool,
    /// The status of hyper's own response to an unreadable request, or 0.
    refused: AtomicU16,
    opened: Instant,
    /// Milliseconds from `opened` to the last activity: for HTTP/1 the last byte in or out, for HTTP/2 the last start
    /// or end of a request.
    active_at: AtomicU64,
    /// Milliseconds from `opened` to the first byte of an incomplete request head, or 0.
    head_at: AtomicU64,
}

impl ConnectionInfo {
    pub(super) fn new(peer: SocketAddr, is_http1: bool) -> Self {
        Self(Arc::new(InfoState {
            peer,
            is_http1,
            detached: Mutex::default(),
            in_flight: AtomicU32::new(0),
            is_blocked: AtomicBool::new(false),
            has_pending_head: AtomicBool::new(false),
            has_responded: AtomicBool::new(false),
            refused: AtomicU16::new(0),
            opened: Instant::now(),
            active_at: AtomicU64::new(0),
            head_at: AtomicU64::new(0),
        }))
    }

    /// The address of the peer: a browser or a proxy.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Whether the socket takes no more bytes at present. If it takes none for long, the kernel closes the connection.
    pub(super) fn is_blocked(&self) -> bool {
        self.0.is_blocked.load(Relaxed)
    }

    /// The response body for a stream that may stay open for hours. Over HTTP/1 it is detached from hyper if the socket
    /// is not blocked; otherwise hyper sends it.
    pub fn long_body(&self, body: LongBody) -> Body {
        if self.0.is_http1 && !self.is_blocked() {
            *self.0.detached.lock() = Some(body);
            Body::new(DetachedBody)
        } else {
            Body::new(body)
        }
    }

    /// Takes the body that is to be detached from hyper.
    pub(super) fn take_detached(&self) -> Option<LongBody> {
        self.0.detached.lock().take()
    }

    /// Milliseconds since `opened`, at least 1: 0 means unset in `head_at`.
    fn now(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Notes that bytes were received. Over HTTP/2 received bytes are no sign of activity: idle clients respond to
    /// pings.
    pub(super) fn note_received(&self) {
        if !self.0.is_http1 {
            return;
        }
        let now = self.now();
        self.0.active_at.store(now, Relaxed);
        if self.0.in_flight.load(Relaxed) == 0 && self.0.head_at.load(Relaxed) == 0 {
            self.0.head_at.store(now, Relaxed);
        }
    }

    /// Notes that bytes were sent, or that the socket accepted none.
    pub(super) fn note_sent(&self, is_blocked: bool) {
        self.0.is_blocked.store(is_blocked, Relaxed);
        if self.0.is_http1 && !is_blocked {
            self.0.active_at.store(self.now(), Relaxed);
        }
    }

    /// Notes whether something that was sent is still buffered, because the socket did not accept it.
    pub(super) fn note_flushed(&self, is_blocked: bool) {
        self.0.is_blocked.store(is_blocked, Relaxed);
    }

    /// Notes that a whole request was received, which hyper does not see.
    pub(super) fn note_direct_call(&self) {
        self.0.head_at.store(0, Relaxed);
    }

    /// Starts a request. It is in flight until the guard is dropped.
    pub(super) fn start_request(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Relaxed);
        self.0.head_at.store(0, Relaxed);
        self.0.has_responded.store(false, Relaxed);
        InFlight(self.clone())
    }

    /// Whether the application has responded and hyper has not yet written the head.
    pub(super) fn has_pending_head(&self) -> bool {
        self.0.has_pending_head.load(Relaxed)
    }

    /// Notes that the head of the application's response has been written.
    pub(super) fn note_head_sent(&self) {
        self.0.has_pending_head.store(false, Relaxed);
    }

    /// Notes that hyper has refused an unreadable request.
    pub(super) fn note_refused(&self, status: u16) {
        self.0.refused.store(status, Relaxed);
    }

    /// The status of hyper's refusal, if there was one.
    pub(super) fn refused(&self) -> Option<u16> {
        Some(self.0.refused.load(Relaxed)).filter(|status| *status > 0)
    }

    /// Wraps the body of hyper's response, to notice when hyper has encoded it. `is_plain`: whether hyper could be at rest
    /// after that.
    pub(super) fn track(&self, response: Response<Body>, is_plain: bool) -> Response<EncodedBody> {
        let is_plain = is_plain && !response.headers().contains_key(header::CONNECTION);
        response.map(|body| EncodedBody { body, connection: is_plain.then(|| self.clone()) })
    }

    /// HTTP/1: whether hyper has sent all responses, and has received no part of another request from the socket. To be
    /// called between two polls of hyper.
    pub(super) fn is_at_rest(&self) -> bool {
        self.0.has_responded.load(Relaxed)
            && !self.is_blocked()
            && self.0.in_flight.load(Relaxed) == 0
            && self.0.head_at.load(Relaxed) == 0
    }

    /// Whether the connection has exceeded [`HEAD_TIMEOUT`] or [`IDLE_TIMEOUT`].
    pub(super) fn is_overdue(&self) -> bool {
        let over =
            |since: u64, limit: Duration| u128::from(self.now().saturating_sub(since)) >= limit.as_millis();
        match self.0.head_at.load(Relaxed) {
            _ if self.0.in_flight.load(Relaxed) > 0 => false,
            0 => over(self.0.active_at.load(Relaxed), IDLE_TIMEOUT),
            since => over(since, HEAD_TIMEOUT),
        }
    }
}

/// The guard of a request in flight. It is dropped when the application has responded (HTTP/1), or when the client has
/// taken the response (HTTP/2).
pub(super) struct InFlight(ConnectionInfo);

impl Drop for InFlight {
    fn drop(&mut self) {
        let info = &self.0;
        if info.0.is_http1 {
            info.0.has_pending_head.store(true, Relaxed);
        } else {
            info.0.active_at.store(info.now(), Relaxed);
        }
        info.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The body of a response over HTTP/1. hyper drops it when it has encoded all of it.
pub(super) struct EncodedBody {
    body: Body,
    /// The connection, if hyper could be at rest then.
    connection: Option<ConnectionInfo>,
}

impl HttpBody for EncodedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for EncodedBody {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.0.has_responded.store(true, Relaxed);
        }
    }
}
