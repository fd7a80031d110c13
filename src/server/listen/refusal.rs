//! Responses to requests that hyper cannot read. hyper itself would send a bare status. Instead the application
//! responds with a problem, which is counted and gets a request id like every response.

use axum::{body::Body, http::Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::detach::encode;

/// Why a request could not be read. An extension of the empty request that replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadableRequest {
    /// The request is not valid HTTP.
    Malformed,
    /// The request head is larger than [`super::connection::MAX_HEAD_BYTES`], or has more than 100 header lines.
    TooLarge,
}

impl UnreadableRequest {
    /// The reason for hyper's status.
    pub(super) fn from_status(status: u16) -> Self {
        if matches!(status, 414 | 431) { Self::TooLarge } else { Self::Malformed }
    }
}

/// The most bytes that are read from a client that keeps sending after the refusal.
const MAX_LINGER_BYTES: usize = 1 << 20;

/// Sends a response, then reads and discards until the client closes. Closing a socket with unread bytes resets the
/// connection, and the client may lose the response. The caller sets the timeout.
pub async fn send(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), response: Response<Body>) {
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return };
    let bytes = [&encode(&head)[..], &body.to_bytes()].concat();
    if socket.write_all(&bytes).await.is_err() || socket.shutdown().await.is_err() {
        return;
    }
    let (mut discarded, mut read) = ([0; 4096], 0);
    while read < MAX_LINGER_BYTES {
        match socket.read(&mut discarded).await {
            Ok(more) if more > 0 => read += more,
            _ => return,
        }
    }
}
