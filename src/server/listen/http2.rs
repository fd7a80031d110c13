//! Serves a connection over HTTP/2, by hyper. It has many requests at the same time; [`Unread`] bounds what they hold.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use axum::http::{HeaderMap, Request};
use bytes::BytesMut;
use h2::Reason;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    connection::{MAX_HEAD_BYTES, Serve, check_interval, respond},
    connection_info::ConnectionInfo,
    held::CHUNK_BYTES,
    refusal::UnreadableRequest,
    tracked::TrackedBody,
    unread::{HANDLING_BYTES, REQUEST_BYTES, Unread},
    watched::Watched,
};

/// How often HTTP/2 connections are pinged, and how long the response to a ping may take.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The most concurrent requests of an HTTP/2 connection. Fewer would slow clients down (RFC 9113, section 6.5.2).
const MAX_CONCURRENT_REQUESTS: u32 = 100;

/// The most header lines of a request, as hyper has it for HTTP/1. By its compression, a line takes one byte of the
/// connection and more than a hundred of memory.
const MAX_HEADERS: usize = 100;

/// How much of its request bodies a client may send over HTTP/2 before they are read, in bytes: of one request, and of all
/// requests of a connection.
const BODY_WINDOW: u32 = 64 * 1024;
const BODIES_WINDOW: u32 = 128 * 1024;

/// Marks a request with too many header lines, and frees their memory.
fn refuse_long_head<B>(request: &mut Request<B>) {
    if request.headers().len() > MAX_HEADERS {
        *request.headers_mut() = HeaderMap::new();
        request.extensions_mut().insert(UnreadableRequest::TooLarge);
    }
}

/// Serves requests until the connection ends. `start` has already been read from the socket.
pub(super) async fn serve<S>(socket: S, start: BytesMut, peer: SocketAddr, serve: &Serve)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let info = ConnectionInfo::new(peer, false);
    let is_proxy = serve.proxies.include(peer.ip());
    let unread = Unread::new((!is_proxy).then(|| (serve.unread.clone(), peer.ip().into())));
    let has_request = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        has_request.store(true, Relaxed);
        refuse_long_head(&mut request);
        let holds = unread.hold(REQUEST_BYTES).zip(unread.hold(HANDLING_BYTES));
        let response = holds.map(|holds| (holds, respond(serve, &info, request)));
        let (unread, on_unread) = (Arc::clone(&unread), Arc::clone(&serve.on_unread));
        // Boxed, so that its memory is freed when the response begins. hyper's task for it lasts as long as a stream.
        Box::pin(async move {
            let response = match response {
                Some(((hold, handling), response)) => {
                    let (response, in_flight) = response.await;
                    drop(handling);
                    TrackedBody::of(response, in_flight, hold, &unread)
                }
                None => None,
            };
            // hyper resets the stream, so that nothing is held for it.
            response.ok_or_else(|| {
                on_unread();
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
            _ = check.tick() => match (unread.is_stalled() && !info.is_blocked(), info.is_overdue()) {
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
