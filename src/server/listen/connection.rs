//! Serves one connection: detects the protocol, handles the requests, and hands streams over to [`DetachedStream`].

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{Request, Response, response::Parts},
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http_body::{Frame, SizeHint};
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
    time::{Instant, Interval, interval_at, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::{
    connection_info::{ConnectionInfo, InFlight},
    detach::{DetachedStream, LongBody},
    preface,
    refusal::{self, UnreadableRequest},
    watched::Watched,
};

/// How long a request head may take from its first byte to its last, and how long a TLS handshake may take.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may stay open without a request. Longer than proxies keep idle connections (nginx: 60 s,
/// Caddy: 120 s), so that no proxy sends a request on a connection that is being closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(150);

/// How often a connection is checked for these two timeouts.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The largest request head, in bytes. Heads of browsers have about 1 KB.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How often HTTP/2 connections are pinged, and how long the response to a ping may take.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The most concurrent requests of an HTTP/2 connection.
const MAX_CONCURRENT_REQUESTS: u32 = 250;

/// What all connections of an application share.
pub struct Serve {
    /// The application.
    pub app: Router,
    /// The response to a request whose handler panicked.
    pub on_panic: Arc<dyn Fn() -> Response<Body> + Send + Sync>,
    /// TLS, if this server terminates it.
    pub tls: Option<TlsAcceptor>,
    /// Canceled at shutdown.
    pub shutdown: CancellationToken,
}

/// Serves a connection until it ends.
pub async fn run(socket: TcpStream, peer: SocketAddr, serve: Arc<Serve>) {
    // A stream may stay open for hours. Everything that requests needed is freed before it is awaited.
    if let Some(stream) = Box::pin(serve_requests(socket, peer, serve)).await {
        stream.await;
    }
}

/// Serves requests. Returns the rest of the connection if the response to one of them is a detached stream.
async fn serve_requests(
    socket: TcpStream,
    peer: SocketAddr,
    serve: Arc<Serve>,
) -> Option<BoxFuture<'static, ()>> {
    let Some(tls) = &serve.tls else {
        let mut socket = socket;
        let (start, is_http2) = serve.within_head_timeout(preface::read(&mut socket)).await?.ok()?;
        if is_http2 {
            http2(socket, start, peer, &serve).await;
            return None;
        }
        return http1(socket, start, peer, &serve).await;
    };
    let socket = serve.within_head_timeout(tls.accept(socket)).await?.ok()?;
    if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(socket, Vec::new(), peer, &serve).await;
        return None;
    }
    http1(socket, Vec::new(), peer, &serve).await
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
) -> Option<BoxFuture<'static, ()>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
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
                Pin::new(&mut connection).graceful_shutdown();
            }
            _ = check.tick() => if info.is_overdue() { break None },
        }
    };
    let mut socket = connection.into_parts().io.into_inner().into_inner();
    if let Some((head, body)) = stream {
        return Some(Box::pin(DetachedStream::new(socket, &head, body)));
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
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(serve, &info, request);
        async move {
            let (response, in_flight) = response.await;
            Ok::<_, Infallible>(response.map(|body| TrackedBody { body, _in_flight: in_flight }))
        }
    });
    let io = Watched::new(TokioIo::new(socket), start, info.clone());
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CONCURRENT_REQUESTS)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .serve_connection(io, service)
    );
    let mut check = check_interval();
    let mut is_shutting_down = false;
    loop {
        tokio::select! {
            _ended = &mut connection => return,
            () = serve.shutdown.cancelled(), if !is_shutting_down => {}
            _ = check.tick() => match info.is_overdue() {
                false => continue,
                true if is_shutting_down => return, // the client has ignored GOAWAY
                true => {}
            },
        }
        is_shutting_down = true;
        connection.as_mut().graceful_shutdown();
    }
}

/// The interval at which a connection is checked for its timeouts.
fn check_interval() -> Interval {
    interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL)
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

/// A response body that keeps its request in flight until it is dropped.
struct TrackedBody {
    body: Body,
    _in_flight: InFlight,
}

impl HttpBody for TrackedBody {
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
