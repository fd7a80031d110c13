//! A Redis Cluster. The keys of a channel, or of a part of it, are on one of its servers, so each has its own call. If a
//! server is unavailable, only the calls to its channels fail.

mod outages;
mod servers;
mod slots;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::join_all;
use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisResult, Value};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use self::{
    servers::{Server, Servers, place_of, slots_command},
    slots::{Place, SlotMap, slot_of},
};
use super::{
    Runner, ServerFacts,
    reconnect::{CALL_LIMIT, CallError},
    script::Script,
    single,
};
use crate::server::{store_error::StoreError, supervisor};

/// The first and the longest pause before a call is sent again because its slot is being moved. Each pause is twice the one
/// before.
const MOVING_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// The most times that servers redirect a call.
const MAX_REDIRECTS: usize = 8;

/// A connection to each server of a cluster. Follows redirects, new servers and failovers.
pub struct ClusterRunner {
    servers: Arc<Servers>,
    task: JoinHandle<()>,
}

impl ClusterRunner {
    /// Starts to connect to a cluster, by the addresses of some of its servers.
    ///
    /// # Errors
    /// When an address is invalid, or the servers can't be of one cluster; see [`ClusterRunner::check`].
    pub fn open(urls: &[&str]) -> RedisResult<Self> {
        let servers = Arc::new(Servers::new(addresses(urls)?).ok_or_else(no_address)?);
        let own = Arc::clone(&servers);
        Ok(Self {
            servers,
            task: tokio::spawn(async move { supervisor::run("cluster-slots", || own.run(), || {}).await }),
        })
    }

    /// Connects once, and asks all primaries about themselves. Changes nothing.
    ///
    /// # Errors
    /// Why the cluster can't be used, as a text without addresses from the settings.
    pub async fn inspect(urls: &[&str]) -> Result<Vec<ServerFacts>, String> {
        let infos = addresses(urls).map_err(|_| "an address is invalid".to_owned())?;
        let servers = Servers::new(infos.clone()).ok_or("an address is invalid")?;
        let mut result = Err("no response in time".to_owned());
        for info in infos {
            let Some(place) = place_of(&info) else { continue };
            match single::ask(info, &slots_command()).await {
                Ok(response) => {
                    let slots = SlotMap::parse(response, &place.host).filter(SlotMap::is_whole);
                    let Some(slots) = slots else {
                        result = Err("not all slots of the cluster have a server".to_owned());
                        continue;
                    };
                    let facts =
                        slots.primaries().into_iter().map(|place| single::facts(servers.info_of(place)));
                    return join_all(facts).await.into_iter().collect();
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Checks addresses for [`ClusterRunner::open`] without connecting.
    ///
    /// # Errors
    /// When an address is invalid, is that of a unix socket, names a database, or differs from the others in its user,
    /// its password or the use of TLS.
    pub fn check(urls: &[&str]) -> RedisResult<()> {
        addresses(urls).map(drop)
    }
}

impl Drop for ClusterRunner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn no_address() -> redis::RedisError {
    (ErrorKind::InvalidClientConfig, "a cluster needs the address of a server").into()
}

/// Parses the addresses of servers of one cluster.
fn addresses(urls: &[&str]) -> RedisResult<Vec<ConnectionInfo>> {
    let infos = urls.iter().map(|url| single::address(url)).collect::<RedisResult<Vec<_>>>()?;
    let first = infos.first().ok_or_else(no_address)?;
    for info in &infos {
        let (settings, like) = (info.redis_settings(), first.redis_settings());
        let problem = match info.addr() {
            ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. } => {
                if std::mem::discriminant(info.addr()) != std::mem::discriminant(first.addr()) {
                    "either all servers of a cluster use TLS or none"
                } else if (settings.username(), settings.password()) != (like.username(), like.password()) {
                    "all servers of a cluster need the same user and password"
                } else if settings.db() != 0 {
                    "a cluster has only database 0"
                } else {
                    continue;
                }
            }
            _ => "a server of a cluster has no unix socket",
        };
        return Err((ErrorKind::InvalidClientConfig, problem).into());
    }
    Ok(infos)
}

#[async_trait]
impl Runner for ClusterRunner {
    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError> {
        let slot = keys.first().map_or(0, |key| slot_of(key));
        self.run_in(slot, script, keys, args).await.map_err(|error| {
            // The server responds to others while this node has too many calls in flight. What it refuses for this node, for
            // lack of memory or of replicas, it refuses for others too, and they replay it later.
            if let CallError::Failed(error) = &error {
                if matches!(error, StoreError::Unreachable(_)) {
                    self.servers.refresh();
                }
                self.servers.outages.note(std::iter::once(slot));
            }
            error.into()
        })
    }

    fn takes_many_channels(&self) -> bool {
        false
    }

    fn server_of(&self, key: &[u8]) -> u64 {
        self.servers.number_of(slot_of(key))
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        Ok(Some(self.servers.run_ids().await?.join(" ")))
    }

    fn was_away(&self, key: &[u8]) -> bool {
        self.servers.outages.has(slot_of(key))
    }

    fn unresolved_outage(&self) -> Option<u64> {
        self.servers.outages.unresolved()
    }

    fn resolve_outages(&self, up_to: u64) {
        self.servers.outages.resolve(up_to);
    }
}

impl ClusterRunner {
    /// Runs a script on the server that has a slot.
    async fn run_in(
        &self,
        slot: u16,
        script: &Script,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
    ) -> Result<Value, CallError> {
        let (started, mut pause) = (Instant::now(), MOVING_PAUSES.0);
        let (mut command, mut is_asking) = (script.by_hash(keys, args), false);
        let mut server = self.servers.of_slot(slot).await?;
        let mut redirects = 0;
        while redirects < MAX_REDIRECTS && started.elapsed() < CALL_LIMIT {
            let response = server.client.send_to_slot(&command, is_asking).await;
            self.servers.has_responded(&server);
            match response {
                Err(CallError::NoScript) => command = script.by_source(keys, args),
                Err(CallError::Moved(to)) => {
                    // The new server may have been a replica, and may lack the last writes.
                    self.servers.outages.note(std::iter::once(slot));
                    self.servers.refresh();
                    (server, is_asking) = (self.redirected(&to, &server)?, false);
                    redirects += 1;
                }
                Err(CallError::Ask(to)) => {
                    (server, is_asking) = (self.redirected(&to, &server)?, true);
                    redirects += 1;
                }
                Err(CallError::Split) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(MOVING_PAUSES.1);
                    (server, is_asking) = (self.servers.of_slot(slot).await?, false);
                }
                result => return result,
            }
        }
        Err(StoreError::Unreachable("the keys are being moved to another server".to_owned()).into())
    }

    /// The server that a server has redirected a call to.
    fn redirected(&self, to: &str, from: &Server) -> Result<Arc<Server>, StoreError> {
        let unknown = || StoreError::Unreachable("a server does not know where a slot is".to_owned());
        let place = Place::parse(to, &from.place.host).ok_or_else(unknown)?;
        Ok(self.servers.at(&place))
    }
}
