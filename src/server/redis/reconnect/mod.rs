//! A client that reconnects until it succeeds, with exponential backoff and jitter.
//!
//! Promises:
//! - A call waits at most [`CALL_LIMIT`] for its response, at most [`RECONNECT_WAIT`] for a connection, and is sent at
//!   most twice.
//! - Without a connection calls fail at once, except within [`RECONNECT_WAIT`] after the connection was lost. In that
//!   time they wait for the new connection, so a server that closes idle connections causes no errors.
//! - A call that times out fails alone. A PING then checks the connection, one at a time. Only a connection that does
//!   not respond to the PING within [`PROBE_LIMIT`] is replaced.
//! - At most [`MAX_CALLS`] calls wait for a response. Further calls fail at once.
//! - A call is retried once if its connection breaks. All calls are idempotent.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, aio::ConnectionLike, cmd};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::server::{backoff::jittered, store_error::StoreError, supervisor};

/// How long a call waits for its response.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(1);

/// How long a connection may take to respond to the PING after a timeout.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// The most calls that wait for a response.
const MAX_CALLS: usize = 2_048;

/// How long an attempt to connect may take.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long after the loss of a connection calls wait for a new one.
pub(super) const RECONNECT_WAIT: Duration = Duration::from_millis(500);

/// The first and the longest pause between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// After a connection that broke within this time, the next attempt waits up to as long.
const SHORT_LIFE: Duration = Duration::from_millis(500);

/// The interval between log lines while a server is unreachable.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

type ConnectFuture<C> = Pin<Box<dyn Future<Output = RedisResult<C>> + Send>>;

/// The health of a connection after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionHealth {
    /// The connection is not affected.
    Good,
    /// The connection can't be used any more.
    Broken,
}

/// Why a call failed.
pub enum CallError {
    /// The server has not loaded the script, so its source has to be sent.
    NoScript,
    /// Another server of the cluster has the slot. `host:port`; the host can be empty.
    Moved(String),
    /// The slot is being moved, and another server already has these keys. `host:port`; the host can be empty.
    Ask(String),
    /// The slot is being moved, and these keys are on two servers for a moment.
    Split,
    /// Too many calls wait for a response.
    Busy,
    /// Any other failure.
    Failed(StoreError),
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(error) => error,
            CallError::Busy => Self::Unreachable("too many calls in flight".to_owned()),
            CallError::NoScript => Self::unexpected(),
            CallError::Moved(_) | CallError::Ask(_) | CallError::Split => {
                Self::Refused("the server belongs to a cluster; name several of its servers".to_owned())
            }
        }
    }
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// A client with one connection, which a background task replaces when it breaks.
pub(super) struct ReconnectingClient<C> {
    shared: Arc<Shared<C>>,
    task: JoinHandle<()>,
    health_after: fn(&RedisError) -> ConnectionHealth,
}

struct Shared<C> {
    state: watch::Sender<State<C>>,
    /// The number of the last connection.
    last: AtomicU64,
    /// Notified when the connection has to be replaced.
    replace: Notify,
    /// A permit for each waiting call.
    permits: Semaphore,
    /// Whether a PING is in flight.
    is_probing: AtomicBool,
}

#[derive(Clone)]
enum State<C> {
    /// The connection and its number, which distinguishes it from later connections.
    Up(u64, C),
    /// No connection since this time.
    Down(Instant),
}

/// Reports a disconnection to a [`ReconnectingClient`] before a call fails.
#[derive(Clone, Default)]
pub(super) struct DisconnectNotifier(Arc<Notify>);

impl DisconnectNotifier {
    /// Reports that the connection has ended.
    pub(super) fn notify(&self) {
        self.0.notify_one();
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> ReconnectingClient<C> {
    /// Starts to connect, and keeps the connection up until the client is dropped. `name` appears in log lines.
    /// `health_after` classifies the errors of calls.
    pub(super) fn start(
        name: String,
        health_after: fn(&RedisError) -> ConnectionHealth,
        connect: impl Fn(DisconnectNotifier) -> ConnectFuture<C> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State::Down(Instant::now())),
            last: AtomicU64::new(0),
            replace: Notify::new(),
            permits: Semaphore::new(MAX_CALLS),
            is_probing: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            supervisor::run(&name, || keep_connected(&own, &name, &connect), || {}).await;
        });
        Self { shared, task, health_after }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When there is no connection, too many calls wait, the call times out, or the server returns an error.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, CallError> {
        self.send_to_slot(command, false).await
    }

    /// Sends a command to a server of a cluster. `is_asking`: another server has redirected it by [`CallError::Ask`].
    ///
    /// # Errors
    /// As for [`ReconnectingClient::send`], and redirections.
    pub(super) async fn send_to_slot(&self, command: &Cmd, is_asking: bool) -> Result<Value, CallError> {
        let Ok(_permit) = self.shared.permits.try_acquire() else { return Err(CallError::Busy) };
        self.attempt(command, is_asking).await
    }

    /// Sends a command that finds out about the server. It is not one of the [`MAX_CALLS`].
    ///
    /// # Errors
    /// As for [`ReconnectingClient::send`].
    pub(super) async fn send_control(&self, command: &Cmd) -> Result<Value, StoreError> {
        Ok(self.attempt(command, false).await?)
    }

    async fn attempt(&self, command: &Cmd, is_asking: bool) -> Result<Value, CallError> {
        let mut attempts_left = 2;
        loop {
            attempts_left -= 1;
            let (number, mut connection) = self.connected().await.map_err(CallError::Failed)?;
            let request = request(&mut connection, command, is_asking);
            let Ok(response) = timeout(CALL_LIMIT, request).await else {
                return Err(self.on_timeout(number, connection));
            };
            match response {
                // The client returns some errors of the server as a value.
                Ok(Value::ServerError(error)) => {
                    let error = error.into();
                    return Err(self.on_error(number, (self.health_after)(&error), &error));
                }
                Ok(value) => return Ok(value),
                Err(error) => {
                    let health = (self.health_after)(&error);
                    let failure = self.on_error(number, health, &error);
                    let is_cut_off =
                        health == ConnectionHealth::Broken && error.is_io_error() && !error.is_timeout();
                    if !is_cut_off || attempts_left == 0 {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Handles a call that timed out. If the connection may be broken, a PING checks it in the background.
    fn on_timeout(&self, number: u64, mut connection: C) -> CallError {
        if !self.shared.is_probing.swap(true, SeqCst) {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let _probing = Probing(&shared.is_probing);
                let ping = cmd("PING");
                let response = timeout(PROBE_LIMIT, connection.req_packed_command(&ping)).await;
                // An error from the server shows that the connection works.
                if response.is_err()
                    || response.is_ok_and(|result| result.is_err_and(|error| error.is_io_error()))
                {
                    shared.mark_down(number);
                }
            });
        }
        CallError::Failed(StoreError::Unreachable(timed_out().to_string()))
    }

    /// Replaces the connection if its health requires it, and converts the error.
    fn on_error(&self, number: u64, health: ConnectionHealth, error: &RedisError) -> CallError {
        let redirected_to = || error.redirect_node().map(|(address, _)| address.to_owned());
        let special = match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => Some(CallError::NoScript),
            ErrorKind::Server(ServerErrorKind::Moved) => redirected_to().map(CallError::Moved),
            ErrorKind::Server(ServerErrorKind::Ask) => redirected_to().map(CallError::Ask),
            ErrorKind::Server(ServerErrorKind::TryAgain) => Some(CallError::Split),
            _ => None,
        };
        if let Some(special) = special {
            return special;
        }
        match health {
            ConnectionHealth::Good => {}
            ConnectionHealth::Broken => self.shared.mark_down(number),
        }
        let message = error.to_string();
        CallError::Failed(if error.is_io_error() || is_not_ready(error) {
            StoreError::Unreachable(message)
        } else {
            StoreError::Refused(message)
        })
    }

    /// The number of the connection; 0 without a connection.
    pub(super) fn generation(&self) -> u64 {
        match &*self.shared.state.borrow() {
            State::Up(number, _) => *number,
            State::Down(_) => 0,
        }
    }

    async fn connected(&self) -> Result<(u64, C), StoreError> {
        let not_connected = || StoreError::Unreachable("not connected".to_owned());
        let mut states = self.shared.state.subscribe();
        let wait = match &*states.borrow() {
            State::Up(number, connection) => return Ok((*number, connection.clone())),
            State::Down(since) => (*since + RECONNECT_WAIT).saturating_duration_since(Instant::now()),
        };
        let up = timeout(wait, states.wait_for(|state| matches!(state, State::Up(..)))).await;
        match up.map_err(|_| not_connected())?.map_err(|_| not_connected())?.clone() {
            State::Up(number, connection) => Ok((number, connection)),
            State::Down(_) => Err(not_connected()),
        }
    }
}

impl<C> Drop for ReconnectingClient<C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Allows the next PING when this one has ended.
struct Probing<'a>(&'a AtomicBool);

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

impl<C> Shared<C> {
    /// Marks connection `number` as down, unless a later connection has replaced it.
    fn mark_down(&self, number: u64) {
        let was_up = self.state.send_if_modified(|state| {
            let is_current = matches!(state, State::Up(current, _) if *current == number);
            if is_current {
                *state = State::Down(Instant::now());
            }
            is_current
        });
        if was_up {
            self.replace.notify_one();
        }
    }
}

/// Connects, and replaces the connection whenever it breaks or degrades. Never returns.
async fn keep_connected<C: Clone + Send + Sync + 'static>(
    shared: &Shared<C>,
    name: &str,
    connect: &(impl Fn(DisconnectNotifier) -> ConnectFuture<C> + Sync),
) {
    // A server that accepts connections and refuses calls would fill the log.
    let (mut is_logged, mut last_logged) = (true, None::<Instant>);
    loop {
        let disconnected = DisconnectNotifier::default();
        let (connection, was_refused) = connect_with_retry(name, || connect(disconnected.clone())).await;
        let number = shared.last.fetch_add(1, SeqCst) + 1;
        shared.state.send_replace(State::Up(number, connection));
        let connected = Instant::now();
        if is_logged || was_refused {
            tracing::info!(store = name, "connected");
        }
        tokio::select! {
            () = shared.replace.notified() => {}
            () = disconnected.0.notified() => {
                shared.mark_down(number);
                shared.replace.notified().await;
            }
        }
        is_logged = last_logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
        if is_logged {
            tracing::warn!(store = name, "connection lost; reconnecting");
            last_logged = Some(Instant::now());
        }
        // A server that loads its data accepts connections and refuses calls.
        if connected.elapsed() < SHORT_LIFE {
            sleep(jittered(SHORT_LIFE)).await;
        }
    }
}

/// Retries until an attempt succeeds. Returns whether one has failed, which is in the log.
async fn connect_with_retry<C>(name: &str, attempt: impl Fn() -> ConnectFuture<C>) -> (C, bool) {
    let mut pause = PAUSES.0;
    let mut last_logged: Option<Instant> = None;
    loop {
        match timeout(CONNECT_LIMIT, attempt()).await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(connection) => return (connection, last_logged.is_some()),
            Err(error) => {
                if last_logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                    tracing::warn!(store = name, %error, "can't connect; retrying");
                    last_logged = Some(Instant::now());
                }
            }
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Sends one command on a connection, after `ASKING` if the server has to be told that a redirection is followed.
async fn request(connection: &mut impl ConnectionLike, command: &Cmd, is_asking: bool) -> RedisResult<Value> {
    if !is_asking {
        return connection.req_packed_command(command).await;
    }
    let mut both = redis::pipe();
    both.cmd("ASKING").add_command(command.clone());
    let mut responses = connection.req_packed_commands(&both, 1, 1).await?;
    responses.pop().ok_or_else(|| (ErrorKind::UnexpectedReturnType, "no response").into())
}

/// Whether a server can't respond for a while, although its connection works.
fn is_not_ready(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown};
    matches!(error.kind(), ErrorKind::Server(BusyLoading | ClusterDown | MasterDown))
}

fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::new(std::io::ErrorKind::TimedOut, "timed out"))
}

#[cfg(test)]
mod tests;
