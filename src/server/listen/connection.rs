//! Serves one connection: detects the protocol, and lets `http1` or `http2` serve the requests and streams.

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{Request, Response},
};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::{
    connection_info::{ConnectionInfo, InFlight},
    direct::DirectCalls,
    http1, http2, preface,
    unread::CHECK_INTERVAL,
};
use crate::server::limits::{Concurrent, Proxies};

/// How long a request head may take from its first byte to its last, and how long a TLS handshake may take.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may stay open without a request. Longer than proxies keep idle connections (nginx: 60 s,
/// Caddy: 120 s), so that no proxy sends a request on a connection that is being closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(150);

/// The largest request head, in bytes. Heads of browsers have about 1 KB.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What all connections of an application share.
pub struct Serve {
    /// The application.
    pub app: Router,
    /// Its calls that connections answer themselves.
    pub direct: DirectCalls,
    /// The response to a request whose handler panicked.
    pub on_panic: Arc<dyn Fn() -> Response<Body> + Send + Sync>,
    /// TLS, if this server terminates it.
    pub tls: Option<TlsAcceptor>,
    /// Whether a connection ends after its first response. Over HTTP/1 the application does this, by `Connection: close`.
    pub is_refusal: bool,
    /// Limits what each address has asked for and not taken yet, in bytes.
    pub unread: Concurrent,
    /// The proxies that are exempt from this.
    pub proxies: Proxies,
    /// Called when this limit refuses a request.
    pub on_unread: Arc<dyn Fn() + Send + Sync>,
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
///
/// What few connections need is boxed, so that it takes no memory of the others.
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
            Box::pin(http2::serve(socket, start, peer, &serve)).await;
            return None;
        }
        return http1::serve(socket, start, peer, &serve, guard).await;
    };
    let socket = serve.within_head_timeout(tls.accept(socket)).await?.ok()?;
    if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(http2::serve(socket, BytesMut::new(), peer, &serve)).await;
        return None;
    }
    http1::serve(socket, BytesMut::new(), peer, &serve, guard).await
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

/// The interval at which a connection is checked for its timeouts.
pub(super) fn check_interval() -> Interval {
    let mut interval = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
    // Checks that were missed while the machine was asleep must not follow at once: clients have had no time to read.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Runs the application for a request. The request is in flight while the returned guard is held. A panic ends this
/// request only.
pub(super) fn respond<B>(
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
