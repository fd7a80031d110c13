//! Runs a plan in real time, with several nodes over a real Redis, and records the history.
//!
//! All clients run on one thread, so that one timer measures how late they are. The operator has its own threads.

use std::{path::Path, sync::Arc, time::Duration};

use futures::StreamExt;
use parking_lot::Mutex;
use redis::{Client, Connection, Script};
use tokio::time::{sleep, timeout};

use crate::{
    clock::Clock,
    lag::LagMeter,
    operator::Operator,
    oracle::{
        attackers::Flood,
        faults::Fault,
        history::{Called, Counted, History, Stream},
        plan::{ActionKind, CHANNELS, Call, Millis, Plan, channel},
    },
    pages::{CallError, Pages},
    stage::{Redis, Stage},
};

/// The interval at which the counts in Redis are recorded.
const SAMPLE: Duration = Duration::from_millis(500);
/// The timeout of a sample.
const SAMPLE_LIMIT: Duration = Duration::from_millis(400);

/// The interval of the checks for leftovers.
const CHECK: Duration = Duration::from_millis(500);

/// How long a stream of the churn is open.
const VISIT: Duration = Duration::from_millis(500);

struct World {
    clock: Clock,
    stage: Arc<Stage>,
    pages: Pages,
    history: Mutex<History>,
    /// Events that are unexpected unless the node was ended or suspended around that time: from, to, node, description.
    suspects: Mutex<Vec<(Millis, Millis, usize, String)>>,
}

/// Runs a plan to its end.
pub async fn run(plan: &Plan, is_cluster: bool, program: &Path, folder: &Path) -> History {
    let stage = Arc::new(Stage::start_all(plan, is_cluster, program, folder).await);
    let clock = Clock::start();
    let meter = LagMeter::start(clock, Arc::clone(&stage.pids));
    let operator = Arc::new(Operator::new(Arc::clone(&stage), clock, plan.seed));
    let faults = Arc::clone(&operator.log);
    let faulting = {
        let plan = plan.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(operator.run(plan));
        })
    };
    let world = Arc::new(World {
        clock,
        stage,
        pages: Pages::new(),
        history: Mutex::default(),
        suspects: Mutex::default(),
    });
    let sampling = if is_cluster { None } else { Some(world.sample(plan).await) };
    for action in &plan.actions {
        clock.wait_until(action.at).await;
        world.act(&action.kind);
    }
    clock.wait_until(plan.rules.watched.max(plan.rules.span + plan.rules.lease(true))).await;
    let left = world.leftovers(plan.rules.end).await;
    faulting.join().unwrap();
    sampling.map(std::thread::JoinHandle::join).transpose().unwrap();
    let mut history = std::mem::take(&mut *world.history.lock());
    history.lags = meter.stop();
    world.stage.end().await;
    history.leftovers = left;
    let faults = std::mem::take(&mut *faults.lock());
    history.faults = faults.windows;
    history.oddities = faults.oddities;
    let suspects = std::mem::take(&mut *world.suspects.lock());
    let is_excused = |from: Millis, to: Millis, node: usize| {
        history.faults.iter().any(|window| {
            let faults = [Fault::Killed { node }, Fault::Ended { node }, Fault::Stopped { node }];
            faults.contains(&window.fault) && window.from <= to && from <= window.to + 1_000
        })
    };
    let odd = suspects.into_iter().filter(|(from, to, node, _)| !is_excused(*from, *to, *node));
    history
        .oddities
        .extend(odd.map(|(from, _, node, what)| (from, format!("node {node}: {what}"))).collect::<Vec<_>>());
    history
}

impl World {
    fn act(self: &Arc<Self>, kind: &ActionKind) {
        let world = Arc::clone(self);
        match *kind {
            ActionKind::Call(call) => drop(tokio::spawn(world.call(call))),
            ActionKind::Watch { node, channel, lasts } => {
                drop(tokio::spawn(world.watch(node, channel, lasts)));
            }
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
                // A load balancer tries another node.
                Err(CallError::Refused) => {
                    self.note(at, answered, index, "connection refused".to_owned());
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
                Err(CallError::Broken(what)) => {
                    self.note(at, answered, index, format!("{call:?}: {what}"));
                    None
                }
                Err(CallError::Unexpected(what)) => {
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

    /// A page that watches a stream and reopens it when it ends.
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
                Err::<(), _>(CallError::Broken("the node closed the stream".to_owned()))
            };
            let ended = timeout(Duration::from_millis(until.saturating_sub(opened)), watching).await;
            stream.closed = self.clock.now();
            match ended {
                Err(_) | Ok(Ok(())) => {}
                Ok(Err(CallError::Refused)) => {
                    self.note(opened, stream.closed, node, "connection refused".to_owned());
                }
                Ok(Err(CallError::Broken(what))) => self.note(stream.closed, stream.closed, node, what),
                Ok(Err(CallError::Unexpected(what))) => {
                    self.history.lock().oddities.push((stream.closed, what));
                }
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
                let visit = async {
                    let mut events = std::pin::pin!(world.pages.stream(&alive.base, number, address).await?);
                    while let Some(Ok(_)) = events.next().await {}
                    Ok::<(), CallError>(())
                };
                if let Ok(Err(CallError::Unexpected(what))) = timeout(VISIT, visit).await {
                    world.note(world.clock.now(), world.clock.now(), node, what);
                }
            });
            sleep(Duration::from_millis(1_000 / per_second)).await;
        }
    }

    /// Records the counts in Redis, on a separate thread.
    async fn sample(self: &Arc<Self>, plan: &Plan) -> std::thread::JoinHandle<()> {
        let (world, rules) = (Arc::clone(self), plan.rules);
        let url = match &*self.stage.redis.lock().await {
            Redis::One(server) => server.url(),
            Redis::Cluster(_) => unreachable!("the counts in a cluster are not sampled"),
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

    /// Waits until everything is released, at most until `end`. Describes what is left.
    async fn leftovers(&self, end: Millis) -> Vec<String> {
        loop {
            // Again at each check: a late response leaves its connection open.
            self.pages.close_idle();
            let left = self.stage.leftovers().await;
            if left.is_empty() || self.clock.now() > end {
                return left;
            }
            sleep(CHECK).await;
        }
    }

    fn note(&self, from: Millis, to: Millis, node: usize, what: String) {
        self.suspects.lock().push((from, to, node, what));
    }
}

fn connect(url: &str) -> Option<Connection> {
    let connection = Client::open(url).ok()?.get_connection_with_timeout(SAMPLE_LIMIT).ok()?;
    connection.set_read_timeout(Some(SAMPLE_LIMIT)).ok()?;
    Some(connection)
}

/// Counts the viewers whose lease has not expired, by the clock of Redis.
fn count(redis: &mut Connection, number: u64) -> Option<u32> {
    let script = Script::new(
        "local clock = redis.call('TIME') \
         local now = clock[1] * 1000 + math.floor(clock[2] / 1000) \
         return redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')",
    );
    script.key(format!("aforo:{{{}}}:viewers", channel(number))).invoke(redis).ok()
}
