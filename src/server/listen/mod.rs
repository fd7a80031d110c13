//! The listener: accepts connections and serves each until it ends.
//!
//! Promises:
//! - A slow client cannot hold a connection: a request head must arrive within [`connection::HEAD_TIMEOUT`], an idle
//!   connection is closed after [`connection::IDLE_TIMEOUT`], and the kernel closes the connection of a peer that has
//!   vanished or stopped reading ([`socket`]).
//! - A client that asks over HTTP/2 and does not take the answers is dropped, and what the answers of an address hold has
//!   a bound ([`unread`]).
//! - The listener keeps accepting after errors. When connections run out, up to 32 more at a time get a 503; when file
//!   descriptors run out, one at a time. `/healthz` still works on them.
//! - Connections over the limit of their address get a 429, up to 32 at a time.
//! - A refused connection ends after its first response, or after [`REFUSAL_TIMEOUT`]. An address has at most three of them
//!   at a time, so it cannot keep the others from a response. Further connections are closed at once.
//! - Short calls that pages make all the time are answered without hyper ([`direct`]).
//! - An open stream costs a socket and a few hundred bytes: it is detached from hyper ([`detach`]).
//! - At shutdown, connections finish the requests in flight and accept no more.

pub mod connection;
pub mod connection_info;
pub mod detach;
pub mod direct;
mod held;
mod http1;
mod http2;
mod preface;
pub mod refusal;
mod response_head;
pub mod socket;
pub mod tls;
mod tls_stream;
mod tracked;
pub mod unread;
mod watched;

use std::{
    fs::File,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, response::Response};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    connection::Serve,
    connection_info::ConnectionInfo,
    detach::LongBody,
    direct::DirectCalls,
    held::HeldBody,
    refusal::UnreadableRequest,
    tls::{Tls, TlsError},
};
use super::limits::{Concurrent, Connections, Proxies};

/// File descriptors reserved for everything except connections: the store, files, logs.
const RESERVED_FILES: usize = 64;

/// Connections over each limit that are accepted to get an error response. Further connections are closed at once.
const MAX_REFUSALS: usize = 32;

/// The most of them of one address. A browser opens several connections at once. An IPv6 /48, which may have eight times as
/// much, cannot take all.
const MAX_REFUSALS_PER_ADDRESS: u32 = 3;

/// How long a refused connection may take.
pub const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection on the spare descriptor may take.
const SPARE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long connections may take to finish at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// The applications for connections within and over the limits.
pub struct Apps {
    /// The application.
    pub app: Router,
    /// Its calls that connections answer themselves.
    pub direct: DirectCalls,
    /// The application for connections over the node's limit.
    pub overloaded: Router,
    /// The application for connections over the limit of their address.
    pub limit_reached: Router,
    /// The response to a request whose panic the application did not catch.
    pub on_panic: Arc<dyn Fn() -> Response + Send + Sync>,
    /// Called when a request is refused because its address has not taken its answers.
    pub on_unread: Arc<dyn Fn() + Send + Sync>,
    /// The limit of connections per address.
    pub connections: Connections,
    /// The trusted proxies. They are exempt from limits per address, because each carries many clients.
    pub proxies: Proxies,
}

/// A bound listening socket.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    /// The most open connections.
    capacity: usize,
}

impl Listener {
    /// Binds the address, and raises the limit of open files as far as the system allows. Port 0 takes a free port.
    ///
    /// # Errors
    /// When the address cannot be bound, or the limit of open files cannot be read.
    pub fn bind(addr: SocketAddr, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let files = rlimit::increase_nofile_limit(u64::MAX)?;
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let capacity = files.saturating_sub(RESERVED_FILES + MAX_REFUSALS).max(1);
        Ok(Self { tcp: socket::listen(addr)?, tls, capacity })
    }

    /// The bound address.
    ///
    /// # Errors
    /// When the system does not return it.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The most open connections.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Serves until `shutdown` is canceled. Returns when all connections have ended, or 5 s later.
    pub async fn serve(self, apps: Apps, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let unread = Concurrent::new(unread::ADDRESS_BYTES);
        let serve = |app, direct, is_refusal| {
            Arc::new(Serve {
                app,
                direct,
                on_panic: Arc::clone(&apps.on_panic),
                tls: self.tls.clone(),
                is_refusal,
                unread: unread.clone(),
                proxies: apps.proxies.clone(),
                on_unread: Arc::clone(&apps.on_unread),
                shutdown: shutdown.clone(),
            })
        };
        let app = serve(apps.app, apps.direct, false);
        let overloaded = serve(apps.overloaded, DirectCalls::default(), true);
        let limit_reached = serve(apps.limit_reached, DirectCalls::default(), true);
        let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
        let refusals_by_address = Connections::new(MAX_REFUSALS_PER_ADDRESS, apps.proxies.clone());
        let mut spare = Spare::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let open = connections.len();
                    let has_room = open < self.capacity;
                    if has_room && let Some(permit) = apps.connections.permit(peer) {
                        let guard = (connections.token(), permit);
                        tokio::spawn(connection::run(socket, peer, Arc::clone(&app), guard));
                        continue;
                    }
                    let Some(permit) = refusals_by_address.permit(peer) else { continue };
                    let (app, place) = if has_room {
                        let Ok(place) = Arc::clone(&refusals).try_acquire_owned() else { continue };
                        (&limit_reached, Some(place))
                    } else if open < self.capacity + MAX_REFUSALS {
                        (&overloaded, None)
                    } else {
                        continue;
                    };
                    let guard = (connections.token(), permit, place);
                    let refused = connection::run(socket, peer, Arc::clone(app), guard);
                    tokio::spawn(timeout(REFUSAL_TIMEOUT, refused));
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    spare.log(&error);
                    if let Some((socket, peer)) = spare.accept(&self.tcp).await {
                        let connection = connection::run(socket, peer, Arc::clone(&overloaded), ());
                        let _timed_out = timeout(SPARE_TIMEOUT, connection).await;
                        spare.reserve();
                    } else {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop(self.tcp);
        connections.close();
        if timeout(SHUTDOWN_GRACE, connections.wait()).await.is_err() {
            tracing::warn!(open = connections.len(), "closing connections that did not finish in time");
        }
    }
}

/// Whether an error of `accept` concerns one connection only, which ended before it was accepted.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A spare file descriptor. When descriptors run out, it is closed to accept one more connection, which would otherwise
/// wait in the kernel's queue without a response.
struct Spare {
    file: Option<File>,
    logged: Option<Instant>,
}

impl Spare {
    fn new() -> Self {
        let mut spare = Self { file: None, logged: None };
        spare.reserve();
        spare
    }

    /// Accepts a connection with the spare descriptor, if a connection is waiting.
    async fn accept(&mut self, tcp: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
        self.file.take();
        let accepted = timeout(ACCEPT_PAUSE, tcp.accept()).await.ok().and_then(Result::ok);
        if accepted.is_none() {
            self.reserve();
        }
        accepted
    }

    fn reserve(&mut self) {
        self.file = File::open("/dev/null").ok();
    }

    /// Logs an error, at most once a second.
    fn log(&mut self, error: &io::Error) {
        if self.logged.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            tracing::warn!(%error, "accept failed");
            self.logged = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
