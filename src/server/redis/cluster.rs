//! A Redis Cluster. Each channel's keys are on one of its servers, so each channel has its own call: those of one that is
//! away fail, the others' don't notice.

use std::time::Duration;

use async_trait::async_trait;
use redis::{
    ErrorKind, ProtocolVersion, RedisError, RedisResult, ServerErrorKind, Value,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
    cmd, from_redis_value,
};

use super::{
    Runner,
    reconnect::{CALL_LIMIT, Damage, ReconnectingClient},
    script::Script,
    single::{address, run_id, run_on},
};
use crate::server::store_error::StoreError;

/// How long one server may take. Shorter than a call may: while the client looks for a server that is away, calls to the
/// others wait for it.
const SERVER_LIMIT: Duration = Duration::from_millis(500);

/// How long connecting to one server may take.
const SERVER_CONNECT_LIMIT: Duration = Duration::from_millis(250);

/// One multiplexed connection to each server of a cluster.
pub struct ClusterRunner {
    link: ReconnectingClient<ClusterConnection>,
}

impl ClusterRunner {
    /// Starts connecting to the cluster of which these are some servers. Redirects, new servers and failovers are
    /// followed from then on.
    ///
    /// # Errors
    /// When an address is none.
    pub fn open(urls: &[&str]) -> RedisResult<Self> {
        let client = client(urls)?;
        let link = ReconnectingClient::keep("redis cluster".to_owned(), damage, move |_| {
            let client = client.clone();
            Box::pin(async move { client.get_async_connection().await })
        });
        Ok(Self { link })
    }

    /// Whether [`ClusterRunner::open`] takes the addresses. Nothing is connected to.
    ///
    /// # Errors
    /// When an address is none.
    pub fn check(urls: &[&str]) -> RedisResult<()> {
        client(urls).map(drop)
    }
}

fn client(urls: &[&str]) -> RedisResult<ClusterClient> {
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

/// When a server is away, a new view of the cluster is made beside the old one, by which the others are still reached.
fn damage(error: &RedisError) -> Damage {
    match error.kind() {
        ErrorKind::ClusterConnectionNotFound => Damage::Broken,
        ErrorKind::Server(
            ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown | ServerErrorKind::ReadOnly,
        ) => Damage::Renew,
        _ if error.is_io_error() => Damage::Renew,
        _ => Damage::None,
    }
}

#[async_trait]
impl Runner for ClusterRunner {
    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError> {
        run_on(&self.link, script, keys, args).await
    }

    fn takes_many_channels(&self) -> bool {
        false
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        let mut connection = self.link.connection().await?;
        let mut info = cmd("INFO");
        info.arg("server");
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = tokio::time::timeout(CALL_LIMIT, connection.route_command(info, everywhere)).await;
        let answers = answers.map_err(|_| StoreError::Unreachable("not all primaries answer".to_owned()))?;
        let answers = answers.map_err(|error| StoreError::Unreachable(error.to_string()))?;
        let answers: Vec<(String, String)> =
            from_redis_value(answers).map_err(|_| StoreError::unexpected())?;
        let mut ids: Vec<_> = answers.iter().filter_map(|(_, info)| run_id(info)).collect();
        ids.sort();
        Ok(Some(ids.join(" ")))
    }
}
