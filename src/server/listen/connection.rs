//! One connection: finds out what it speaks, serves its requests, and lets go of streams.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, response::Parts},
};
use futures::{FutureExt, future::BoxFuture};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, interval_at, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::park::{Elsewhere, LongBody, Parked};

/// How long a request's head may take, from its first byte to its last; and a TLS handshake.
pub const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may stay open without a request. Longer than proxies keep theirs (nginx: 60 s, Caddy: 120 s), so
/// that none of them sends a request into a connection that is just being closed.
pub const IDLE_LIMIT: Duration = Duration::from_secs(150);

/// How often a connection is looked at for the two limits above.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The largest head of a request. Browsers' are about 1 KB.
const MAX_HEAD: usize = 16 * 1024;

/// How often HTTP/2 connections are probed, and how long the answer may take.
const PING: Duration = Duration::from_secs(20);

/// Requests of one HTTP/2 connection at a time.
const MAX_CONCURRENT: u32 = 250;

/// What all connections are served with.
pub struct Serve {
    /// The application.
    pub app: Router,
    /// What is answered to a request whose handler has panicked.
    pub panicked: Arc<dyn Fn() -> Response<Body> + Send + Sync>,
    /// Whether, and how, to speak TLS.
    pub tls: Option<TlsAcceptor>,
    /// When to come to an end.
    pub end: CancellationToken,
}

/// What a handler may know of the connection that its request came by; an extension of every request.
#[derive(Clone)]
pub struct Link(Arc<LinkState>);

struct LinkState {
    peer: SocketAddr,
    /// Whether a response can leave the HTTP machinery: over HTTP/1.1, where it has the connection to itself.
    may_park: bool,
    parked: Mutex<Option<LongBody>>,
    /// A request is being answered.
    is_busy: AtomicBool,
    /// What was to be written last did not fit into the socket.
    is_blocked: AtomicBool,
    opened: Instant,
    /// Milliseconds from `opened` to the last byte in or out, and to the first byte of a head that is not complete (or 0).
    active_at: AtomicU64,
    head_at: AtomicU64,
}

impl Link {
    fn new(peer: SocketAddr, may_park: bool) -> Self {
        Self(Arc::new(LinkState {
            peer,
            may_park,
            parked: Mutex::default(),
            is_busy: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
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
        if self.0.may_park && !self.0.is_blocked.load(Relaxed) {
            *self.0.parked.lock() = Some(body);
            Body::new(Elsewhere)
        } else {
            Body::new(body)
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn received(&self) {
        let now = self.now();
        self.0.active_at.store(now, Relaxed);
        if !self.0.is_busy.load(Relaxed) && self.0.head_at.load(Relaxed) == 0 {
            self.0.head_at.store(now, Relaxed);
        }
    }

    fn begins(&self) {
        self.0.is_busy.store(true, Relaxed);
        self.0.head_at.store(0, Relaxed);
    }

    /// Whether the peer has kept the connection waiting for too long.
    fn is_overdue(&self) -> bool {
        let over = |since: u64, limit: Duration| u128::from(self.now() - since) >= limit.as_millis();
        match self.0.head_at.load(Relaxed) {
            _ if self.0.is_busy.load(Relaxed) => false,
            0 => over(self.0.active_at.load(Relaxed), IDLE_LIMIT),
            since => over(since, HEAD_LIMIT),
        }
    }
}

/// Serves a connection to its end.
pub async fn run(socket: TcpStream, peer: SocketAddr, serve: Arc<Serve>) {
    // What a conversation needs is freed before a stream goes on for hours.
    if let Some(stream) = Box::pin(converse(socket, peer, serve)).await {
        stream.await;
    }
}

/// Serves requests. If one of them is answered by a stream that has the connection to itself, returns what is left to do.
async fn converse(socket: TcpStream, peer: SocketAddr, serve: Arc<Serve>) -> Option<BoxFuture<'static, ()>> {
    let Some(tls) = &serve.tls else {
        if serve.soon(speaks_http2(&socket)).await? {
            http2(socket, peer, &serve).await;
            return None;
        }
        return http1(socket, peer, &serve).await;
    };
    let socket = serve.soon(tls.accept(socket)).await?.ok()?;
    if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(socket, peer, &serve).await;
        return None;
    }
    http1(socket, peer, &serve).await
}

impl Serve {
    /// What a client has to do before it can ask for anything; `None` if it takes too long.
    async fn soon<T>(&self, first: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            first = timeout(HEAD_LIMIT, first) => first.ok(),
            () = self.end.cancelled() => None,
        }
    }
}

/// Whether a client begins with HTTP/2 without having asked (prior knowledge, RFC 9113, section 3.3), as proxies do.
async fn speaks_http2(socket: &TcpStream) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0";
    let mut start = [0; PREFACE.len()];
    loop {
        match socket.peek(&mut start).await {
            Ok(length) if length > 0 && length < PREFACE.len() && start[..length] == PREFACE[..length] => {
                sleep(Duration::from_millis(5)).await;
            }
            Ok(length) => return length == PREFACE.len() && start == PREFACE,
            Err(_) => return false,
        }
    }
}

async fn http1<S>(socket: S, peer: SocketAddr, serve: &Serve) -> Option<BoxFuture<'static, ()>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let link = Link::new(peer, true);
    let leaving = Arc::new(Mutex::new(None));
    let service = service_fn(|request: Request<Incoming>| {
        let (link, leaving, wants_body) = (link.clone(), Arc::clone(&leaving), request.method() != "HEAD");
        let response = respond(serve, &link, request);
        Box::pin(async move {
            let response = response.await;
            link.0.is_busy.store(false, Relaxed);
            match link.0.parked.lock().take() {
                Some(body) if wants_body => *leaving.lock() = Some((response.into_parts().0, body)),
                _ => return Ok::<_, Infallible>(response),
            }
            // From here on the connection is not hyper's any more; see below.
            std::future::pending().await
        })
    });
    let io = Watched { io: TokioIo::new(socket), link: link.clone() };
    let mut connection =
        http1::Builder::new().max_buf_size(MAX_HEAD).header_read_timeout(None).serve_connection(io, service);
    let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    let mut is_ending = false;
    let stream: Option<(Parts, LongBody)> = loop {
        tokio::select! {
            biased;
            stream = poll_fn(|cx| {
                let is_over = connection.poll_without_shutdown(cx).is_ready();
                match leaving.lock().take() {
                    None if !is_over => Poll::Pending,
                    stream => Poll::Ready(stream),
                }
            }) => break stream,
            () = serve.end.cancelled(), if !is_ending => {
                is_ending = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            _ = look.tick() => if link.is_overdue() { break None },
        }
    };
    let mut socket = connection.into_parts().io.io.into_inner();
    if let Some((head, body)) = stream {
        return Some(Box::pin(Parked::new(socket, &head, body)));
    }
    let _gone = timeout(HEAD_LIMIT, socket.shutdown()).await;
    None
}

async fn http2<S>(socket: S, peer: SocketAddr, serve: &Serve)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let link = Link::new(peer, false);
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(serve, &link, request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CONCURRENT)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .serve_connection(TokioIo::new(socket), service)
    );
    tokio::select! {
        _over = &mut connection => return,
        () = serve.end.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _over = connection.await;
}

/// The application's answer to a request. A panic ends that request and nothing else.
fn respond(
    serve: &Serve,
    link: &Link,
    mut request: Request<Incoming>,
) -> impl Future<Output = Response<Body>> + Send + use<> {
    link.begins();
    request.extensions_mut().insert(link.clone());
    let response = AssertUnwindSafe(serve.app.clone().call(request)).catch_unwind();
    let panicked = Arc::clone(&serve.panicked);
    async move {
        match response.await {
            Ok(Ok(response)) => response,
            Err(_panic) => panicked(),
        }
    }
}

/// A socket whose traffic is taken note of.
struct Watched<T> {
    io: T,
    link: Link,
}

impl<T> Watched<T> {
    fn sent(&self, result: &Poll<std::io::Result<usize>>) {
        self.link.0.is_blocked.store(result.is_pending(), Relaxed);
        if result.is_ready() {
            self.link.0.active_at.store(self.link.now(), Relaxed);
        }
    }
}

impl<T: Read + Unpin> Read for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.link.received();
        }
        read
    }
}

impl<T: Write + Unpin> Write for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let sent = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.sent(&sent);
        sent
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let sent = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.sent(&sent);
        sent
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
