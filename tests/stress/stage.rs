//! The processes of a round: a Redis or a cluster, several nodes, and a proxy between each node and a single Redis.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    lag::Pids,
    node::{Gauges, Node, Recipe, gauges},
    oracle::plan::Plan,
    processes,
    proxy::{Network, Proxy},
    support::{RedisCluster, RedisServer},
};

/// The Redis of a round.
pub enum Redis {
    One(RedisServer),
    Cluster(RedisCluster),
}

impl Redis {
    pub fn servers(&self) -> &[RedisServer] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Cluster(cluster) => &cluster.servers,
        }
    }

    fn end(&mut self) {
        let servers = match self {
            Self::One(server) => std::slice::from_mut(server),
            Self::Cluster(cluster) => &mut cluster.servers,
        };
        for server in servers {
            let pid = server.pid();
            server.kill();
            pid.into_iter().for_each(processes::remove);
        }
    }
}

pub struct Stage {
    /// Locked during a fault, so that faults of Redis do not overlap.
    pub redis: tokio::sync::Mutex<Redis>,
    nodes: Vec<Slot>,
    /// The processes to be measured.
    pub pids: Pids,
    _network: Network,
}

/// A node, or the slot of a node that does not run at the moment.
struct Slot {
    recipe: Recipe,
    /// The proxy to Redis. `None` for a cluster: its servers announce their own addresses, so nodes connect directly.
    proxy: Option<Proxy>,
    node: Mutex<Option<Arc<Node>>>,
}

impl Stage {
    /// Starts all processes. The logs are written to `folder`.
    pub async fn start_all(plan: &Plan, is_cluster: bool, program: &Path, folder: &Path) -> Self {
        let network = Network::start();
        let redis = if is_cluster {
            Redis::Cluster(RedisCluster::start(1).await)
        } else {
            Redis::One(RedisServer::start().await)
        };
        for pid in redis.servers().iter().filter_map(RedisServer::pid) {
            processes::add(pid);
        }
        let mut nodes = Vec::new();
        for (index, node) in plan.nodes.iter().enumerate() {
            let (proxy, redis_url) = match &redis {
                Redis::One(server) => {
                    let proxy = network.proxy(server.port, node.delay, plan.seed ^ index as u64).await;
                    let url = format!("redis://127.0.0.1:{}", proxy.port);
                    (Some(proxy), url)
                }
                Redis::Cluster(cluster) => (None, cluster.urls()),
            };
            let log: PathBuf = folder.join(format!("node-{index}.log"));
            let database = folder.join("aforo.db");
            let program = program.to_owned();
            // Channels in parts in half of the rounds over a cluster.
            let channel_parts = if is_cluster && plan.seed % 2 == 1 { 4 } else { 1 };
            let recipe = Recipe { program, redis_url, channel_parts, database, log, rules: plan.rules };
            nodes.push(Slot { recipe, proxy, node: Mutex::new(None) });
        }
        let stage =
            Self { redis: tokio::sync::Mutex::new(redis), nodes, pids: Pids::default(), _network: network };
        for index in 0..stage.nodes.len() {
            stage.start(index).await;
        }
        stage.update_pids().await;
        stage
    }

    /// The requested node, or the next one that runs, as a load balancer would choose. `None`: the round is over.
    pub fn node(&self, wanted: usize) -> Option<(usize, Arc<Node>)> {
        let len = self.nodes.len();
        let running = |index: usize| Some((index, self.nodes[index].node.lock().clone()?));
        (0..len).find_map(|more| running((wanted + more) % len))
    }

    /// Exactly the requested node, if it runs.
    pub fn exact(&self, index: usize) -> Option<Arc<Node>> {
        self.nodes[index].node.lock().clone()
    }

    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.nodes.iter().filter_map(|slot| slot.proxy.as_ref())
    }

    pub fn proxy(&self, index: usize) -> Option<&Proxy> {
        self.nodes[index].proxy.as_ref()
    }

    /// Takes a node out of service, unless it is the last one. The caller must end it.
    pub fn take(&self, index: usize) -> Option<Arc<Node>> {
        let running = self.nodes.iter().filter(|slot| slot.node.lock().is_some()).count();
        if running > 1 { self.nodes[index].node.lock().take() } else { None }
    }

    /// Starts or restarts a node.
    pub async fn start(&self, index: usize) {
        let slot = &self.nodes[index];
        let node = Node::start(&slot.recipe).await;
        *slot.node.lock() = Some(Arc::new(node));
    }

    /// Updates the process ids.
    pub async fn update_pids(&self) {
        let redis = self.redis.lock().await.servers().iter().filter_map(RedisServer::pid).collect();
        self.set_pids(redis);
    }

    /// Updates the process ids. For callers that hold the lock of Redis.
    pub fn set_pids(&self, redis: Vec<u32>) {
        for pid in &redis {
            processes::add(*pid);
        }
        let pid = |slot: &Slot| slot.node.lock().as_ref().map(|node| node.pid());
        *self.pids.lock() = [redis, self.nodes.iter().filter_map(pid).collect()];
    }

    /// Ends all processes.
    pub async fn end(&self) {
        for slot in &self.nodes {
            drop(slot.node.lock().take());
        }
        self.redis.lock().await.end();
    }

    /// Describes everything that was not released: keys in Redis, except those by which running nodes find each other and
    /// each other's changes, and metrics of nodes above their initial value.
    pub async fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for server in self.redis.lock().await.servers().iter().filter(|server| server.is_up()) {
            let mut keys = server.keys(0);
            keys.retain(|key| {
                ![":{nodes}", ":{shares}", ":{changes}"].iter().any(|shared| key.ends_with(shared))
            });
            if !keys.is_empty() {
                left.push(format!("Redis still has {} keys: {:?}", keys.len(), keys.first()));
            }
        }
        for (index, slot) in self.nodes.iter().enumerate() {
            let Some(node) = slot.node.lock().clone() else { continue };
            let Some(now) = gauges(&node.base).await else {
                left.push(format!("no metrics from node {index}"));
                continue;
            };
            left.extend(above(&node.before, &now).into_iter().map(|what| format!("node {index}: {what}")));
        }
        left
    }
}

/// Describes the metrics above their initial value.
fn above(before: &Gauges, now: &Gauges) -> Vec<String> {
    // Connections to Redis are opened and closed, each with a task, and so is the request for the metrics. The pool keeps
    // up to six connections to SQLite, each with two files. A client of a cluster starts with connections to the three
    // primaries, and may have one to each of the six servers after a failover.
    let spare = |name: &str| match name {
        "process_open_fds" => 8 + 12,
        "aforo_tasks" => 2 + 2 * 6,
        _ => 0,
    };
    let is_more = |name: &&str| now[*name] > before[*name] + spare(name);
    let names = before.keys().copied().filter(|name| is_more(name));
    names.map(|name| format!("{name} is {}, was {}", now[name], before[name])).collect()
}

/// Copies the files of a round to `target/stress/{name}`.
pub fn keep(folder: &Path, name: &str) -> PathBuf {
    let kept = Path::new("target/stress").join(name);
    fs::create_dir_all(&kept).unwrap();
    for file in fs::read_dir(folder).unwrap().flatten() {
        fs::copy(file.path(), kept.join(file.file_name())).unwrap();
    }
    kept
}
