//! A connection that is always being kept: made again for as long as it takes, with growing, jittered pauses.
//!
//! Promises:
//! - Every call is answered within [`CALL_LIMIT`] and a little, whatever the server does.
//! - While there is no connection, calls fail at once, but for the first moment after it was lost ([`MEND_WAIT`]): then
//!   they wait for the new one, so that a server which only closed an idle connection is not noticed.
//! - A call whose connection broke is tried once more. All calls of the store are idempotent.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, aio::ConnectionLike};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use crate::server::store::StoreError;

/// How long a call may take.
pub const CALL_LIMIT: Duration = Duration::from_secs(1);

/// How long making a connection may take.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// How long a call waits for a connection that was lost just now.
const MEND_WAIT: Duration = Duration::from_millis(500);

/// The pauses between attempts to connect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How often a server that stays away is mentioned in the log.
const REMIND_EVERY: Duration = Duration::from_secs(30);

type Connecting<C> = Pin<Box<dyn Future<Output = RedisResult<C>> + Send>>;

/// Why a command was not done.
pub enum CallError {
    /// The server does not have the script: it has to be sent whole.
    NoScript,
    /// Anything else.
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

/// A kept connection.
pub struct Link<C> {
    shared: Arc<Shared<C>>,
    keeper: JoinHandle<()>,
}

struct Shared<C> {
    /// The connection, numbered so that one is not taken for a later one; or since when there is none.
    state: watch::Sender<State<C>>,
    lost: Notify,
}

#[derive(Clone)]
enum State<C> {
    Up(u64, C),
    Down(Instant),
}

/// Tells a [`Link`] that its connection has ended, before a call finds out.
#[derive(Clone)]
pub struct Hangup(Arc<Mutex<Option<Box<dyn Fn() + Send>>>>);

impl Hangup {
    /// The connection has ended.
    pub fn tell(&self) {
        if let Some(tell) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            tell();
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Link<C> {
    /// Starts connecting, and goes on until it is dropped. `name` is for the log.
    pub fn keep(name: String, connect: impl Fn(Hangup) -> Connecting<C> + Send + Sync + 'static) -> Self {
        let shared =
            Arc::new(Shared { state: watch::Sender::new(State::Down(Instant::now())), lost: Notify::new() });
        let keeper = tokio::spawn(keep(Arc::clone(&shared), name, connect));
        Self { shared, keeper }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When there is no connection, when it takes too long, and what the server says.
    pub async fn send(&self, command: &Cmd) -> Result<Value, CallError> {
        let mut tries = 2;
        loop {
            tries -= 1;
            let (number, mut connection) = self.connected().await.map_err(CallError::Failed)?;
            let answer = timeout(CALL_LIMIT, connection.req_packed_command(command)).await;
            let unreachable = |message: String| CallError::Failed(StoreError::Unreachable(message));
            match answer.unwrap_or_else(|_| Err(too_slow())) {
                // Some servers answer in time that they can't.
                Ok(Value::ServerError(error)) => return Err(self.refused(number, &error.into())),
                Ok(answer) => return Ok(answer),
                Err(error) if breaks(&error) => {
                    self.shared.lose(number);
                    if tries == 0 || error.is_timeout() {
                        return Err(unreachable(error.to_string()));
                    }
                }
                Err(error) => return Err(self.refused(number, &error)),
            }
        }
    }

    fn refused(&self, number: u64, error: &RedisError) -> CallError {
        if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
            return CallError::NoScript;
        }
        if sends_away(error) {
            // It serves no more; its name may stand for another by now.
            self.shared.lose(number);
        }
        CallError::Failed(StoreError::Refused(error.to_string()))
    }

    /// The connection itself, for what no single command does.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connection(&self) -> Result<C, StoreError> {
        self.connected().await.map(|(_, connection)| connection)
    }

    async fn connected(&self) -> Result<(u64, C), StoreError> {
        let none = || StoreError::Unreachable("not connected".to_owned());
        let mut states = self.shared.state.subscribe();
        let wait = match &*states.borrow() {
            State::Up(number, connection) => return Ok((*number, connection.clone())),
            State::Down(since) => (*since + MEND_WAIT).saturating_duration_since(Instant::now()),
        };
        let up = timeout(wait, states.wait_for(|state| matches!(state, State::Up(..)))).await;
        match up.map_err(|_| none())?.map_err(|_| none())?.clone() {
            State::Up(number, connection) => Ok((number, connection)),
            State::Down(_) => Err(none()),
        }
    }
}

impl<C> Drop for Link<C> {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl<C> Shared<C> {
    /// Connection `number` is no good any more, if it still is the one.
    fn lose(&self, number: u64) {
        let lost = self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up(current, _) if *current == number);
            if is_it {
                *state = State::Down(Instant::now());
            }
            is_it
        });
        if lost {
            self.lost.notify_one();
        }
    }
}

async fn keep<C: Clone + Send + Sync + 'static>(
    shared: Arc<Shared<C>>,
    name: String,
    connect: impl Fn(Hangup) -> Connecting<C> + Sync,
) {
    for number in 1.. {
        let hangup = Hangup(Arc::default());
        let connection = persist(&name, || connect(hangup.clone())).await;
        let to_lose = Arc::clone(&shared);
        *hangup.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Box::new(move || to_lose.lose(number)));
        shared.state.send_replace(State::Up(number, connection));
        tracing::info!(store = name, "connected");
        shared.lost.notified().await;
        // Whoever still holds the hang-up must not hold the link.
        hangup.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        tracing::warn!(store = name, "connection lost; connecting again");
    }
}

/// Tries until it works.
async fn persist<C>(name: &str, attempt: impl Fn() -> Connecting<C>) -> C {
    let mut pause = PAUSES.0;
    let mut mentioned: Option<Instant> = None;
    loop {
        match timeout(CONNECT_LIMIT, attempt()).await.unwrap_or_else(|_| Err(too_slow())) {
            Ok(connection) => return connection,
            Err(error) => {
                if mentioned.is_none_or(|at| at.elapsed() >= REMIND_EVERY) {
                    tracing::warn!(store = name, %error, "can't connect; trying again until it works");
                    mentioned = Some(Instant::now());
                }
            }
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Between half of it and all of it, so that nodes don't return together.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause / 2 * u32::from(Uuid::new_v4().as_bytes()[0]) / 255
}

/// Whether the connection is no good after this.
fn breaks(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}

/// Whether the server is no longer the one to talk to: it was demoted, or is not ready.
fn sends_away(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown
        )
    )
}

fn too_slow() -> RedisError {
    RedisError::from(std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time"))
}
