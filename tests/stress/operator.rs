//! Breaks things as the plan says, and tells when each was broken.

use std::{fs, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    clock::Clock,
    oracle::{
        faults::Fault,
        history::Window,
        plan::{Action, CHANNELS, Millis, Plan, ActionKind, channel},
        random::Random,
    },
    processes,
    proxy::State,
    stage::{Redis, Stage},
    support::RedisServer,
};

/// How long a Redis that comes back without anything is away, at most.
const DOWN: Millis = 6_000;

/// What faults there were, and what went wrong in making them.
#[derive(Default)]
pub struct Log {
    pub windows: Vec<Window>,
    pub oddities: Vec<(Millis, String)>,
}

pub struct Operator {
    pub stage: Arc<Stage>,
    pub clock: Clock,
    pub log: Arc<Mutex<Log>>,
    /// What is not in the plan is drawn here.
    random: Mutex<Random>,
}

impl Operator {
    pub fn new(stage: Arc<Stage>, clock: Clock, seed: u64) -> Self {
        Self { stage, clock, log: Arc::default(), random: Mutex::new(Random::new(seed ^ 0xfa17)) }
    }

    /// Plays the faults of a plan, until the last is over.
    pub async fn play(self: Arc<Self>, plan: Plan) {
        let mut tasks = JoinSet::new();
        for Action { at, what } in plan.actions {
            if let ActionKind::Fault { fault, lasts } = what {
                tasks.spawn(Arc::clone(&self).one(at, fault, lasts));
            }
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }

    async fn one(self: Arc<Self>, at: Millis, fault: Fault, lasts: Millis) {
        if let Fault::OldCopy { age } = fault {
            return self.old_copy(at, age).await;
        }
        self.clock.wait_until(at).await;
        match fault {
            Fault::Slow { node, delay } => {
                self.on_way(node, fault, lasts, |state| state.delay += delay, |state| state.delay -= delay)
                    .await;
            }
            Fault::Lossy { node, percent } => {
                self.on_way(
                    node,
                    fault,
                    lasts,
                    |state| state.lossy += percent,
                    |state| state.lossy -= percent,
                )
                .await;
            }
            Fault::Late { node, percent } => {
                self.on_way(node, fault, lasts, |state| state.late += percent, |state| state.late -= percent)
                    .await;
            }
            Fault::Cut { node } => {
                let heal = |state: &mut State| {
                    state.is_cut = false;
                    state.generation += 1;
                };
                self.on_way(node, fault, lasts, |state| state.is_cut = true, heal).await;
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
            _ => self.on_redis(fault, lasts).await,
        }
    }

    /// Something is wrong with a way for a while.
    async fn on_way(
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

    /// A node ends, by itself or not, and comes back.
    async fn restart(&self, index: usize, fault: Fault, lasts: Millis) {
        let from = self.clock.now();
        let Some(node) = self.stage.take(index) else { return };
        if matches!(fault, Fault::Ended { .. }) {
            processes::signal(node.pid(), "TERM");
            if !node.has_ended().await {
                self.odd(from, format!("node {index} did not end when it was asked to"));
            }
        } else {
            processes::signal(node.pid(), "KILL");
        }
        drop(node);
        sleep(Duration::from_millis(lasts)).await;
        self.stage.start(index).await;
        self.stage.tell_processes().await;
        self.note(from, fault);
    }

    /// Something happens to Redis: one thing at a time.
    async fn on_redis(&self, fault: Fault, lasts: Millis) {
        let mut redis = self.stage.redis.lock().await;
        let from = self.clock.now();
        match fault {
            Fault::Away if matches!(&*redis, Redis::Cluster(_)) => {
                let Redis::Cluster(cluster) = &mut *redis else { return };
                let dying = cluster.primary_of(&channel(self.draw(CHANNELS)));
                kill(&mut cluster.servers[dying]);
                cluster.settle().await;
                sleep(Duration::from_millis(lasts)).await;
                cluster.servers[dying].run().await;
                cluster.settle().await;
                let pids = cluster.servers.iter().filter_map(RedisServer::pid).collect();
                self.stage.tell_with(pids);
                // The replica that took over did not have the newest.
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
                    self.down(server, self.draw(DOWN)).await;
                    self.note(from, Fault::Away);
                    self.note(self.clock.now(), fault);
                }
                return;
            }
            _ => return,
        }
        self.note(from, fault);
    }

    /// Redis is killed, and comes back with what it had written to its disk before.
    async fn old_copy(&self, at: Millis, age: Millis) {
        let copy = {
            self.clock.wait_until(at.saturating_sub(age)).await;
            let redis = self.stage.redis.lock().await;
            let Redis::One(server) = &*redis else { return };
            server.command::<()>("SAVE");
            let copy = fs::read(server.dump()).unwrap();
            // Whoever restarts it meanwhile restarts it without anything.
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
        self.up(server).await;
        self.note(from, Fault::Away);
        self.note(self.clock.now(), Fault::OldCopy { age: from - saved });
        fs::remove_file(server.dump()).unwrap();
    }

    /// Redis is killed, and comes back without anything after a while.
    async fn down(&self, server: &mut RedisServer, lasts: Millis) {
        kill(server);
        sleep(Duration::from_millis(lasts)).await;
        self.up(server).await;
    }

    async fn up(&self, server: &mut RedisServer) {
        server.run().await;
        self.stage.tell_with(server.pid().into_iter().collect());
    }

    fn draw(&self, n: u64) -> u64 {
        self.random.lock().below(n)
    }

    /// A fault that began then is over.
    fn note(&self, from: Millis, fault: Fault) {
        self.log.lock().windows.push(Window { from, to: self.clock.now(), fault });
    }

    fn odd(&self, at: Millis, what: String) {
        self.log.lock().oddities.push((at, what));
    }
}

/// Whether it takes writes, and is no copy of another server.
fn is_primary(server: &RedisServer) -> bool {
    server.command::<String>("INFO replication").contains("role:master")
}

fn kill(server: &mut RedisServer) {
    let pid = server.pid();
    server.kill();
    pid.into_iter().for_each(processes::remove);
}
