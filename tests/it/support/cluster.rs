//! A real Redis Cluster on this machine: three primaries with any number of replicas.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{PATIENCE, RedisServer, redis::share_database};

/// Without the last flag, the whole cluster refuses commands during the failover of one primary.
const FLAGS: [&str; 6] =
    ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"];

/// The servers of a cluster. Dropping it ends them.
pub struct RedisCluster {
    pub servers: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts three primaries with `replicas` replicas each. A primary that is silent for a second is replaced.
    pub async fn start(replicas: usize) -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 * (1 + replicas) {
            let mut server = RedisServer::reserve();
            server.flags = FLAGS.map(str::to_owned).to_vec();
            server.run().await;
            let first: &RedisServer = servers.first().unwrap_or(&server);
            share_database(format!(":{}", server.port), first.database());
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
        assert!(created.success(), "the cluster is created");
        cluster.settle().await;
        cluster
    }

    /// The addresses in the format of `REDIS_URL`.
    pub fn urls(&self) -> String {
        self.servers.iter().map(RedisServer::url).collect::<Vec<_>>().join(",")
    }

    /// Waits until all running servers report a healthy cluster.
    pub async fn settle(&self) {
        let settled = async {
            while !self.servers.iter().filter(|server| server.is_up()).all(|server| {
                let info: String = server.command("CLUSTER INFO");
                // A replica that is not in sync yet could not take over.
                let replication: String = server.command("INFO replication");
                info.contains("cluster_state:ok") && !replication.contains("master_link_status:down")
            }) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, settled).await.expect("the cluster is healthy");
    }

    /// The slot of a channel's keys.
    pub fn slot_of(&self, channel: &str) -> u16 {
        self.servers[0].request(&["CLUSTER", "KEYSLOT", &format!("{{{channel}}}")])
    }

    /// Moves a slot key by key, with pauses in which its keys are split over both servers.
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
        // The target is informed first, so that no server redirects to one that does not know of the move yet.
        for server in [to, from].into_iter().chain(0..self.servers.len()) {
            set(server, "NODE", to);
        }
    }

    /// Moves slots from one primary to another with `redis-cli`, like operators do.
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

    /// The index of the primary that holds a channel's keys.
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
