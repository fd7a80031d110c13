//! One Redis server (or Valkey, 6.2 or newer), by `redis://`, `rediss://` or a unix socket.

use async_trait::async_trait;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cmd, from_redis_value,
};

use super::{
    Runner, prepare_tls,
    reconnect::{CONNECT_LIMIT, CallError, Damage, ReconnectingClient},
    script::Script,
};
use crate::server::store_error::StoreError;

/// One multiplexed connection to one server.
pub struct RedisRunner {
    link: ReconnectingClient<MultiplexedConnection>,
}

impl RedisRunner {
    /// Starts connecting to the server at `url`.
    ///
    /// # Errors
    /// When the address is none.
    pub fn open(url: &str) -> RedisResult<Self> {
        let client = client(url)?;
        // The address without user and password.
        let name = format!("redis at {}", client.get_connection_info().addr());
        let link = ReconnectingClient::keep(name, damage, move |hangup| {
            let client = client.clone();
            let on_push = move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    hangup.tell();
                }
                Ok::<(), redis::aio::SendError>(())
            };
            Box::pin(async move {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_LIMIT))
                    // The link decides what is late; answers to what it has given up are matched and dropped.
                    .set_response_timeout(None)
                    .set_push_sender(on_push);
                client.get_multiplexed_async_connection_with_config(&config).await
            })
        });
        Ok(Self { link })
    }

    /// Whether [`RedisRunner::open`] takes the address. Nothing is connected to.
    ///
    /// # Errors
    /// When the address is none.
    pub fn check(url: &str) -> RedisResult<()> {
        client(url).map(drop)
    }
}

fn client(url: &str) -> RedisResult<Client> {
    let info = address(url)?;
    // The name of the library would need one more permission, and nobody asks for it.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    Client::open(info.set_redis_settings(settings))
}

/// An address, if it is one that can be connected to, by TLS too.
pub(super) fn address(url: &str) -> RedisResult<ConnectionInfo> {
    prepare_tls();
    let info = url.into_connection_info()?;
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        // The client would find out at every attempt to connect.
        return Err((ErrorKind::InvalidClientConfig, "certificates are always checked").into());
    }
    Ok(info)
}

/// A connection is no good when it is broken, and when the server has been demoted or is not ready: its name may stand for
/// another by now.
fn damage(error: &RedisError) -> Damage {
    let sends_away = matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown
        )
    );
    // Before 7.0 it is a script's error: `ERR Error running script (…): … -READONLY You can't write …`.
    let sends_away = sends_away || error.detail().is_some_and(|detail| detail.contains(": -READONLY "));
    if sends_away || error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
        Damage::Broken
    } else {
        Damage::None
    }
}

#[async_trait]
impl Runner for RedisRunner {
    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError> {
        run_on(&self.link, script, keys, args).await
    }

    fn takes_many_channels(&self) -> bool {
        true
    }

    fn generation(&self) -> u64 {
        self.link.generation()
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        let info = self.link.send(cmd("INFO").arg("server")).await?;
        let info: String = from_redis_value(info).map_err(|_| StoreError::unexpected())?;
        Ok(run_id(&info))
    }
}

/// What a server calls itself from its start to its end, in its answer to `INFO server`.
pub(super) fn run_id(info: &str) -> Option<String> {
    info.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned())
}

/// Runs a script by its hash, or whole on a server that doesn't have it yet (a new one, one that was restarted).
pub(super) async fn run_on<C: ConnectionLike + Clone + Send + Sync + 'static>(
    link: &ReconnectingClient<C>,
    script: &Script,
    keys: &[Vec<u8>],
    args: &[Vec<u8>],
) -> Result<Value, StoreError> {
    match link.send(&script.by_hash(keys, args)).await {
        Err(CallError::NoScript) => Ok(link.send(&script.whole(keys, args)).await?),
        answer => Ok(answer?),
    }
}
