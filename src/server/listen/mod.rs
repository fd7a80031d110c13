//! The server's door: accepts connections and sees each to its end.
//!
//! Promises:
//! - Nobody holds a connection by being slow: a request's head has [`connection::HEAD_LIMIT`] to arrive, an idle connection
//!   is closed, and a peer that has vanished or stopped reading is found out by the kernel ([`socket`]).
//! - Accepting goes on through every error. When connections or file descriptors run out, who comes is told so with a 503,
//!   and health is still answered.
//! - One address holds no more connections than it may; who comes beyond is told so, or closed at once.
//! - An open stream costs a socket and a few hundred bytes: it leaves the HTTP machinery once its head is sent ([`park`]).
//! - When it ends, connections finish the request they are in, and no more.

pub mod connection;
pub mod connection_info;
pub mod detach;
mod preface;
pub mod refusal;
pub mod socket;
pub mod tls;
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
    refusal::Unreadable,
    tls::{Tls, TlsError},
};
use super::limits::Connections;

/// Descriptors that are kept for other things than connections: the store, files, logs.
const RESERVED_FILES: usize = 64;

/// Connections that are taken beyond each limit, to be told that it is reached. Others are closed at once.
const BUSY_SEATS: usize = 32;

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection may take when there is no descriptor left but this one.
const LAST_DESCRIPTOR_LIMIT: Duration = Duration::from_millis(500);

/// How long connections have to finish when the server ends.
const GRACE: Duration = Duration::from_secs(7);

/// What is served.
pub struct Apps {
    /// The application.
    pub app: Router,
    /// What those get who come when there is no place left.
    pub busy: Router,
    /// What those get whose address has too many connections.
    pub crowded: Router,
    /// What those get whose request ended in a panic that the application has not caught.
    pub panicked: Arc<dyn Fn() -> Response + Send + Sync>,
    /// How many connections each address may have.
    pub connections: Connections,
}

/// An address that is listened on.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    /// The most connections at a time.
    capacity: usize,
}

impl Listener {
    /// Listens, and raises the limit of open files as far as the system lets it. Port 0 takes a free port.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub fn bind(addr: SocketAddr, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let files = rlimit::increase_nofile_limit(u64::MAX)?;
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        let capacity = files.saturating_sub(RESERVED_FILES + BUSY_SEATS).max(1);
        Ok(Self { tcp: socket::listen(addr)?, tls, capacity })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The most connections that it holds at a time.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Serves until `end`. Returns when the last connection has ended, or the grace is over.
    pub async fn serve(self, apps: Apps, end: CancellationToken) {
        let connections = TaskTracker::new();
        let serve = |app| {
            Arc::new(Serve {
                app,
                panicked: Arc::clone(&apps.panicked),
                tls: self.tls.clone(),
                end: end.clone(),
            })
        };
        let (app, busy, crowded) = (serve(apps.app), serve(apps.busy), serve(apps.crowded));
        let crowded_seats = Arc::new(Semaphore::new(BUSY_SEATS));
        let mut spare = Spare::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = end.cancelled() => break,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let open = connections.len();
                    if open < self.capacity {
                        if let Some(place) = apps.connections.place(peer) {
                            connections
                                .spawn(holding(place, connection::run(socket, peer, Arc::clone(&app))));
                        } else if let Ok(permit) = Arc::clone(&crowded_seats).try_acquire_owned() {
                            connections
                                .spawn(holding(permit, connection::run(socket, peer, Arc::clone(&crowded))));
                        }
                    } else if open < self.capacity + BUSY_SEATS {
                        connections.spawn(connection::run(socket, peer, Arc::clone(&busy)));
                    }
                }
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    spare.complain(&error);
                    if let Some((socket, peer)) = spare.accept(&self.tcp).await {
                        let told = connection::run(socket, peer, Arc::clone(&busy));
                        let _too_slow = timeout(LAST_DESCRIPTOR_LIMIT, told).await;
                        spare.keep();
                    } else {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop(self.tcp);
        connections.close();
        if timeout(GRACE, connections.wait()).await.is_err() {
            tracing::warn!(open = connections.len(), "connections that did not finish in time were cut off");
        }
    }
}

/// A connection that holds its place to its end.
async fn holding(place: impl Send, connection: impl Future<Output = ()>) {
    connection.await;
    drop(place);
}

/// An error of one connection, gone before it was accepted; the next may be well.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A descriptor kept for the day on which there is none left: given up, it lets one more connection in, which would
/// otherwise wait in the kernel's queue without an answer.
struct Spare {
    file: Option<File>,
    complained: Option<Instant>,
}

impl Spare {
    fn new() -> Self {
        let mut spare = Self { file: None, complained: None };
        spare.keep();
        spare
    }

    /// Accepts one connection with the descriptor that was kept, if there is one to accept.
    async fn accept(&mut self, tcp: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
        self.file.take();
        let accepted = timeout(ACCEPT_PAUSE, tcp.accept()).await.ok().and_then(Result::ok);
        if accepted.is_none() {
            self.keep();
        }
        accepted
    }

    fn keep(&mut self) {
        self.file = File::open("/dev/null").ok();
    }

    /// Logs the error, once a second at most.
    fn complain(&mut self, error: &io::Error) {
        if self.complained.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            tracing::warn!(%error, "a connection could not be accepted");
            self.complained = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
