//! Detects the HTTP version of a connection without TLS from its first bytes.

use std::io::Result;

use bytes::BytesMut;
use tokio::io::AsyncRead;

use super::socket;

/// The first bytes of an HTTP/2 connection with prior knowledge (RFC 9113, section 3.3), as proxies open them.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Reads until the version is known. Returns the bytes that were read, and whether they start HTTP/2.
///
/// # Errors
/// Errors of the socket.
pub(super) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Result<(BytesMut, bool)> {
    let mut start = BytesMut::new();
    while start.len() < PREFACE.len() && PREFACE.starts_with(&start) {
        if socket::read(socket, &mut start).await? == 0 {
            break;
        }
    }
    let is_http2 = start.starts_with(PREFACE);
    Ok((start, is_http2))
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::sleep,
    };

    use super::*;

    #[tokio::test]
    async fn the_preface_is_recognized_in_any_pieces_and_returned() {
        for (sent, is_http2) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
            ("PRI * HTTP/1.1\r\n", false),
            ("POST / HTTP/1.1\r\n", false),
            ("GET / HTTP/1.1\r\n", false),
            ("PRI", false),
            ("", false),
        ] {
            for piece in [1, 3, 100] {
                let (mut client, mut server) = duplex(1024);
                let write = async {
                    for piece in sent.as_bytes().chunks(piece) {
                        client.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    client.shutdown().await.unwrap();
                };
                let (read, ()) = tokio::join!(read(&mut server), write);
                let (mut start, found) = read.unwrap();
                assert_eq!(found, is_http2, "{sent:?}");
                while server.read_buf(&mut start).await.unwrap() > 0 {}
                assert_eq!(start, sent.as_bytes());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_one_byte_and_waits_is_not_polled_again() {
        let (mut client, mut server) = duplex(64);
        client.write_all(b"P").await.unwrap();
        let (mut reading, mut polls) = (pin!(read(&mut server)), 0);
        let counted = poll_fn(|cx| {
            polls += 1;
            reading.as_mut().poll(cx)
        });
        tokio::select! {
            _ = counted => unreachable!("the read waits"),
            () = sleep(Duration::from_secs(3600)) => {}
        }
        // Once at the start, and once when the timer fires.
        assert!(polls <= 2, "{polls} polls");
    }
}
