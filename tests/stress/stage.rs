//! What a round is played on: a Redis or a cluster, several nodes, and each node's way to it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    lag::Kinds,
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
    /// Held by whoever does something to it; one at a time.
    pub redis: tokio::sync::Mutex<Redis>,
    nodes: Vec<Slot>,
    /// The processes to be watched.
    pub kinds: Kinds,
    _network: Network,
}

/// A node, or the place of one that is not there now.
struct Slot {
    recipe: Recipe,
    /// Its way to Redis. A cluster has many servers that name themselves, so there each node reaches them directly.
    proxy: Option<Proxy>,
    node: Mutex<Option<Arc<Node>>>,
}

impl Stage {
    /// Starts everything. Logs go to the folder.
    pub async fn set(plan: &Plan, is_cluster: bool, program: &Path, folder: &Path) -> Self {
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
                    let proxy = network.way(server.port, node.delay, plan.seed ^ index as u64).await;
                    let url = format!("redis://127.0.0.1:{}", proxy.port);
                    (Some(proxy), url)
                }
                Redis::Cluster(cluster) => (None, cluster.urls()),
            };
            let log: PathBuf = folder.join(format!("node-{index}.log"));
            let recipe = Recipe { program: program.to_owned(), redis_url, log, rules: plan.rules };
            nodes.push(Slot { recipe, proxy, node: Mutex::new(None) });
        }
        let stage =
            Self { redis: tokio::sync::Mutex::new(redis), nodes, kinds: Kinds::default(), _network: network };
        for index in 0..stage.nodes.len() {
            stage.start(index).await;
        }
        stage.tell_processes().await;
        stage
    }

    /// The node, or if it is not there the next one, as a balancer chooses.
    /// `None`: the round is over.
    pub fn node(&self, wanted: usize) -> Option<(usize, Arc<Node>)> {
        let len = self.nodes.len();
        let there = |index: usize| Some((index, self.nodes[index].node.lock().clone()?));
        (0..len).find_map(|more| there((wanted + more) % len))
    }

    /// The node itself, if it is there.
    pub fn exact(&self, index: usize) -> Option<Arc<Node>> {
        self.nodes[index].node.lock().clone()
    }

    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.nodes.iter().filter_map(|slot| slot.proxy.as_ref())
    }

    pub fn proxy(&self, index: usize) -> Option<&Proxy> {
        self.nodes[index].proxy.as_ref()
    }

    /// Takes a node away, unless it is the last one. Whoever takes it ends it.
    pub fn take(&self, index: usize) -> Option<Arc<Node>> {
        let there = self.nodes.iter().filter(|slot| slot.node.lock().is_some()).count();
        if there > 1 { self.nodes[index].node.lock().take() } else { None }
    }

    /// Starts a node (again).
    pub async fn start(&self, index: usize) {
        let slot = &self.nodes[index];
        let node = Node::start(&slot.recipe).await;
        *slot.node.lock() = Some(Arc::new(node));
    }

    /// Says which processes there are now.
    pub async fn tell_processes(&self) {
        let redis = self.redis.lock().await.servers().iter().filter_map(RedisServer::pid).collect();
        self.tell_with(redis);
    }

    /// The same for whoever holds the Redis.
    pub fn tell_with(&self, redis: Vec<u32>) {
        for pid in &redis {
            processes::add(*pid);
        }
        let pid = |slot: &Slot| slot.node.lock().as_ref().map(|node| node.pid());
        *self.kinds.lock() = [redis, self.nodes.iter().filter_map(pid).collect()];
    }

    /// Ends everything.
    pub async fn end(&self) {
        for slot in &self.nodes {
            drop(slot.node.lock().take());
        }
        self.redis.lock().await.end();
    }

    /// What is left of what was, in words; empty when everything is as it was before.
    pub async fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for server in self.redis.lock().await.servers().iter().filter(|server| server.is_up()) {
            let keys = server.keys(0);
            if !keys.is_empty() {
                left.push(format!("Redis has {} keys: {:?}", keys.len(), keys.first()));
            }
        }
        for (index, slot) in self.nodes.iter().enumerate() {
            let Some(node) = slot.node.lock().clone() else { continue };
            let Some(now) = gauges(&node.base).await else {
                left.push(format!("node {index} does not tell its metrics"));
                continue;
            };
            left.extend(more(&node.before, &now).into_iter().map(|what| format!("node {index} has {what}")));
        }
        left
    }
}

/// What there is more of than there was.
fn more(before: &Gauges, now: &Gauges) -> Vec<String> {
    // Connections to Redis come and go, each with a task; and what asks for the metrics is one as well.
    let spare = |name: &str| match name {
        "process_open_fds" => 8,
        "aforo_tasks" => 2,
        _ => 0,
    };
    let is_more = |name: &&str| now[*name] > before[*name] + spare(name);
    let names = before.keys().copied().filter(|name| is_more(name));
    names.map(|name| format!("{name} {} and had {}", now[name], before[name])).collect()
}

/// Keeps what a round has written, under a name of its own.
pub fn keep(folder: &Path, name: &str) -> PathBuf {
    let kept = Path::new("target/stress").join(name);
    fs::create_dir_all(&kept).unwrap();
    for file in fs::read_dir(folder).unwrap().flatten() {
        fs::copy(file.path(), kept.join(file.file_name())).unwrap();
    }
    kept
}
