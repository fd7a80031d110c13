//! What is known of one connection: whose it is, which requests are under way, and since when it has been silent.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::body::Body;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    connection::{HEAD_LIMIT, IDLE_LIMIT},
    detach::{DetachedBody, LongBody},
};

/// What a handler may know of the connection that its request came by; an extension of every request.
#[derive(Clone)]
pub struct ConnectionInfo(Arc<InfoState>);

struct InfoState {
    peer: SocketAddr,
    /// One request at a time has the connection to itself, so that its response can leave the HTTP machinery.
    is_http1: bool,
    parked: Mutex<Option<LongBody>>,
    /// Requests that are being answered.
    under_way: AtomicU32,
    /// What was to be written last did not fit into the socket.
    is_blocked: AtomicBool,
    /// The application has answered, and the head of its answer is still to be written.
    is_owed: AtomicBool,
    /// The status by which the HTTP machinery has refused what it could not read, or 0.
    refused: AtomicU16,
    opened: Instant,
    /// Milliseconds from `opened` to the last byte in or out (HTTP/2: to the last begin or end of a request), and to the
    /// first byte of a head that is not complete (or 0).
    active_at: AtomicU64,
    head_at: AtomicU64,
}

impl ConnectionInfo {
    pub(super) fn new(peer: SocketAddr, is_http1: bool) -> Self {
        Self(Arc::new(InfoState {
            peer,
            is_http1,
            parked: Mutex::default(),
            under_way: AtomicU32::new(0),
            is_blocked: AtomicBool::new(false),
            is_owed: AtomicBool::new(false),
            refused: AtomicU16::new(0),
            opened: Instant::now(),
            active_at: AtomicU64::new(0),
            head_at: AtomicU64::new(0),
        }))
    }

    /// Whose connection it is: a browser's, or a proxy's.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// The body of a response that may go on for hours: taken out of the HTTP machinery if that can be, else as it is.
    pub fn long_body(&self, body: LongBody) -> Body {
        if self.0.is_http1 && !self.0.is_blocked.load(Relaxed) {
            *self.0.parked.lock() = Some(body);
            Body::new(DetachedBody)
        } else {
            Body::new(body)
        }
    }

    /// The body that is to leave the HTTP machinery.
    pub(super) fn parked(&self) -> Option<LongBody> {
        self.0.parked.lock().take()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Bytes came in. Over HTTP/2 they say little: pings are answered for ever.
    pub(super) fn received(&self) {
        if !self.0.is_http1 {
            return;
        }
        let now = self.now();
        self.0.active_at.store(now, Relaxed);
        if self.0.under_way.load(Relaxed) == 0 && self.0.head_at.load(Relaxed) == 0 {
            self.0.head_at.store(now, Relaxed);
        }
    }

    /// Bytes went out, or found no place.
    pub(super) fn sent(&self, is_blocked: bool) {
        self.0.is_blocked.store(is_blocked, Relaxed);
        if self.0.is_http1 && !is_blocked {
            self.0.active_at.store(self.now(), Relaxed);
        }
    }

    /// A request is being answered, until what this returns is dropped.
    pub(super) fn begins(&self) -> UnderWay {
        self.0.under_way.fetch_add(1, Relaxed);
        self.0.head_at.store(0, Relaxed);
        UnderWay(self.clone())
    }

    /// Whether the application has an answer on its way.
    pub(super) fn is_owed(&self) -> bool {
        self.0.is_owed.load(Relaxed)
    }

    /// The head of the application's answer is written.
    pub(super) fn paid(&self) {
        self.0.is_owed.store(false, Relaxed);
    }

    /// The HTTP machinery has refused what it could not read.
    pub(super) fn refuse(&self, status: u16) {
        self.0.refused.store(status, Relaxed);
    }

    /// The status of that refusal.
    pub(super) fn refused(&self) -> Option<u16> {
        Some(self.0.refused.load(Relaxed)).filter(|status| *status > 0)
    }

    /// Whether the peer has kept the connection waiting for too long.
    pub(super) fn is_overdue(&self) -> bool {
        let over =
            |since: u64, limit: Duration| u128::from(self.now().saturating_sub(since)) >= limit.as_millis();
        match self.0.head_at.load(Relaxed) {
            _ if self.0.under_way.load(Relaxed) > 0 => false,
            0 => over(self.0.active_at.load(Relaxed), IDLE_LIMIT),
            since => over(since, HEAD_LIMIT),
        }
    }
}

/// A request that is being answered: over HTTP/1.1 until there is a response, over HTTP/2 until its body has ended.
pub(super) struct UnderWay(ConnectionInfo);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let link = &self.0;
        if link.0.is_http1 {
            link.0.is_owed.store(true, Relaxed);
        } else {
            link.0.active_at.store(link.now(), Relaxed);
        }
        link.0.under_way.fetch_sub(1, Relaxed);
    }
}
