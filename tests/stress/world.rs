//! Plays a plan in real time: several nodes over a real Redis, and everyone who comes. Nothing is judged here.
//!
//! All clients are on one thread, so that one timer tells how late they are. What breaks things has threads of its own.

use std::{path::Path, sync::Arc, time::Duration};

use futures::StreamExt;
use parking_lot::Mutex;
use redis::{Client, Connection, Script};
use tokio::time::{sleep, timeout};

use crate::{
    clock::Clock,
    lag::Gauge,
    operator::Operator,
    oracle::{
        attackers::Flood,
        faults::Fault,
        history::{Called, Counted, History, Stream},
        plan::{CHANNELS, Call, Millis, Plan, ActionKind, channel},
    },
    pages::{Pages, Trouble},
    stage::{Redis, Stage},
};

/// How often Redis's own counts are noted, and how long it may take to tell one.
const SAMPLE: Duration = Duration::from_millis(500);
const SAMPLE_LIMIT: Duration = Duration::from_millis(400);

/// How often is looked whether all is gone.
const LOOK: Duration = Duration::from_millis(500);

/// How long a stream of the churn is open.
const GLANCE: Duration = Duration::from_millis(500);

struct World {
    clock: Clock,
    stage: Arc<Stage>,
    pages: Pages,
    history: Mutex<History>,
    /// What was odd, unless the node ended or stood still around that time: from, to, node, what.
    odd: Mutex<Vec<(Millis, Millis, usize, String)>>,
}

/// Plays a plan to its end.
pub async fn play(plan: &Plan, is_cluster: bool, program: &Path, folder: &Path) -> History {
    let stage = Arc::new(Stage::set(plan, is_cluster, program, folder).await);
    let clock = Clock::start();
    let gauge = Gauge::start(clock, Arc::clone(&stage.kinds));
    let operator = Arc::new(Operator::new(Arc::clone(&stage), clock, plan.seed));
    let faults = Arc::clone(&operator.log);
    let breaking = {
        let plan = plan.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(operator.play(plan));
        })
    };
    let world = Arc::new(World {
        clock,
        stage,
        pages: Pages::new(),
        history: Mutex::default(),
        odd: Mutex::default(),
    });
    let sampling = if is_cluster { None } else { Some(world.sample(plan).await) };
    for action in &plan.actions {
        clock.wait_until(action.at).await;
        world.act(&action.what);
    }
    clock.wait_until(plan.rules.watched.max(plan.rules.span + plan.rules.lease(true))).await;
    let left = world.look_around(plan.rules.over).await;
    breaking.join().unwrap();
    sampling.map(std::thread::JoinHandle::join).transpose().unwrap();
    let mut history = std::mem::take(&mut *world.history.lock());
    history.lags = gauge.stop();
    world.stage.end().await;
    history.leftovers = left;
    let faults = std::mem::take(&mut *faults.lock());
    history.faults = faults.windows;
    history.oddities = faults.oddities;
    let odd = std::mem::take(&mut *world.odd.lock());
    let is_excused = |from: Millis, to: Millis, node: usize| {
        history.faults.iter().any(|window| {
            let faults = [Fault::Killed { node }, Fault::Ended { node }, Fault::Stopped { node }];
            faults.contains(&window.fault) && window.from <= to && from <= window.to + 1_000
        })
    };
    let odd = odd.into_iter().filter(|(from, to, node, _)| !is_excused(*from, *to, *node));
    history
        .oddities
        .extend(odd.map(|(from, _, node, what)| (from, format!("node {node}: {what}"))).collect::<Vec<_>>());
    history
}

impl World {
    fn act(self: &Arc<Self>, what: &ActionKind) {
        let world = Arc::clone(self);
        match *what {
            ActionKind::Call(call) => drop(tokio::spawn(world.call(call))),
            ActionKind::Watch { node, channel, lasts } => drop(tokio::spawn(world.watch(node, channel, lasts))),
            ActionKind::Churn { node, per_second, lasts } => {
                drop(tokio::spawn(world.churn(node, per_second, lasts)));
            }
            ActionKind::Flood(ref flood) => drop(tokio::spawn(world.flood(flood.clone()))),
            ActionKind::Fault { .. } => {}
        }
    }

    async fn call(self: Arc<Self>, call: Call) {
        loop {
            let Some((index, node)) = self.stage.node(call.node) else { return };
            let (call, at) = (Call { node: index, ..call }, self.clock.now());
            let answer = self.pages.call(&node.base, call).await;
            let answered = self.clock.now();
            let answer = match answer {
                // A balancer goes on to another.
                Err(Trouble::NotThere) => {
                    self.odd(at, answered, index, "it refuses connections".to_owned());
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
                Err(Trouble::Broken(what)) => {
                    self.odd(at, answered, index, format!("{call:?}: {what}"));
                    None
                }
                Err(Trouble::Odd(what)) => {
                    self.history.lock().oddities.push((answered, format!("node {index}: {what}")));
                    None
                }
                Ok(answer) => Some((answered, answer)),
            };
            self.history.lock().calls.push(Called { call, at, answer });
            return;
        }
    }

    async fn flood(self: Arc<Self>, flood: Flood) {
        for nth in 0..flood.calls {
            tokio::spawn(Arc::clone(&self).call(flood.call(nth)));
            sleep(Duration::from_millis(flood.every)).await;
        }
    }

    /// A page with a stream, which it opens again when it ends.
    async fn watch(self: Arc<Self>, wanted: usize, number: u64, lasts: Millis) {
        let until = self.clock.now() + lasts;
        while self.clock.now() < until {
            let Some((node, alive)) = self.stage.node(wanted) else { return };
            let opened = self.clock.now();
            let mut stream = Stream { node, channel: number, opened, closed: until, seen: Vec::new() };
            let watching = async {
                let mut events = std::pin::pin!(self.pages.stream(&alive.base, number, 0).await?);
                while let Some(shown) = events.next().await {
                    stream.seen.push((self.clock.now(), shown?));
                }
                Err::<(), _>(Trouble::Broken("it ended the stream".to_owned()))
            };
            let ended = timeout(Duration::from_millis(until.saturating_sub(opened)), watching).await;
            stream.closed = self.clock.now();
            match ended {
                Err(_) | Ok(Ok(())) => {}
                Ok(Err(Trouble::NotThere)) => {
                    self.odd(opened, stream.closed, node, "it refuses streams".to_owned());
                }
                Ok(Err(Trouble::Broken(what))) => self.odd(stream.closed, stream.closed, node, what),
                Ok(Err(Trouble::Odd(what))) => self.history.lock().oddities.push((stream.closed, what)),
            }
            self.history.lock().streams.push(stream);
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn churn(self: Arc<Self>, node: usize, per_second: u64, lasts: Millis) {
        let until = self.clock.now() + lasts;
        let mut nth = 0;
        while self.clock.now() < until {
            nth += 1;
            let world = Arc::clone(&self);
            tokio::spawn(async move {
                let Some((node, alive)) = world.stage.node(node) else { return };
                let number = CHANNELS + until * 1_000_000 + nth;
                let address = u32::try_from(100_000 + nth % 100).unwrap();
                let glance = async {
                    let mut events = std::pin::pin!(world.pages.stream(&alive.base, number, address).await?);
                    while let Some(Ok(_)) = events.next().await {}
                    Ok::<(), Trouble>(())
                };
                if let Ok(Err(Trouble::Odd(what))) = timeout(GLANCE, glance).await {
                    world.odd(world.clock.now(), world.clock.now(), node, what);
                }
            });
            sleep(Duration::from_millis(1_000 / per_second)).await;
        }
    }

    /// Notes Redis's own counts, on a thread of its own.
    async fn sample(self: &Arc<Self>, plan: &Plan) -> std::thread::JoinHandle<()> {
        let (world, rules) = (Arc::clone(self), plan.rules);
        let url = match &*self.stage.redis.lock().await {
            Redis::One(server) => server.url(),
            Redis::Cluster(_) => unreachable!("a cluster's counts are not noted"),
        };
        std::thread::spawn(move || {
            let mut connection = None;
            while world.clock.now() < rules.span + rules.lease(true) + 10_000 {
                std::thread::sleep(SAMPLE);
                connection = connection.or_else(|| connect(&url));
                for number in 0..CHANNELS {
                    let at = world.clock.now();
                    let Some(count) = connection.as_mut().and_then(|redis| count(redis, number)) else {
                        connection = None;
                        break;
                    };
                    let answered = world.clock.now();
                    world.history.lock().counts.push(Counted { at, answered, channel: number, count });
                }
            }
        })
    }

    /// What is left when everyone has gone, at that time at the latest.
    async fn look_around(&self, over: Millis) -> Vec<String> {
        self.pages.hang_up();
        loop {
            let left = self.stage.leftovers().await;
            if left.is_empty() || self.clock.now() > over {
                return left;
            }
            sleep(LOOK).await;
        }
    }

    fn odd(&self, from: Millis, to: Millis, node: usize, what: String) {
        self.odd.lock().push((from, to, node, what));
    }
}

fn connect(url: &str) -> Option<Connection> {
    let connection = Client::open(url).ok()?.get_connection_with_timeout(SAMPLE_LIMIT).ok()?;
    connection.set_read_timeout(Some(SAMPLE_LIMIT)).ok()?;
    Some(connection)
}

/// The viewers with a lease that has not ended, by the clock of Redis.
fn count(redis: &mut Connection, number: u64) -> Option<u32> {
    let script = Script::new(
        "local clock = redis.call('TIME') \
         local now = clock[1] * 1000 + math.floor(clock[2] / 1000) \
         return redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')",
    );
    script.key(format!("aforo:{{{}}}:viewers", channel(number))).invoke(redis).ok()
}
