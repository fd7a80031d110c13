//! A connection that is always being kept: made again for as long as it takes, with growing, jittered pauses.
//!
//! Promises:
//! - Every call is answered within [`CALL_LIMIT`] and a little, whatever the server does.
//! - While there is no connection, calls fail at once, but for the first moment after it was lost ([`MEND_WAIT`]): then
//!   they wait for the new one, so that a server which only closed an idle connection is not noticed.
//! - Slow is not dead: a call that is late fails alone. Whether the connection still lives, a PING on it tells, one at a
//!   time; only a connection that does not answer it within [`PROBE_LIMIT`] is replaced.
//! - At most [`MOST_CALLS`] calls wait for their answers; more are refused at once.
//! - A call whose connection broke is tried once more. All calls of the store are idempotent.

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

/// How long a call may take.
pub const CALL_LIMIT: Duration = Duration::from_secs(1);

/// How long a connection may take to answer a PING once a call on it was late.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// The most calls that wait for their answers.
const MOST_CALLS: usize = 2_048;

/// How long making a connection may take.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long a call waits for a connection that was lost just now.
const MEND_WAIT: Duration = Duration::from_millis(500);

/// The pauses between attempts to connect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The pause before a damaged connection is replaced.
const RENEW_PAUSE: Duration = Duration::from_millis(500);

/// How often a server that stays away is mentioned in the log.
const REMIND_EVERY: Duration = Duration::from_secs(30);

type Connecting<C> = Pin<Box<dyn Future<Output = RedisResult<C>> + Send>>;

/// What an error says of the connection that it came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    None,
    /// A new one should take its place; until that is there, it still serves in part.
    Renew,
    /// It is no good any more.
    Broken,
}

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
pub struct ReconnectingClient<C> {
    shared: Arc<Shared<C>>,
    keeper: JoinHandle<()>,
    damage: fn(&RedisError) -> Damage,
}

struct Shared<C> {
    /// The connection, numbered so that one is not taken for a later one; or since when there is none.
    state: watch::Sender<State<C>>,
    lost: Notify,
    /// Places for calls that wait.
    places: Semaphore,
    /// A PING is under way.
    is_probing: AtomicBool,
}

#[derive(Clone)]
enum State<C> {
    Up(u64, C),
    Down(Instant),
}

/// Tells a [`ReconnectingClient`] that its connection has ended, before a call finds out.
#[derive(Clone, Default)]
pub struct Hangup(Arc<Notify>);

impl Hangup {
    /// The connection has ended.
    pub fn tell(&self) {
        self.0.notify_one();
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> ReconnectingClient<C> {
    /// Starts connecting, and goes on until it is dropped. `name` is for the log.
    /// `damage` tells what an error says of the connection.
    pub fn keep(
        name: String,
        damage: fn(&RedisError) -> Damage,
        connect: impl Fn(Hangup) -> Connecting<C> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State::Down(Instant::now())),
            lost: Notify::new(),
            places: Semaphore::new(MOST_CALLS),
            is_probing: AtomicBool::new(false),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared), name, connect));
        Self { shared, keeper, damage }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When there is no connection, when too many calls wait, when it takes too long, and what the server says.
    pub async fn send(&self, command: &Cmd) -> Result<Value, CallError> {
        let Ok(_place) = self.shared.places.try_acquire() else {
            return Err(CallError::Failed(StoreError::Unreachable("too many calls are waiting".to_owned())));
        };
        let mut tries = 2;
        loop {
            tries -= 1;
            let (number, mut connection) = self.connected().await.map_err(CallError::Failed)?;
            let Ok(answer) = timeout(CALL_LIMIT, connection.req_packed_command(command)).await else {
                return Err(self.late(number, connection));
            };
            match answer {
                // Some servers answer in time that they can't.
                Ok(Value::ServerError(error)) => {
                    let error = error.into();
                    return Err(self.failed(number, (self.damage)(&error), &error));
                }
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let damage = (self.damage)(&error);
                    let refused = self.failed(number, damage, &error);
                    if damage != Damage::Broken || tries == 0 || error.is_timeout() || !error.is_io_error() {
                        return Err(refused);
                    }
                }
            }
        }
    }

    /// A call was not answered in time. What that says of the connection is found out beside it.
    fn late(&self, number: u64, mut connection: C) -> CallError {
        let error = too_slow();
        let damage = (self.damage)(&error);
        if damage != Damage::Broken {
            return self.failed(number, damage, &error);
        }
        if !self.shared.is_probing.swap(true, SeqCst) {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                let ping = cmd("PING");
                let answer = timeout(PROBE_LIMIT, connection.req_packed_command(&ping)).await;
                // An error of the server is an answer too.
                if answer.is_err()
                    || answer.is_ok_and(|answer| answer.is_err_and(|error| error.is_io_error()))
                {
                    shared.lose(number);
                }
                shared.is_probing.store(false, SeqCst);
            });
        }
        CallError::Failed(StoreError::Unreachable(error.to_string()))
    }

    fn failed(&self, number: u64, damage: Damage, error: &RedisError) -> CallError {
        if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
            return CallError::NoScript;
        }
        match damage {
            Damage::None => {}
            Damage::Renew => self.shared.lost.notify_one(),
            Damage::Broken => self.shared.lose(number),
        }
        let message = error.to_string();
        CallError::Failed(if error.is_io_error() {
            StoreError::Unreachable(message)
        } else {
            StoreError::Refused(message)
        })
    }

    /// The number of the connection; 0 while there is none.
    pub fn generation(&self) -> u64 {
        match &*self.shared.state.borrow() {
            State::Up(number, _) => *number,
            State::Down(_) => 0,
        }
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

impl<C> Drop for ReconnectingClient<C> {
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
        let hangup = Hangup::default();
        let connection = persist(&name, || connect(hangup.clone())).await;
        shared.state.send_replace(State::Up(number, connection));
        tracing::info!(store = name, "connected");
        tokio::select! {
            () = shared.lost.notified() => {}
            () = hangup.0.notified() => {
                shared.lose(number);
                shared.lost.notified().await;
            }
        }
        if matches!(&*shared.state.borrow(), State::Down(_)) {
            tracing::warn!(store = name, "connection lost; connecting again");
        } else {
            // It still serves in part, so there is time to let what has happened settle.
            tracing::debug!(store = name, "connection damaged; making another");
            sleep(jittered(RENEW_PAUSE)).await;
        }
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

fn too_slow() -> RedisError {
    RedisError::from(std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time"))
}

#[cfg(test)]
mod tests;
