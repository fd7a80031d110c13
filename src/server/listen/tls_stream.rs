//! The rest of a TLS connection on which only a stream is sent, without the state that rustls keeps for a whole
//! connection.
//!
//! A [`TlsStream`] takes several KB: buffers for both directions, and the keys and messages of the handshake. A stream
//! needs the key for sending, the number of the next record, and at most one record that the socket has not taken yet.
//! The records are still encrypted by rustls.
//!
//! What the client sends after its request is not decrypted. It could be an alert, a new key or another request, and each of
//! them ends the stream.

use std::{
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::http::response::Parts;
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use rustls::{
    ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite, Tls13CipherSuite,
    crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::detach::{DetachedStream, LongBody, StreamSocket, encode};

/// The largest plain text of a record, in bytes (RFC 8446, section 5.1).
const MAX_RECORD: usize = 16 * 1024;

/// How many reads discard what the client has sent.
const MAX_DISCARDED: usize = 64;

/// The content of the alert `close_notify` (RFC 8446, section 6.1).
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// The sending half of a TLS 1.3 connection. Reading from it waits until the client sends something or closes the
/// connection, and is then at the end.
pub(super) struct TlsSender {
    socket: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    /// The number of the next record.
    next: u64,
    /// The number of records for which the key is safe.
    limit: u64,
    /// The rest of a record that the socket has not taken yet.
    unsent: Bytes,
    is_closed: bool,
}

impl StreamSocket for TlsStream<TcpStream> {
    fn send_stream<G: Send + Unpin + 'static>(
        mut self,
        head: &Parts,
        body: LongBody,
        guard: G,
    ) -> Option<BoxFuture<'static, ()>> {
        let (socket, state) = self.get_mut();
        // The head is sent first, and with it whatever rustls has queued, such as an answer to a new key of the client.
        state.writer().write_all(&encode(head)).ok()?;
        while state.wants_write() && state.write_tls(&mut Ready(socket)).is_ok_and(|sent| sent > 0) {}
        match state.negotiated_cipher_suite() {
            Some(SupportedCipherSuite::Tls13(suite)) if !state.wants_write() => {
                let sender = TlsSender::take_over(self, suite)?;
                Some(Box::pin(DetachedStream::after_head(sender, body, guard)))
            }
            // Older than TLS 1.3, or the socket has no room.
            _ => Some(Box::pin(DetachedStream::after_head(self, body, guard))),
        }
    }
}

/// Writes what the socket takes at once.
struct Ready<'a>(&'a TcpStream);

impl io::Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsSender {
    /// Takes over a connection. `None` if rustls does not give its key away, which never happens with
    /// [`Tls::acceptor`](super::Tls::acceptor).
    fn take_over(connection: TlsStream<TcpStream>, suite: &Tls13CipherSuite) -> Option<Self> {
        let (socket, state) = connection.into_inner();
        let (next, secrets) = state.dangerous_extract_secrets().ok()?.tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            return None;
        };
        Some(Self {
            socket,
            encrypter: suite.aead_alg.encrypter(key, iv),
            next,
            limit: suite.common.confidentiality_limit,
            unsent: Bytes::new(),
            is_closed: false,
        })
    }

    /// Encrypts a record, which must be sent before the next one.
    fn encrypt(&mut self, typ: ContentType, payload: &[u8]) -> io::Result<()> {
        if self.next >= self.limit {
            return Err(io::Error::other("the key has been used for too many records"));
        }
        let version = ProtocolVersion::TLSv1_3;
        let plain = OutboundPlainMessage { typ, version, payload: OutboundChunks::Single(payload) };
        let record = self.encrypter.encrypt(plain, self.next).map_err(io::Error::other)?;
        self.next += 1;
        self.unsent = record.encode().into();
        Ok(())
    }

    /// Ready when the socket has taken every record.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.unsent.advance(sent),
            }
        }
        self.unsent = Bytes::new();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsSender {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(cx))?;
        let length = plain.len().min(MAX_RECORD);
        self.encrypt(ContentType::ApplicationData, &plain[..length])?;
        // What the socket does not take now is sent before the next record, or by a flush.
        if let Poll::Ready(sent) = self.poll_sent(cx) {
            sent?;
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        if !self.is_closed {
            self.is_closed = true;
            self.encrypt(ContentType::Alert, &CLOSE_NOTIFY)?;
            ready!(self.poll_sent(cx))?;
        }
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl AsyncRead for TlsSender {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plain: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = plain.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, plain))?;
        // What is left unread would make the kernel reset the connection instead of closing it.
        for _ in 0..MAX_DISCARDED {
            let is_end = plain.filled().len() == start;
            plain.set_filled(start);
            if is_end || Pin::new(&mut self.socket).poll_read(cx, plain).is_pending() {
                break;
            }
        }
        plain.set_filled(start);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc, time::Duration};

    use axum::http::Response;
    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use rustls::{
        ClientConfig, RootCertStore, SupportedProtocolVersion,
        crypto::{CryptoProvider, ring},
        pki_types::pem::PemObject,
        version::{TLS12, TLS13},
    };
    use tempfile::TempDir;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
        time::timeout,
    };
    use tokio_rustls::{TlsConnector, client};

    use super::*;
    use crate::server::listen::Tls;

    /// The longest wait for anything: far more than it takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Starts a stream to a client with these ciphers. The task ends with the stream.
    async fn stream_to(
        client: CryptoProvider,
        version: &'static SupportedProtocolVersion,
        body: LongBody,
    ) -> (client::TlsStream<TcpStream>, JoinHandle<()>) {
        stream_after(client, version, body, false).await
    }

    /// Starts a stream after a request, before which the client may ask for a new key.
    async fn stream_after(
        client: CryptoProvider,
        version: &'static SupportedProtocolVersion,
        body: LongBody,
        has_new_key: bool,
    ) -> (client::TlsStream<TcpStream>, JoinHandle<()>) {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        let acceptor = Tls::load(&certificate, &key).unwrap().acceptor().unwrap();
        let mut trusted = RootCertStore::empty();
        trusted.add(rustls::pki_types::CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(client))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(trusted)
            .with_no_client_auth();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let task = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut accepted = acceptor.accept(socket).await.unwrap();
            accepted.read_exact(&mut [0; 3]).await.unwrap();
            accepted.send_stream(&Response::new(()).into_parts().0, body, ()).unwrap().await;
        });
        let connector = TlsConnector::from(Arc::new(config));
        let mut client = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
        if has_new_key {
            client.get_mut().1.refresh_traffic_keys().unwrap();
        }
        client.write_all(b"GET").await.unwrap();
        (client, task)
    }

    /// A body of these frames, which then ends or stays open.
    fn body(frames: &[Bytes], is_open: bool) -> LongBody {
        let frames: Vec<_> = frames.iter().cloned().map(|bytes| Ok(Frame::data(bytes))).collect();
        let open = (0..u8::from(is_open)).map(|_| stream::pending::<Result<_, Infallible>>());
        Box::pin(StreamBody::new(stream::StreamExt::chain(
            stream::iter(frames),
            stream::StreamExt::flatten(stream::iter(open)),
        )))
    }

    #[tokio::test]
    async fn every_cipher_and_version_gets_all_frames_and_a_clean_end() {
        // Longer than a record and than what the socket takes at once.
        let frames = [Bytes::from_static(b"first"), Bytes::from(vec![b'x'; 8_000_001]), Bytes::from("last")];
        let ring = ring::default_provider();
        let suites = ring.cipher_suites.clone();
        assert!(suites.iter().filter(|suite| suite.tls13().is_some()).count() >= 3);
        for suite in suites {
            let version = if suite.tls13().is_some() { &TLS13 } else { &TLS12 };
            // The certificate's key is not of this kind.
            if format!("{:?}", suite.suite()).contains("_RSA_") {
                continue;
            }
            let provider = CryptoProvider { cipher_suites: vec![suite], ..ring.clone() };
            let (mut client, task) = stream_to(provider, version, body(&frames, false)).await;
            let mut received = Vec::new();
            let read = timeout(PATIENCE, client.read_to_end(&mut received)).await.expect("it ends");
            read.expect("the server says that it ends");
            timeout(PATIENCE, task).await.expect("the stream ends").unwrap();
            let head = received.len() - frames.iter().map(Bytes::len).sum::<usize>();
            assert!(
                received[..head].starts_with(b"HTTP/1.1 200 OK\r\n")
                    && received[..head].ends_with(b"\r\n\r\n")
            );
            assert!(received[head..] == frames.concat(), "{suite:?}");
        }
    }

    #[tokio::test]
    async fn it_ends_when_the_client_closes_the_connection_or_sends_something() {
        let ring = ring::default_provider();
        let suites = ring.cipher_suites.iter().filter(|suite| suite.tls13().is_some());
        for (suite, is_closed) in suites.flat_map(|suite| [(*suite, true), (*suite, false)]) {
            // The socket does not take all of it at once, and the body stays open after it.
            let frames = [Bytes::from(vec![b'x'; 8_000_001]), Bytes::from_static(b"last")];
            let provider = CryptoProvider { cipher_suites: vec![suite], ..ring.clone() };
            let (mut client, task) = stream_to(provider, &TLS13, body(&frames, true)).await;
            let mut text = Vec::new();
            while !text.ends_with(b"last") {
                assert!(timeout(PATIENCE, client.read_buf(&mut text)).await.unwrap().unwrap() > 0);
            }
            assert!(!task.is_finished());
            let sent =
                if is_closed { client.shutdown().await } else { client.write_all(&[b'x'; 1_000]).await };
            sent.unwrap();
            client.flush().await.unwrap();
            timeout(PATIENCE, task).await.expect("the stream ends").unwrap();
            let (socket, _) = client.get_mut();
            let end = timeout(PATIENCE, socket.read(&mut [0])).await.expect("it is closed");
            assert_eq!(end.expect("it is not reset"), 0);
        }
    }

    /// A client that asks for a new key gets an answer under the old one, which rustls sends with the next record.
    #[tokio::test]
    async fn a_new_key_of_the_client_is_answered_before_the_stream() {
        let frames = [Bytes::from_static(b"first")];
        let ring = ring::default_provider();
        let (mut client, task) = stream_after(ring, &TLS13, body(&frames, false), true).await;
        let mut text = Vec::new();
        timeout(PATIENCE, client.read_to_end(&mut text)).await.expect("it ends").unwrap();
        assert!(text.ends_with(b"first"));
        timeout(PATIENCE, task).await.expect("the stream ends").unwrap();
    }

    #[tokio::test]
    async fn a_key_is_used_for_a_limited_number_of_records() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let suite = ring::cipher_suite::TLS13_AES_256_GCM_SHA384.tls13().unwrap();
        let encrypter = suite.aead_alg.encrypter([0; 32].into(), [0; 12].into());
        let limit = suite.common.confidentiality_limit;
        let mut sender =
            TlsSender { socket, encrypter, next: limit - 1, limit, unsent: Bytes::new(), is_closed: false };
        sender.write_all(b"last").await.unwrap();
        sender.write_all(b"more").await.unwrap_err();
        drop(sender);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), 5 + 4 + 1 + 16, "one record: its header, the text, its type and the tag");
    }
}
