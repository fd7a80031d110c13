//! Causes the faults of a plan, and records when each fault was active.

use std::{fs, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    clock::Clock,
    oracle::{
        faults::Fault,
        history::Window,
        plan::{Action, ActionKind, CHANNELS, Millis, Plan, channel},
        random::Random,
    },
    processes,
    proxy::State,
    stage::{Redis, Stage},
    support::RedisServer,
};

/// The longest downtime of a Redis that restarts without data.
const DOWN: Millis = 6_000;

/// The faults so far, and unexpected events.
#[derive(Default)]
pub struct Log {
    pub windows: Vec<Window>,
    pub oddities: Vec<(Millis, String)>,
}

pub struct Operator {
    pub stage: Arc<Stage>,
    pub clock: Clock,
    pub log: Arc<Mutex<Log>>,
    /// Decides details that the plan leaves open.
    random: Mutex<Random>,
}

impl Operator {
    pub fn new(stage: Arc<Stage>, clock: Clock, seed: u64) -> Self {
        Self { stage, clock, log: Arc::default(), random: Mutex::new(Random::new(seed ^ 0xfa17)) }
    }

    /// Causes the faults of a plan. Returns when the last one has ended.
    pub async fn run(self: Arc<Self>, plan: Plan) {
        let mut tasks = JoinSet::new();
        for Action { at, kind } in plan.actions {
            if let ActionKind::Fault { fault, lasts } = kind {
                tasks.spawn(Arc::clone(&self).one(at, fault, lasts));
            }
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }

    async fn one(self: Arc<Self>, at: Millis, fault: Fault, lasts: Millis) {
        if let Fault::OldCopy { age } = fault {
            return self.restore_old_copy(at, age).await;
        }
        self.clock.wait_until(at).await;
        match fault {
            Fault::Slow { node, delay } => {
                self.on_proxy(node, fault, lasts, |state| state.delay += delay, |state| state.delay -= delay)
                    .await;
            }
            Fault::Lossy { node, percent } => {
                self.on_proxy(
                    node,
                    fault,
                    lasts,
                    |state| state.lossy += percent,
                    |state| state.lossy -= percent,
                )
                .await;
            }
            Fault::Late { node, percent } => {
                self.on_proxy(
                    node,
                    fault,
                    lasts,
                    |state| state.late += percent,
                    |state| state.late -= percent,
                )
                .await;
            }
            Fault::Cut { node } => {
                let reconnect = |state: &mut State| {
                    state.is_cut = false;
                    state.generation += 1;
                };
                self.on_proxy(node, fault, lasts, |state| state.is_cut = true, reconnect).await;
            }
            Fault::Killed { node } | Fault::Ended { node } => self.restart(node, fault, lasts).await,
            Fault::Stopped { node } => {
                let Some(node) = self.stage.exact(node) else { return };
                let from = self.clock.now();
                processes::signal(node.pid(), "STOP");
                sleep(Duration::from_millis(lasts)).await;
                processes::signal(node.pid(), "CONT");
                self.note(from, fault);
            }
            _ => self.apply_to_redis(fault, lasts).await,
        }
    }

    /// Changes the state of a node's proxy for a while.
    async fn on_proxy(
        &self,
        node: usize,
        fault: Fault,
        lasts: Millis,
        begin: impl FnOnce(&mut State),
        end: impl FnOnce(&mut State),
    ) {
        let Some(proxy) = self.stage.proxy(node) else { return };
        let from = self.clock.now();
        proxy.change(begin);
        sleep(Duration::from_millis(lasts)).await;
        proxy.change(end);
        self.note(from, fault);
    }

    /// Kills a node or shuts it down, and starts it again.
    async fn restart(&self, index: usize, fault: Fault, lasts: Millis) {
        let from = self.clock.now();
        let Some(node) = self.stage.take(index) else { return };
        if matches!(fault, Fault::Ended { .. }) {
            processes::signal(node.pid(), "TERM");
            if !node.has_exited().await {
                self.note_oddity(from, format!("node {index} did not exit after SIGTERM"));
            }
        } else {
            processes::signal(node.pid(), "KILL");
        }
        drop(node);
        sleep(Duration::from_millis(lasts)).await;
        self.stage.start(index).await;
        self.stage.update_pids().await;
        self.note(from, fault);
    }

    /// Applies a fault to Redis, one at a time.
    async fn apply_to_redis(&self, fault: Fault, lasts: Millis) {
        let mut redis = self.stage.redis.lock().await;
        let from = self.clock.now();
        match fault {
            Fault::Away if matches!(&*redis, Redis::Cluster(_)) => {
                let Redis::Cluster(cluster) = &mut *redis else { return };
                let primary = cluster.primary_of(&channel(self.draw(CHANNELS)));
                kill(&mut cluster.servers[primary]);
                cluster.settle().await;
                sleep(Duration::from_millis(lasts)).await;
                cluster.servers[primary].run().await;
                cluster.settle().await;
                let pids = cluster.servers.iter().filter_map(RedisServer::pid).collect();
                self.stage.set_pids(pids);
                // The promoted replica may lack the last writes.
                self.note(from, Fault::Lost { every: 1 });
            }
            Fault::Away => {
                for proxy in self.stage.proxies() {
                    proxy.change(|state| {
                        state.is_away = true;
                        state.generation += 1;
                    });
                }
                sleep(Duration::from_millis(lasts)).await;
                for proxy in self.stage.proxies() {
                    proxy.change(|state| state.is_away = false);
                }
            }
            Fault::Paused if self.draw(2) == 0 => {
                let pids: Vec<u32> = redis.servers().iter().filter_map(RedisServer::pid).collect();
                pids.iter().for_each(|pid| processes::signal(*pid, "STOP"));
                sleep(Duration::from_millis(lasts)).await;
                pids.iter().for_each(|pid| processes::signal(*pid, "CONT"));
            }
            Fault::Paused => {
                for server in redis.servers() {
                    server.command::<()>(&format!("CLIENT PAUSE {lasts} ALL"));
                }
                sleep(Duration::from_millis(lasts)).await;
            }
            Fault::Emptied => {
                for server in redis.servers().iter().filter(|server| is_primary(server)) {
                    server.command::<()>("FLUSHALL");
                }
            }
            Fault::Lost { every } => {
                for number in 0..CHANNELS {
                    if (number + 1).is_multiple_of(every) {
                        let name = channel(number);
                        let keys =
                            [format!("aforo:{{{name}}}:viewers"), format!("aforo:{{{name}}}:sessions")];
                        let server = &redis.servers()[0];
                        server.request::<()>(&["DEL", &keys[0], &keys[1]]);
                    }
                }
            }
            Fault::Disconnected => {
                for server in redis.servers() {
                    server.command::<redis::Value>("CLIENT KILL TYPE normal SKIPME yes");
                }
            }
            Fault::Restarted => {
                if let Redis::One(server) = &mut *redis {
                    self.restart_redis(server, self.draw(DOWN)).await;
                    self.note(from, Fault::Away);
                    self.note(self.clock.now(), fault);
                }
                return;
            }
            _ => return,
        }
        self.note(from, fault);
    }

    /// Kills Redis, and starts it with a dump of `age` ms ago.
    async fn restore_old_copy(&self, at: Millis, age: Millis) {
        let copy = {
            self.clock.wait_until(at.saturating_sub(age)).await;
            let redis = self.stage.redis.lock().await;
            let Redis::One(server) = &*redis else { return };
            server.command::<()>("SAVE");
            let copy = fs::read(server.dump()).unwrap();
            // Another restart in the meantime must start without data.
            fs::remove_file(server.dump()).unwrap();
            copy
        };
        let saved = self.clock.now();
        self.clock.wait_until(at).await;
        let mut redis = self.stage.redis.lock().await;
        let Redis::One(server) = &mut *redis else { return };
        let from = self.clock.now();
        kill(server);
        fs::write(server.dump(), copy).unwrap();
        self.start_redis(server).await;
        self.note(from, Fault::Away);
        self.note(self.clock.now(), Fault::OldCopy { age: from - saved });
        fs::remove_file(server.dump()).unwrap();
    }

    /// Kills Redis, and starts it without data after a while.
    async fn restart_redis(&self, server: &mut RedisServer, lasts: Millis) {
        kill(server);
        sleep(Duration::from_millis(lasts)).await;
        self.start_redis(server).await;
    }

    async fn start_redis(&self, server: &mut RedisServer) {
        server.run().await;
        self.stage.set_pids(server.pid().into_iter().collect());
    }

    fn draw(&self, n: u64) -> u64 {
        self.random.lock().below(n)
    }

    /// Records a fault that began at `from` and ends now.
    fn note(&self, from: Millis, fault: Fault) {
        self.log.lock().windows.push(Window { from, to: self.clock.now(), fault });
    }

    fn note_oddity(&self, at: Millis, what: String) {
        self.log.lock().oddities.push((at, what));
    }
}

/// Whether the server is a primary, not a replica.
fn is_primary(server: &RedisServer) -> bool {
    server.command::<String>("INFO replication").contains("role:master")
}

fn kill(server: &mut RedisServer) {
    let pid = server.pid();
    server.kill();
    pid.into_iter().for_each(processes::remove);
}
