//! A Redis Cluster. The keys of a channel are on one of its servers, so each channel has its own call. If a server is
//! unavailable, only the calls to its channels fail.

use std::time::Duration;

use async_trait::async_trait;
use redis::{
    ErrorKind, ProtocolVersion, RedisError, RedisResult, ServerErrorKind, Value,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
    cmd, from_redis_value,
};
use tokio::time::timeout;

use super::{
    Runner, ServerFacts,
    reconnect::{CALL_LIMIT, CONNECT_LIMIT, ConnectionHealth, ReconnectingClient},
    script::Script,
    single::{address, run_id, run_on},
};
use crate::server::store_error::StoreError;

/// How long one server may take to respond. Shorter than [`CALL_LIMIT`]: while the client looks for an unavailable
/// server, calls to the other servers wait.
const SERVER_LIMIT: Duration = Duration::from_millis(500);

/// How long connecting to one server may take.
const SERVER_CONNECT_LIMIT: Duration = Duration::from_millis(250);

/// One multiplexed connection to each server of a cluster.
pub struct ClusterRunner {
    client: ReconnectingClient<ClusterConnection>,
}

impl ClusterRunner {
    /// Starts to connect to a cluster, by the addresses of some of its servers. The client follows redirects, new
    /// servers and failovers.
    ///
    /// # Errors
    /// When an address is invalid.
    pub fn open(urls: &[&str]) -> RedisResult<Self> {
        let inner = cluster_client(urls)?;
        let client = ReconnectingClient::start("redis cluster".to_owned(), health_after, move |_| {
            let inner = inner.clone();
            Box::pin(async move { inner.get_async_connection().await })
        });
        Ok(Self { client })
    }

    /// Connects once, and asks all primaries about themselves. Changes nothing.
    ///
    /// # Errors
    /// Why the cluster can't be used, as a text without addresses from the settings.
    pub async fn inspect(urls: &[&str]) -> Result<Vec<ServerFacts>, String> {
        let client = cluster_client(urls).map_err(|_| "an address is invalid".to_owned())?;
        let connecting = timeout(CONNECT_LIMIT, client.get_async_connection()).await;
        let Ok(connected) = connecting else { return Err("no response in time".to_owned()) };
        let mut connection = connected.map_err(|error| error.to_string())?;
        let all_primaries = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let response = timeout(CALL_LIMIT, connection.route_command(cmd("INFO"), all_primaries)).await;
        let response = response.map_err(|_| "not all primaries respond".to_owned())?;
        let response = response.map_err(|error| error.to_string())?;
        let infos: Vec<(String, String)> =
            from_redis_value(response).map_err(|_| "unexpected response".to_owned())?;
        Ok(infos.iter().map(|(_, info)| ServerFacts::of(info)).collect())
    }

    /// Checks addresses for [`ClusterRunner::open`] without connecting.
    ///
    /// # Errors
    /// When an address is invalid.
    pub fn check(urls: &[&str]) -> RedisResult<()> {
        cluster_client(urls).map(drop)
    }
}

fn cluster_client(urls: &[&str]) -> RedisResult<ClusterClient> {
    let addresses = urls.iter().map(|url| address(url)).collect::<RedisResult<Vec<_>>>()?;
    ClusterClient::builder(addresses)
        .use_protocol(ProtocolVersion::RESP3)
        .connection_timeout(SERVER_CONNECT_LIMIT)
        .response_timeout(SERVER_LIMIT)
        .retries(3)
        .min_retry_wait(10)
        .max_retry_wait(100)
        .build()
}

/// The health of the connections after an error. If a server is unavailable, a new connection replaces the old one,
/// which still reaches the other servers until then.
fn health_after(error: &RedisError) -> ConnectionHealth {
    match error.kind() {
        ErrorKind::ClusterConnectionNotFound => ConnectionHealth::Broken,
        ErrorKind::Server(
            ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown | ServerErrorKind::ReadOnly,
        ) => ConnectionHealth::Degraded,
        _ if error.is_io_error() => ConnectionHealth::Degraded,
        _ => ConnectionHealth::Good,
    }
}

#[async_trait]
impl Runner for ClusterRunner {
    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError> {
        run_on(&self.client, script, keys, args).await
    }

    fn takes_many_channels(&self) -> bool {
        false
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        let mut connection = self.client.connection().await?;
        let mut info = cmd("INFO");
        info.arg("server");
        let all_primaries = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let response = timeout(CALL_LIMIT, connection.route_command(info, all_primaries)).await;
        let response =
            response.map_err(|_| StoreError::Unreachable("not all primaries respond".to_owned()))?;
        let response = response.map_err(|error| StoreError::Unreachable(error.to_string()))?;
        let infos: Vec<(String, String)> =
            from_redis_value(response).map_err(|_| StoreError::unexpected())?;
        let mut ids: Vec<_> = infos.iter().filter_map(|(_, info)| run_id(info)).collect();
        ids.sort();
        Ok(Some(ids.join(" ")))
    }
}
