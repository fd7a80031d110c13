//! What is said to a client whose request could not be read. The HTTP machinery would say a bare status by itself; the
//! application says it in its own form, and counts and names it as every answer.

use axum::{body::Body, http::Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::detach::encode;

/// Why a request could not be read; an extension of the request that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It is no HTTP.
    Malformed,
    /// Its head is larger than [`super::connection::MAX_HEAD`].
    TooLarge,
}

impl Unreadable {
    /// What the HTTP machinery means by its status.
    pub(super) fn from_status(status: u16) -> Self {
        if matches!(status, 414 | 431) { Self::TooLarge } else { Self::Malformed }
    }
}

/// What is read at most of a client that goes on sending what was refused.
const LINGER_BYTES: usize = 1 << 20;

/// Sends an answer, and reads on for a while: a socket that is closed with bytes unread takes back what it has sent. How
/// long it may take is the caller's to say.
pub async fn send(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: Response<Body>) {
    let (head, body) = answer.into_parts();
    let Ok(body) = body.collect().await else { return };
    let bytes = [&encode(&head)[..], &body.to_bytes()].concat();
    if socket.write_all(&bytes).await.is_err() || socket.shutdown().await.is_err() {
        return;
    }
    let (mut dropped, mut read) = ([0; 4096], 0);
    while read < LINGER_BYTES {
        match socket.read(&mut dropped).await {
            Ok(more) if more > 0 => read += more,
            _ => return,
        }
    }
}
