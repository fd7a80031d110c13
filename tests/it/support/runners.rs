//! A connection to Redis or to a cluster that a test can cut, and that can use the key format of a later version.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use aforo::server::{
    redis::{ClusterRunner, RedisRunner, Runner, Script},
    store::StoreError,
};
use async_trait::async_trait;
use redis::Value;

use super::{RedisCluster, RedisServer};

/// A connection to a Redis server or cluster.
pub struct TestRunner {
    inner: Box<dyn Runner>,
    /// The flag with the database that all nodes with this server share.
    pub database: String,
    is_cut: AtomicBool,
    is_later: bool,
}

impl TestRunner {
    pub fn to(redis: &RedisServer) -> Arc<Self> {
        Self::new(Box::new(RedisRunner::open(&redis.url()).unwrap()), redis, false)
    }

    pub fn to_cluster(cluster: &RedisCluster) -> Arc<Self> {
        let urls: Vec<_> = cluster.servers.iter().map(RedisServer::url).collect();
        let urls: Vec<_> = urls.iter().map(String::as_str).collect();
        Self::new(Box::new(ClusterRunner::open(&urls).unwrap()), &cluster.servers[0], false)
    }

    /// A connection of a later program version with another key format.
    pub fn with_later_format(redis: &RedisServer) -> Arc<Self> {
        Self::new(Box::new(RedisRunner::open(&redis.url()).unwrap()), redis, true)
    }

    fn new(inner: Box<dyn Runner>, redis: &RedisServer, is_later: bool) -> Arc<Self> {
        let database = format!("--database-url=sqlite:{}", redis.database().display());
        Arc::new(Self { inner, database, is_cut: AtomicBool::new(false), is_later })
    }

    /// While the connection is cut, every call fails.
    pub fn set_cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, SeqCst);
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_cut.load(SeqCst) { Err(StoreError::Unreachable("cut".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Runner for TestRunner {
    fn script(&self, source: &'static str) -> Script {
        if self.is_later {
            Script::new(source.replace("local FORMAT = 3", "local FORMAT = 4"))
        } else {
            Script::new(source)
        }
    }

    async fn run(&self, script: &Script, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Result<Value, StoreError> {
        self.check()?;
        self.inner.run(script, keys, args).await
    }

    fn server_of(&self, key: &[u8]) -> u64 {
        self.inner.server_of(key)
    }

    fn takes_many_channels(&self) -> bool {
        self.inner.takes_many_channels()
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        self.check()?;
        self.inner.incarnation().await
    }

    fn was_away(&self, key: &[u8]) -> bool {
        self.inner.was_away(key)
    }

    fn unresolved_outage(&self) -> Option<u64> {
        self.inner.unresolved_outage()
    }

    fn resolve_outages(&self, up_to: u64) {
        self.inner.resolve_outages(up_to);
    }
}
