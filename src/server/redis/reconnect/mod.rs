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
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, aio::ConnectionLike, cmd};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use crate::server::store_error::StoreError;

/// How long a call waits for its response.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(1);

/// How long a connection may take to respond to the PING after a timeout.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// The most calls that wait for a response.
const MAX_CALLS: usize = 2_048;

/// How long an attempt to connect may take.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long after the loss of a connection calls wait for a new one.
const RECONNECT_WAIT: Duration = Duration::from_millis(500);

/// The first and the longest pause between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The pause before a degraded connection is replaced.
const REPLACE_PAUSE: Duration = Duration::from_millis(500);

/// The interval between log lines while a server is unreachable.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

type ConnectFuture<C> = Pin<Box<dyn Future<Output = RedisResult<C>> + Send>>;

/// The health of a connection after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionHealth {
    /// The connection is not affected.
    Good,
    /// A new connection should replace it. Until then it can still reach a part of the servers.
    Degraded,
    /// The connection can't be used any more.
    Broken,
}

/// Why a call failed.
pub enum CallError {
    /// The server has not loaded the script, so its source has to be sent.
    NoScript,
    /// Any other failure.
    Failed(StoreError),
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoScript => Self::unexpected(),
            CallError::Failed(error) => error,
        }
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
            replace: Notify::new(),
            permits: Semaphore::new(MAX_CALLS),
            is_probing: AtomicBool::new(false),
        });
        let task = tokio::spawn(keep_connected(Arc::clone(&shared), name, connect));
        Self { shared, task, health_after }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When there is no connection, too many calls wait, the call times out, or the server returns an error.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, CallError> {
        let Ok(_permit) = self.shared.permits.try_acquire() else {
            return Err(CallError::Failed(StoreError::Unreachable("too many calls in flight".to_owned())));
        };
        let mut attempts_left = 2;
        loop {
            attempts_left -= 1;
            let (number, mut connection) = self.connected().await.map_err(CallError::Failed)?;
            let Ok(response) = timeout(CALL_LIMIT, connection.req_packed_command(command)).await else {
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
        let error = timed_out();
        let health = (self.health_after)(&error);
        if health != ConnectionHealth::Broken {
            return self.on_error(number, health, &error);
        }
        if !self.shared.is_probing.swap(true, SeqCst) {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let ping = cmd("PING");
                let response = timeout(PROBE_LIMIT, connection.req_packed_command(&ping)).await;
                // An error from the server shows that the connection works.
                if response.is_err()
                    || response.is_ok_and(|result| result.is_err_and(|error| error.is_io_error()))
                {
                    shared.mark_down(number);
                }
                shared.is_probing.store(false, SeqCst);
            });
        }
        CallError::Failed(StoreError::Unreachable(error.to_string()))
    }

    /// Replaces the connection if its health requires it, and converts the error.
    fn on_error(&self, number: u64, health: ConnectionHealth, error: &RedisError) -> CallError {
        if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
            return CallError::NoScript;
        }
        match health {
            ConnectionHealth::Good => {}
            ConnectionHealth::Degraded => self.shared.replace.notify_one(),
            ConnectionHealth::Broken => self.shared.mark_down(number),
        }
        let message = error.to_string();
        CallError::Failed(if error.is_io_error() {
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

    /// The connection itself, for calls that [`ReconnectingClient::send`] does not support.
    ///
    /// # Errors
    /// When there is no connection.
    pub(super) async fn connection(&self) -> Result<C, StoreError> {
        self.connected().await.map(|(_, connection)| connection)
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
    shared: Arc<Shared<C>>,
    name: String,
    connect: impl Fn(DisconnectNotifier) -> ConnectFuture<C> + Sync,
) {
    for number in 1.. {
        let disconnected = DisconnectNotifier::default();
        let connection = connect_with_retry(&name, || connect(disconnected.clone())).await;
        shared.state.send_replace(State::Up(number, connection));
        tracing::info!(store = name, "connected");
        tokio::select! {
            () = shared.replace.notified() => {}
            () = disconnected.0.notified() => {
                shared.mark_down(number);
                shared.replace.notified().await;
            }
        }
        if matches!(&*shared.state.borrow(), State::Down(_)) {
            tracing::warn!(store = name, "connection lost; reconnecting");
        } else {
            // The connection still works in part, so the servers get time to settle.
            tracing::debug!(store = name, "connection degraded; replacing it");
            sleep(jittered(REPLACE_PAUSE)).await;
        }
    }
}

/// Retries until an attempt succeeds.
async fn connect_with_retry<C>(name: &str, attempt: impl Fn() -> ConnectFuture<C>) -> C {
    let mut pause = PAUSES.0;
    let mut last_logged: Option<Instant> = None;
    loop {
        match timeout(CONNECT_LIMIT, attempt()).await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(connection) => return connection,
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

/// A random duration between half of `pause` and `pause`, so that nodes do not reconnect in step.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause / 2 * u32::from(Uuid::new_v4().as_bytes()[0]) / 255
}

fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::new(std::io::ErrorKind::TimedOut, "timed out"))
}

#[cfg(test)]
mod tests;
