//! One connection: finds out what it speaks, serves its requests, and lets go of streams.

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
    connection_info::{ConnectionInfo, UnderWay},
    detach::{DetachedStream, LongBody},
    preface,
    refusal::{self, Unreadable},
    watched::Watched,
};

/// How long a request's head may take, from its first byte to its last; and a TLS handshake.
pub const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may stay open without a request. Longer than proxies keep theirs (nginx: 60 s, Caddy: 120 s), so
/// that none of them sends a request into a connection that is just being closed.
pub const IDLE_LIMIT: Duration = Duration::from_secs(150);

/// How often a connection is looked at for the two limits above.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The largest head of a request. Browsers' are about 1 KB.
pub const MAX_HEAD: usize = 16 * 1024;

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
        let mut socket = socket;
        let (start, is_http2) = serve.soon(preface::read(&mut socket)).await?.ok()?;
        if is_http2 {
            http2(socket, start, peer, &serve).await;
            return None;
        }
        return http1(socket, start, peer, &serve).await;
    };
    let socket = serve.soon(tls.accept(socket)).await?.ok()?;
    if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(socket, Vec::new(), peer, &serve).await;
        return None;
    }
    http1(socket, Vec::new(), peer, &serve).await
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

async fn http1<S>(
    socket: S,
    start: Vec<u8>,
    peer: SocketAddr,
    serve: &Serve,
) -> Option<BoxFuture<'static, ()>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let link = ConnectionInfo::new(peer, true);
    let leaving = Arc::new(Mutex::new(None));
    let service = service_fn(|request: Request<Incoming>| {
        let (link, leaving, wants_body) = (link.clone(), Arc::clone(&leaving), request.method() != "HEAD");
        let response = respond(serve, &link, request);
        Box::pin(async move {
            // The request is over with its response.
            let (response, _) = response.await;
            match link.parked() {
                Some(body) if wants_body => *leaving.lock() = Some((response.into_parts().0, body)),
                _ => return Ok::<_, Infallible>(response),
            }
            // From here on the connection is not hyper's any more; see below.
            std::future::pending().await
        })
    });
    let io = Watched::new(TokioIo::new(socket), start, link.clone());
    let mut connection =
        http1::Builder::new().max_buf_size(MAX_HEAD).header_read_timeout(None).serve_connection(io, service);
    let mut look = look();
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
    let mut socket = connection.into_parts().io.into_inner().into_inner();
    if let Some((head, body)) = stream {
        return Some(Box::pin(DetachedStream::new(socket, &head, body)));
    }
    if let Some(status) = link.refused() {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Unreadable::from_status(status));
        let (answer, _) = respond(serve, &link, request).await;
        let _gone = timeout(HEAD_LIMIT, refusal::send(&mut socket, answer)).await;
        return None;
    }
    let _gone = timeout(HEAD_LIMIT, socket.shutdown()).await;
    None
}

async fn http2<S>(socket: S, start: Vec<u8>, peer: SocketAddr, serve: &Serve)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let link = ConnectionInfo::new(peer, false);
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(serve, &link, request);
        async move {
            let (response, under_way) = response.await;
            Ok::<_, Infallible>(response.map(|body| Counted { body, _under_way: under_way }))
        }
    });
    let io = Watched::new(TokioIo::new(socket), start, link.clone());
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CONCURRENT)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .serve_connection(io, service)
    );
    let mut look = look();
    let mut is_ending = false;
    loop {
        tokio::select! {
            _over = &mut connection => return,
            () = serve.end.cancelled(), if !is_ending => {}
            _ = look.tick() => match link.is_overdue() {
                false => continue,
                true if is_ending => return, // it was told so and has not gone
                true => {}
            },
        }
        is_ending = true;
        connection.as_mut().graceful_shutdown();
    }
}

/// When to look whether a connection is overdue.
fn look() -> Interval {
    interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY)
}

/// The application's answer to a request, which is under way as long as the second part is held. A panic ends that request
/// and nothing else.
fn respond<B>(
    serve: &Serve,
    link: &ConnectionInfo,
    mut request: Request<B>,
) -> impl Future<Output = (Response<Body>, UnderWay)> + Send + use<B>
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let under_way = link.begins();
    request.extensions_mut().insert(link.clone());
    let response = AssertUnwindSafe(serve.app.clone().call(request)).catch_unwind();
    let panicked = Arc::clone(&serve.panicked);
    async move {
        let response = match response.await {
            Ok(Ok(response)) => response,
            Err(_panic) => panicked(),
        };
        (response, under_way)
    }
}

/// A body that keeps its request under way.
struct Counted {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Counted {
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
