//! Serves one connection: detects the protocol, handles the requests, and hands streams over to [`StreamSocket`].
//!
//! Over HTTP/2 a connection has many requests at the same time. [`Untaken`] bounds what they hold.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{Request, Response, response::Parts},
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use h2::Reason;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::{
    connection_info::{ConnectionInfo, InFlight},
    detach::{LongBody, StreamSocket},
    held::CHUNK_BYTES,
    preface,
    refusal::{self, UnreadableRequest},
    tracked::TrackedBody,
    untaken::{CHECK_INTERVAL, REQUEST_BYTES, Untaken},
    watched::Watched,
};
use crate::server::limits::{Concurrent, Proxies};

/// How long a request head may take from its first byte to its last, and how long a TLS handshake may take.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may stay open without a request. Longer than proxies keep idle connections (nginx: 60 s,
/// Caddy: 120 s), so that no proxy sends a request on a connection that is being closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(150);

/// The largest request head, in bytes. Heads of browsers have about 1 KB.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How often HTTP/2 connections are pinged, and how long the response to a ping may take.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The most concurrent requests of an HTTP/2 connection. Fewer would slow clients down (RFC 9113, section 6.5.2).
const MAX_CONCURRENT_REQUESTS: u32 = 100;

/// How much of its request bodies a client may send over HTTP/2 before they are read, in bytes: of one request, and of all
/// requests of a connection.
const BODY_WINDOW: u32 = 64 * 1024;
const BODIES_WINDOW: u32 = 128 * 1024;

/// What all connections of an application share.
pub struct Serve {
    /// The application.
    pub app: Router,
    /// The response to a request whose handler panicked.
    pub on_panic: Arc<dyn Fn() -> Response<Body> + Send + Sync>,
    /// TLS, if this server terminates it.
    pub tls: Option<TlsAcceptor>,
    /// Whether a connection ends after its first response. Over HTTP/1 the application does this, by `Connection: close`.
    pub is_refusal: bool,
    /// Limits what each address has asked for and not taken yet, in bytes.
    pub untaken: Concurrent,
    /// The proxies that are exempt from this.
    pub proxies: Proxies,
    /// Called when this limit refuses a request.
    pub on_untaken: Arc<dyn Fn() + Send + Sync>,
    /// Canceled at shutdown.
    pub shutdown: CancellationToken,
}

/// A connection that is being served. It fits into the smallest task, which is all that an open stream costs beside its own
/// state and its socket.
pub enum Connection {
    /// Requests are served.
    Requests(BoxFuture<'static, Option<BoxFuture<'static, ()>>>),
    /// A detached stream is sent.
    Stream(BoxFuture<'static, ()>),
}

/// Serves a connection until it ends. `guard` is dropped then.
pub fn run(
    socket: TcpStream,
    peer: SocketAddr,
    serve: Arc<Serve>,
    guard: impl Send + Unpin + 'static,
) -> Connection {
    Connection::Requests(Box::pin(serve_requests(socket, peer, serve, guard)))
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Requests(requests) = &mut *self {
            let Some(stream) = ready!(requests.as_mut().poll(cx)) else { return Poll::Ready(()) };
            // The stream may stay open for hours. Everything that requests needed is freed here.
            *self = Self::Stream(stream);
        }
        match &mut *self {
            Self::Requests(_) => Poll::Pending,
            Self::Stream(stream) => stream.as_mut().poll(cx),
        }
    }
}

/// Serves requests. Returns the rest of the connection if the response to one of them is a detached stream.
async fn serve_requests(
    socket: TcpStream,
    peer: SocketAddr,
    serve: Arc<Serve>,
    guard: impl Send + Unpin + 'static,
) -> Option<BoxFuture<'static, ()>> {
    let Some(tls) = &serve.tls else {
        let mut socket = socket;
        let (start, is_http2) = serve.within_head_timeout(preface::read(&mut socket)).await?.ok()?;
        if is_http2 {
            http2(socket, start, peer, &serve).await;
            return None;
        }
        return http1(socket, start, peer, &serve, guard).await;
    };
    let socket = serve.within_head_timeout(tls.accept(socket)).await?.ok()?;
    if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(socket, Vec::new(), peer, &serve).await;
        return None;
    }
    http1(socket, Vec::new(), peer, &serve, guard).await
}

impl Serve {
    /// Waits for a step of connection setup. Returns `None` on timeout and at shutdown.
    async fn within_head_timeout<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = timeout(HEAD_TIMEOUT, step) => done.ok(),
            () = self.shutdown.cancelled() => None,
        }
    }
}

async fn http1<S>(
    socket: S,
    start: Vec<u8>,
    peer: SocketAddr,
    serve: &Serve,
    guard: impl Send + Unpin + 'static,
) -> Option<BoxFuture<'static, ()>>
where
    S: StreamSocket,
{
    let info = ConnectionInfo::new(peer, true);
    let detached = Arc::new(Mutex::new(None));
    let service = service_fn(|request: Request<Incoming>| {
        let (info, detached, wants_body) = (info.clone(), Arc::clone(&detached), request.method() != "HEAD");
        let response = respond(serve, &info, request);
        Box::pin(async move {
            // Dropping the guard ends the request: in HTTP/1 it ends with the response head.
            let (response, _) = response.await;
            match info.take_detached() {
                Some(body) if wants_body => *detached.lock() = Some((response.into_parts().0, body)),
                _ => return Ok::<_, Infallible>(response),
            }
            // The loop below takes the socket from hyper, so hyper must not get a response.
            std::future::pending().await
        })
    });
    let io = Watched::new(TokioIo::new(socket), start, info.clone());
    let mut connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .header_read_timeout(None)
        // A client that has sent its request may close its half.
        .half_close(true)
        .serve_connection(io, service);
    let mut check = check_interval();
    let mut is_shutting_down = false;
    let stream: Option<(Parts, LongBody)> = loop {
        tokio::select! {
            biased;
            stream = poll_fn(|cx| {
                let is_over = connection.poll_without_shutdown(cx).is_ready();
                match detached.lock().take() {
                    None if !is_over => Poll::Pending,
                    stream => Poll::Ready(stream),
                }
            }) => break stream,
            () = serve.shutdown.cancelled(), if !is_shutting_down => {
                is_shutting_down = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
            _ = check.tick() => if info.is_overdue() { break None },
        }
    };
    let mut socket = connection.into_parts().io.into_inner().into_inner();
    if let Some((head, body)) = stream {
        return socket.send_stream(&head, body, guard);
    }
    if let Some(status) = info.refused() {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(UnreadableRequest::from_status(status));
        let (response, _) = respond(serve, &info, request).await;
        let _closed = timeout(HEAD_TIMEOUT, refusal::send(&mut socket, response)).await;
        return None;
    }
    let _closed = timeout(HEAD_TIMEOUT, socket.shutdown()).await;
    None
}

async fn http2<S>(socket: S, start: Vec<u8>, peer: SocketAddr, serve: &Serve)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let info = ConnectionInfo::new(peer, false);
    let is_proxy = serve.proxies.include(peer.ip());
    let untaken = Untaken::new((!is_proxy).then(|| (serve.untaken.clone(), peer.ip().into())));
    let has_request = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        has_request.store(true, Relaxed);
        let hold = untaken.hold(REQUEST_BYTES);
        let response = hold.map(|hold| (hold, respond(serve, &info, request)));
        let (untaken, on_untaken) = (Arc::clone(&untaken), Arc::clone(&serve.on_untaken));
        // Boxed, so that its memory is freed when the response begins. hyper's task for it lasts as long as a stream.
        Box::pin(async move {
            let response = match response {
                Some((hold, response)) => {
                    let (response, in_flight) = response.await;
                    TrackedBody::of(response, in_flight, hold, &untaken)
                }
                None => None,
            };
            // hyper resets the stream, so that nothing is held for it.
            response.ok_or_else(|| {
                on_untaken();
                h2::Error::from(Reason::ENHANCE_YOUR_CALM)
            })
        })
    });
    let io = Watched::new(TokioIo::new(socket), start, info.clone());
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CONCURRENT_REQUESTS)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
            .max_send_buf_size(CHUNK_BYTES)
            .initial_stream_window_size(BODY_WINDOW)
            .initial_connection_window_size(BODIES_WINDOW)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .serve_connection(io, service)
    );
    let mut check = check_interval();
    let mut is_shutting_down = false;
    loop {
        let is_refused = poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(_ended) => Poll::Ready(false),
            Poll::Pending if serve.is_refusal && !is_shutting_down && has_request.load(Relaxed) => {
                Poll::Ready(true)
            }
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            is_refused = is_refused => if !is_refused { return },
            () = serve.shutdown.cancelled(), if !is_shutting_down => {}
            // On a slow link the parts of many answers wait for long, although all of them are read.
            _ = check.tick() => match (untaken.is_stalled() && !info.is_blocked(), info.is_overdue()) {
                (true, _) => return,
                (false, false) => continue,
                (false, true) if is_shutting_down => return, // the client has ignored GOAWAY
                (false, true) => {}
            },
        }
        is_shutting_down = true;
        connection.as_mut().graceful_shutdown();
    }
}

/// The interval at which a connection is checked for its timeouts.
fn check_interval() -> Interval {
    let mut interval = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
    // Checks that were missed while the machine was asleep must not follow at once: clients have had no time to read.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Runs the application for a request. The request is in flight while the returned guard is held. A panic ends this
/// request only.
fn respond<B>(
    serve: &Serve,
    info: &ConnectionInfo,
    mut request: Request<B>,
) -> impl Future<Output = (Response<Body>, InFlight)> + Send + use<B>
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let in_flight = info.start_request();
    request.extensions_mut().insert(info.clone());
    let response = AssertUnwindSafe(serve.app.clone().call(request)).catch_unwind();
    let on_panic = Arc::clone(&serve.on_panic);
    async move {
        let response = match response.await {
            Ok(Ok(response)) => response,
            Err(_panic) => on_panic(),
        };
        (response, in_flight)
    }
}
