//! A real Redis Cluster on this machine: three primaries, each with a replica or none.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{PATIENCE, RedisServer};

/// Without the last, all of a cluster refuses while one of its primaries is being replaced.
const FLAGS: [&str; 6] =
    ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"];

/// The servers of a cluster. They end when it is dropped.
pub struct RedisCluster {
    pub servers: Vec<RedisServer>,
}

impl RedisCluster {
    /// A cluster of three primaries with so many replicas each. A primary that is silent for a second is replaced.
    pub async fn start(replicas: usize) -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 * (1 + replicas) {
            let mut server = RedisServer::reserve();
            server.flags = FLAGS.map(str::to_owned).to_vec();
            server.run().await;
            servers.push(server);
        }
        let cluster = Self { servers };
        let addresses = cluster.servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(created.success(), "the cluster is made");
        cluster.settle().await;
        cluster
    }

    /// The addresses as `REDIS_URL` takes them.
    pub fn urls(&self) -> String {
        self.servers.iter().map(RedisServer::url).collect::<Vec<_>>().join(",")
    }

    /// Waits until every server that is up says that the cluster is whole.
    pub async fn settle(&self) {
        let settled = async {
            while !self.servers.iter().filter(|server| server.is_up()).all(|server| {
                let info: String = server.command("CLUSTER INFO");
                // A replica that has not caught up yet could not take over.
                let replication: String = server.command("INFO replication");
                info.contains("cluster_state:ok") && !replication.contains("master_link_status:down")
            }) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, settled).await.expect("the cluster is whole");
    }

    /// The slot of a channel's keys.
    pub fn slot_of(&self, channel: &str) -> u16 {
        self.servers[0].request(&["CLUSTER", "KEYSLOT", &format!("{{{channel}}}")])
    }

    /// Moves a slot by hand, key by key, with pauses in which it is half here and half there.
    pub async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let pause = || sleep(Duration::from_millis(40));
        let (slot, port) = (slot.to_string(), self.servers[to].port.to_string());
        let set = |server: usize, what: &str, other: usize| {
            self.servers[server].request::<()>(&["CLUSTER", "SETSLOT", &slot, what, &self.id(other)]);
        };
        set(to, "IMPORTING", from);
        set(from, "MIGRATING", to);
        pause().await;
        loop {
            let keys: Vec<String> = self.servers[from].request(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]);
            let [key] = &keys[..] else { break };
            self.servers[from].request::<String>(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
            pause().await;
        }
        // First where it is now: then no server is asked for what it does not know of yet.
        for server in [to, from].into_iter().chain(0..self.servers.len()) {
            set(server, "NODE", to);
        }
    }

    /// Moves so many slots from one primary to another, as operators do it.
    pub async fn reshard(&self, slots: usize, from: usize, to: usize) {
        let mut reshard = Command::new("redis-cli");
        reshard
            .args(["--cluster", "reshard", &format!("127.0.0.1:{}", self.servers[from].port)])
            .args(["--cluster-from", &self.id(from), "--cluster-to", &self.id(to)])
            .args(["--cluster-slots", &slots.to_string(), "--cluster-yes"]);
        let output = tokio::task::spawn_blocking(move || reshard.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    fn id(&self, server: usize) -> String {
        self.servers[server].command("CLUSTER MYID")
    }

    /// Which of the servers is the primary of a channel's keys.
    pub fn primary_of(&self, channel: &str) -> usize {
        let slot = self.slot_of(channel);
        let holds = |range: &str| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            from.parse().is_ok_and(|from: u16| from <= slot) && to.parse().is_ok_and(|to: u16| slot <= to)
        };
        let is_primary = |server: &RedisServer| {
            let nodes: String = server.command("CLUSTER NODES");
            let mine = nodes.lines().find(|line| line.contains("myself,master"));
            mine.is_some_and(|line| line.split(' ').skip(8).any(holds))
        };
        self.servers.iter().position(|server| server.is_up() && is_primary(server)).expect("a primary")
    }
}
