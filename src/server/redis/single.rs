//! One Redis server (or Valkey, 6.2 or newer), by `redis://`, `rediss://` or a unix socket.

use async_trait::async_trait;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult, ServerErrorKind, Value,
    aio::MultiplexedConnection, cmd, from_redis_value,
};
use tokio::time::timeout;

use super::{
    Runner, ServerFacts, prepare_tls,
    reconnect::{CALL_LIMIT, CONNECT_LIMIT, CallError, ConnectionHealth, ReconnectingClient},
    script::Script,
};
use crate::server::store_error::StoreError;

/// One multiplexed connection to one server.
pub struct RedisRunner {
    client: ReconnectingClient<MultiplexedConnection>,
}

impl RedisRunner {
    /// Starts to connect to the server at `url`.
    ///
    /// # Errors
    /// When the address is invalid.
    pub fn open(url: &str) -> RedisResult<Self> {
        let info = address(url)?;
        // The address without user and password.
        let name = format!("redis at {}", info.addr());
        Ok(Self { client: connect(name, info) })
    }

    /// Connects once, and asks the server about itself. Changes nothing.
    ///
    /// # Errors
    /// Why the server can't be used, as a text without the address.
    pub async fn inspect(url: &str) -> Result<ServerFacts, String> {
        facts(address(url).map_err(|_| "the address is invalid".to_owned())?).await
    }

    /// A server for people: its address without user and password.
    #[must_use]
    pub fn place(url: &str) -> String {
        let place = |info: ConnectionInfo| info.addr().to_string();
        address(url).map_or_else(|_| "an invalid address".to_owned(), place)
    }

    /// Checks an address for [`RedisRunner::open`] without connecting.
    ///
    /// # Errors
    /// When the address is invalid.
    pub fn check(url: &str) -> RedisResult<()> {
        address(url).map(drop)
    }
}

/// Starts to connect to a server. `name` appears in log lines.
pub(super) fn connect(name: String, info: ConnectionInfo) -> ReconnectingClient<MultiplexedConnection> {
    ReconnectingClient::start(name, health_after, move |disconnected| {
        let info = info.clone();
        let on_push = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                disconnected.notify();
            }
            Ok::<(), redis::aio::SendError>(())
        };
        Box::pin(async move {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_LIMIT))
                // The reconnecting client has its own timeout. The connection drops responses that arrive later.
                .set_response_timeout(None)
                .set_push_sender(on_push);
            Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
        })
    })
}

/// Connects once and sends a command. The error is a text without the address.
pub(super) async fn ask(info: ConnectionInfo, command: &Cmd) -> Result<Value, String> {
    let client = Client::open(info).map_err(|_| "the address is invalid".to_owned())?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_LIMIT))
        .set_response_timeout(Some(CALL_LIMIT));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let Ok(connected) = timeout(CONNECT_LIMIT, connecting).await else {
        return Err("no response in time".to_owned());
    };
    let mut connection = connected.map_err(|error| error.to_string())?;
    command.query_async(&mut connection).await.map_err(|error| error.to_string())
}

/// Connects once and asks a server about itself. The error is a text without the address.
pub(super) async fn facts(info: ConnectionInfo) -> Result<ServerFacts, String> {
    let response = ask(info, &cmd("INFO")).await?;
    let text: String = from_redis_value(response).map_err(|error| error.to_string())?;
    Ok(ServerFacts::of(&text))
}

/// Parses an address, which may use TLS.
pub(super) fn address(url: &str) -> RedisResult<ConnectionInfo> {
    prepare_tls();
    let info = url.into_connection_info()?;
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        // Otherwise every attempt to connect would fail.
        return Err((ErrorKind::InvalidClientConfig, "certificate checks can't be disabled").into());
    }
    if info.redis_settings().db() < 0 {
        return Err((ErrorKind::InvalidClientConfig, "the number of the database is negative").into());
    }
    // Setting the library name would require permission for another command (`CLIENT SETINFO`).
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    Ok(info.set_redis_settings(settings))
}

/// The health of a connection after an error. A connection counts as broken too if its server was demoted or is not
/// ready, since the host name may by now resolve to another server.
fn health_after(error: &RedisError) -> ConnectionHealth {
    let is_unusable = matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown
        )
    );
    // Before 7.0 a script's error wraps the code: `ERR Error running script (…): … -READONLY You can't write …`.
    let is_unusable = is_unusable || error.detail().is_some_and(|detail| detail.contains(": -READONLY "));
    if is_unusable || error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
        ConnectionHealth::Broken
    } else {
        ConnectionHealth::Good
    }
}

#[async_trait]
impl Runner for RedisRunner {
    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError> {
        // A server that was restarted has not loaded the script.
        match self.client.send(&script.by_hash(keys, args)).await {
            Err(CallError::NoScript) => Ok(self.client.send(&script.by_source(keys, args)).await?),
            result => Ok(result?),
        }
    }

    fn takes_many_channels(&self) -> bool {
        true
    }

    fn generation(&self) -> u64 {
        self.client.generation()
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        run_id(&self.client).await
    }
}

/// The id of the server's process.
pub(super) async fn run_id(
    client: &ReconnectingClient<MultiplexedConnection>,
) -> Result<Option<String>, StoreError> {
    let info = client.send_control(cmd("INFO").arg("server")).await?;
    let info: String = from_redis_value(info).map_err(|_| StoreError::unexpected())?;
    Ok(info.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned()))
}
