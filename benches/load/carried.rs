//! Streams as a proxy or a browser carries them: each over its own TLS connection, or many over one HTTP/2 connection.
//! A helper process holds them until its input ends. It only opens and reads them; deliveries are not timed.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clap::ValueEnum;
use futures::future::{join_all, try_join_all};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{Result, calls, conn, process::Scratch};

/// The streams of one HTTP/2 connection.
const PER_CONNECTION: u32 = 100;

/// The maximum number of connections that are being opened.
const OPENING: usize = 128;

/// The begin of the response with a stream.
const OK: &[u8] = b"HTTP/1.1 200";

/// The timeout for opening all streams.
const PATIENCE: Duration = Duration::from_secs(150);

/// What carries a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Carrier {
    /// A connection for each stream
    Plain,
    /// A TLS connection for each stream
    Tls,
    /// An HTTP/2 connection without TLS for every 100 streams
    Http2,
}

impl Carrier {
    /// The end of the name of a row.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Tls => " over TLS",
            Self::Http2 => " over HTTP/2, 100 a connection",
        }
    }
}

/// A certificate for the loopback address.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    pub fn make(scratch: &Scratch) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let (cert, key) = (scratch.path("cert.pem"), scratch.path("key.pem"));
        std::fs::write(&cert, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Self { cert, key })
    }
}

/// Open streams in a helper process. Dropping it closes them.
pub struct Carried(Child);

impl Carried {
    /// Opens streams and waits for the first event on each. `certificate` is that of the server, for TLS.
    pub fn open(addr: SocketAddr, streams: u32, carrier: Carrier, certificate: &Path) -> Result<Self> {
        let carrier = carrier.to_possible_value().ok_or("no such carrier")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["carry", &addr.to_string(), "--streams", &streams.to_string()]);
        command.args(["--over", carrier.get_name(), "--certificate"]).arg(certificate);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("a helper has no pipes")?;
        let held = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() != "open" {
            return Err(format!("not all {streams} streams are open: {line}").into());
        }
        Ok(held)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        // Both fail if the process has already exited.
        let _exited = self.0.kill();
        let _exited = self.0.wait();
    }
}

/// The streams to hold.
#[derive(Debug, Clone, clap::Args)]
pub struct Carry {
    addr: SocketAddr,
    #[arg(long)]
    streams: u32,
    #[arg(long)]
    over: Carrier,
    /// The certificate of the server.
    #[arg(long)]
    certificate: PathBuf,
}

/// Opens the streams, prints `open` or the first error, and holds them until the end of input.
pub fn run(carry: &Carry) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let opened = runtime.block_on(async { timeout(PATIENCE, carry.open()).await? });
    match opened {
        Ok(()) => println!("open"),
        Err(error) => println!("{error}"),
    }
    // The streams are read by tasks of the runtime.
    runtime.block_on(async {
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().count());
        let _ended = ended.await;
    });
    Ok(())
}

impl Carry {
    async fn open(&self) -> Result<()> {
        let permits = Arc::new(Semaphore::new(OPENING));
        let connector = match self.over {
            Carrier::Tls => Some(connector(&self.certificate)?),
            Carrier::Plain | Carrier::Http2 => None,
        };
        let per_connection = if self.over == Carrier::Http2 { PER_CONNECTION } else { 1 };
        let connections = (0..self.streams).step_by(per_connection as usize).map(|first| {
            let (permits, connector) = (Arc::clone(&permits), connector.clone());
            let streams = per_connection.min(self.streams - first);
            async move {
                let _permit = permits.acquire().await?;
                let socket = conn::socket(first)?;
                socket.set_nonblocking(true)?;
                let socket = tokio::net::TcpSocket::from_std_stream(socket.into()).connect(self.addr).await?;
                match (self.over, connector) {
                    (Carrier::Http2, _) => open_http2(socket, streams).await,
                    (_, Some(connector)) => {
                        let name = ServerName::from(self.addr.ip());
                        open_http1(connector.connect(name, socket).await?).await
                    }
                    (_, None) => open_http1(socket).await,
                }
            }
        });
        try_join_all(connections).await.map(drop)
    }
}

fn connector(certificate: &Path) -> Result<TlsConnector> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn path() -> String {
    format!("/api/viewer/sse/{}", calls::channel(0))
}

/// Sends the request for a stream, waits for its first event, and leaves the rest to a task.
async fn open_http1<S: AsyncRead + AsyncWriteExt + Unpin + Send + 'static>(mut socket: S) -> Result<()> {
    socket.write_all(&calls::stream(&path())).await?;
    socket.flush().await?;
    let (mut received, mut piece) = (Vec::new(), [0; 2048]);
    while !is_first_event(&received) {
        match socket.read(&mut piece).await? {
            0 => return Err("the server closed a stream".into()),
            read => received.extend_from_slice(&piece[..read]),
        }
        if received.len() >= OK.len() && !received.starts_with(OK) {
            let head = String::from_utf8_lossy(&received);
            return Err(format!("a stream is refused: {}", head.lines().next().unwrap_or_default()).into());
        }
    }
    tokio::spawn(async move {
        let mut piece = [0; 512];
        while socket.read(&mut piece).await.is_ok_and(|read| read > 0) {}
    });
    Ok(())
}

async fn open_http2(socket: TcpStream, streams: u32) -> Result<()> {
    let (client, connection) = h2::client::handshake(socket).await?;
    tokio::spawn(async move {
        let _ended = connection.await;
    });
    let mut client = client.ready().await?;
    let mut bodies = Vec::new();
    for _ in 0..streams {
        let request = axum::http::Request::get(format!("http://load{}", path())).body(())?;
        let (response, _) = client.send_request(request, true)?;
        client = client.ready().await?;
        let response = response.await?;
        if response.status() != 200 {
            return Err(format!("a stream has status {}", response.status()).into());
        }
        let mut body = response.into_body();
        let first: Bytes = body.data().await.ok_or("the server closed a stream")??;
        body.flow_control().release_capacity(first.len())?;
        bodies.push(body);
    }
    tokio::spawn(async move {
        let _client = client;
        join_all(bodies.into_iter().map(|mut body| async move {
            while let Some(Ok(data)) = body.data().await {
                if body.flow_control().release_capacity(data.len()).is_err() {
                    return;
                }
            }
        }))
        .await;
    });
    Ok(())
}

/// Whether the response has an event with a count.
fn is_first_event(received: &[u8]) -> bool {
    let text = String::from_utf8_lossy(received);
    text.contains("\"count\":") && text.ends_with("\n")
}
