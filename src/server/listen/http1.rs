//! Serves a connection over HTTP/1. It answers [direct calls](super::direct) itself. hyper takes over when another request
//! comes, and gives the connection back after the response.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    ops::ControlFlow::{self, Break, Continue},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use axum::{
    body::Body,
    http::{Request, Response, Version, header, response::Parts},
};
use bytes::{Buf, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use http_body_util::BodyExt;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    task::yield_now,
    time::{Interval, timeout},
};
use tokio_util::sync::WaitForCancellationFuture;

use super::{
    connection::{HEAD_TIMEOUT, MAX_HEAD_BYTES, Serve, check_interval, respond},
    connection_info::ConnectionInfo,
    detach::{LongBody, StreamSocket},
    refusal::{self, UnreadableRequest},
    response_head, socket,
    watched::Watched,
};

/// More than a response to a direct call has, in bytes.
const RESPONSE_BYTES: usize = 1024;

/// Serves requests until the connection ends. Returns the rest of the connection if the response to one of them is a
/// detached stream. `unread` has already been read from the socket.
pub(super) async fn serve<S: StreamSocket>(
    mut socket: S,
    mut unread: BytesMut,
    peer: SocketAddr,
    serve: &Serve,
    guard: impl Send + Unpin + 'static,
) -> Option<BoxFuture<'static, ()>> {
    let shutdown = pin!(serve.shutdown.cancelled());
    let info = ConnectionInfo::new(peer, true);
    let mut connection = Connection { serve, info, shutdown, check: check_interval() };
    loop {
        if connection.answer_direct_calls(&mut socket, &mut unread).await.is_break() {
            let _closed = timeout(HEAD_TIMEOUT, socket.shutdown()).await;
            return None;
        }
        // Boxed, because hyper takes far more memory than direct calls.
        match Box::pin(connection.run_hyper(socket, unread)).await {
            Some(Next::DirectCalls(same_socket, rest)) => {
                (socket, unread) = (same_socket, rest);
                // hyper pauses after some pipelined requests, so that other tasks can run. A new hyper would not.
                yield_now().await;
            }
            Some(Next::Stream(socket, head, body)) => return socket.send_stream(&head, body, guard),
            None => return None,
        }
    }
}

/// What is done with a connection after hyper.
enum Next<S> {
    /// Further requests are read. These bytes have been read already.
    DirectCalls(S, BytesMut),
    /// A stream is sent.
    Stream(S, Parts, LongBody),
}

/// The state of a connection beside its socket.
struct Connection<'a, 's> {
    serve: &'s Serve,
    info: ConnectionInfo,
    shutdown: Pin<&'a mut WaitForCancellationFuture<'s>>,
    check: Interval,
}

impl Connection<'_, '_> {
    /// Answers direct calls until another request comes, or the connection ends (`Break`).
    async fn answer_direct_calls(
        &mut self,
        socket: &mut impl StreamSocket,
        unread: &mut BytesMut,
    ) -> ControlFlow<()> {
        loop {
            // Some clients send an empty line after a body. It is ignored (RFC 9112, section 2.2).
            while unread.starts_with(b"\r\n") {
                unread.advance(2);
            }
            if unread.is_empty() {
                self.read(socket, unread).await?;
            }
            let Some(answer) = self.serve.direct.take(unread, &self.info) else { return Continue(()) };
            self.info.note_direct_call();
            let response = match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(response) => response,
                Err(_panic) => whole((self.serve.on_panic)()).await,
            };
            let is_last = self.serve.shutdown.is_cancelled();
            if send(socket, response, is_last).await.is_err() || is_last {
                return Break(());
            }
        }
    }

    /// Waits for a request, and reads what there is of it.
    async fn read(&mut self, socket: &mut impl StreamSocket, unread: &mut BytesMut) -> ControlFlow<()> {
        loop {
            tokio::select! {
                biased;
                read = socket::read(socket, unread) => {
                    if !matches!(read, Ok(length) if length > 0) {
                        return Break(());
                    }
                    self.info.note_received();
                    return Continue(());
                }
                () = self.shutdown.as_mut() => return Break(()),
                _ = self.check.tick() => {
                    if self.info.is_overdue() {
                        return Break(());
                    }
                    *unread = BytesMut::new();
                }
            }
        }
    }

    /// Lets hyper serve requests. `None` if the connection has ended.
    async fn run_hyper<S: StreamSocket>(&mut self, socket: S, unread: BytesMut) -> Option<Next<S>> {
        let (serve, info) = (self.serve, &self.info);
        let detached = Arc::new(Mutex::new(None));
        let service = service_fn(|request: Request<Incoming>| {
            let (info, detached, wants_body) =
                (info.clone(), Arc::clone(&detached), request.method() != "HEAD");
            let is_plain = is_plain(&request);
            let response = respond(serve, &info, request);
            Box::pin(async move {
                // Dropping the guard ends the request: in HTTP/1 it ends with the response head.
                let (response, _) = response.await;
                match info.take_detached() {
                    Some(body) if wants_body => *detached.lock() = Some((response.into_parts().0, body)),
                    _ => return Ok::<_, Infallible>(info.track(response, is_plain)),
                }
                // The loop below takes the socket from hyper, so hyper must not get a response.
                std::future::pending().await
            })
        });
        let io = Watched::new(TokioIo::new(socket), unread, info.clone());
        let mut connection = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .header_read_timeout(None)
            // A client that has sent its request may close its half.
            .half_close(true)
            .serve_connection(io, service);
        let mut is_shutting_down = false;
        let end = loop {
            tokio::select! {
                biased;
                end = poll_fn(|cx| {
                    let is_over = connection.poll_without_shutdown(cx).is_ready();
                    match detached.lock().take() {
                        Some((head, body)) => Poll::Ready(End::Stream(head, body)),
                        None if is_over => Poll::Ready(End::Over),
                        None if !is_shutting_down && info.is_at_rest() => Poll::Ready(End::Rest),
                        None => Poll::Pending,
                    }
                }) => break end,
                () = self.shutdown.as_mut(), if !is_shutting_down => {
                    is_shutting_down = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                _ = self.check.tick() => if info.is_overdue() { break End::Over },
            }
        };
        let parts = connection.into_parts();
        let (socket, unread) = parts.io.into_parts();
        let mut socket = socket.into_inner();
        match (end, info.refused()) {
            (End::Stream(head, body), _) => return Some(Next::Stream(socket, head, body)),
            (End::Rest, _) => {
                let mut received = BytesMut::from(parts.read_buf);
                received.unsplit(unread);
                return Some(Next::DirectCalls(socket, received));
            }
            (End::Over, Some(status)) => {
                let mut request = Request::new(Body::empty());
                request.extensions_mut().insert(UnreadableRequest::from_status(status));
                let (response, _) = respond(serve, info, request).await;
                let _closed = timeout(HEAD_TIMEOUT, refusal::send(&mut socket, response)).await;
            }
            (End::Over, None) => {
                let _closed = timeout(HEAD_TIMEOUT, socket.shutdown()).await;
            }
        }
        None
    }
}

/// How hyper's part of a connection ends.
enum End {
    /// A response is to be sent as a stream.
    Stream(Parts, LongBody),
    /// hyper has served all that it has received, and holds nothing that is to be sent.
    Rest,
    /// The connection ends.
    Over,
}

/// Whether the connection can be taken from hyper after the response: the request has no body, of which hyper could have
/// received a part only, and nothing asks for the connection to be closed.
fn is_plain(request: &Request<Incoming>) -> bool {
    let mut connection = request.headers().get_all(header::CONNECTION).iter();
    request.version() == Version::HTTP_11
        && request.body().is_end_stream()
        && connection.all(|value| value.as_bytes().eq_ignore_ascii_case(b"keep-alive"))
}

/// Sends a response.
async fn send(socket: &mut impl StreamSocket, response: Response<Vec<u8>>, is_last: bool) -> io::Result<()> {
    let (head, body) = response.into_parts();
    let mut bytes = Vec::with_capacity(RESPONSE_BYTES);
    response_head::write(&mut bytes, head.status, &head.headers, Some(body.len()), is_last);
    bytes.extend_from_slice(&body);
    socket.write_all(&bytes).await?;
    socket.flush().await
}

/// A response with its whole body in memory.
async fn whole(response: Response<Body>) -> Response<Vec<u8>> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_or_else(|_| Vec::new(), |body| body.to_bytes().to_vec());
    Response::from_parts(head, body)
}
