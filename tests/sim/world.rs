//! Runs a plan in simulated time, with several nodes over one store, and records the history.
//!
//! It uses tokio's paused clock, which jumps to the next timer: minutes take a fraction of a second. Everything runs on
//! one thread.

use std::{future::poll_fn, sync::Arc};

use aforo::domain::{ChannelId, CountUpdate};
use parking_lot::Mutex;
use tokio::{
    runtime::Builder,
    time::{sleep, timeout},
};

use crate::{
    archive::Archive,
    chance,
    node::{Node, number},
    oracle::{
        attackers::Flood,
        faults::Fault,
        history::{Called, Counted, History, Kept, Listed, Shown, Stream, windows},
        plan::{ActionKind, CHANNELS, Call, Millis, NodePlan, Plan, channel},
        rules::Rules,
    },
    store::{SharedStore, millis},
};

/// The interval at which the store's own counts are recorded.
const SAMPLE: Millis = 500;

/// The interval at which each node is asked for its live channels. Not a multiple of any other interval.
const LIST_EVERY: Millis = 2_347;

pub struct World {
    rules: Rules,
    store: Arc<SharedStore>,
    nodes: Vec<Slot>,
    archive: Arc<Archive>,
    history: Mutex<History>,
}

struct Slot {
    plan: NodePlan,
    node: Mutex<Option<Arc<Node>>>,
}

/// Runs a plan to its end.
pub fn run(plan: &Plan) -> History {
    chance::with_seed(plan.seed, || run_here(plan))
}

fn run_here(plan: &Plan) -> History {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::begin(plan);
        for action in &plan.actions {
            world.wait_until(action.at).await;
            world.act(&action.kind);
        }
        world.wait_until(plan.rules.end).await;
        world.write_recorded().await;
        world.history.lock().recorded = Some(world.archive.recorded(plan.rules.end));
        world.note_leftovers();
        std::mem::take(&mut *world.history.lock())
    })
}

impl World {
    fn begin(plan: &Plan) -> Arc<Self> {
        let rules = plan.rules;
        let store = Arc::new(SharedStore::new(plan.seed, windows(plan)));
        let archive = Arc::new(Archive::default());
        let slot = |(index, plan): (usize, &NodePlan)| {
            let node = Mutex::new(Some(Arc::new(Node::start(index, plan, &rules, &store, &archive))));
            Slot { plan: plan.clone(), node }
        };
        let history = History { faults: windows(plan), ..History::default() };
        let nodes = plan.nodes.iter().enumerate().map(slot).collect();
        let world = Arc::new(Self { rules, store, nodes, archive, history: Mutex::new(history) });
        tokio::spawn(Arc::clone(&world).sample());
        for node in 0..plan.nodes.len() {
            tokio::spawn(Arc::clone(&world).list(node));
        }
        world
    }

    fn now(&self) -> Millis {
        self.store.now()
    }

    async fn wait_until(&self, at: Millis) {
        sleep(millis(at.saturating_sub(self.now()))).await;
    }

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
            ActionKind::Fault { fault: Fault::Killed { node }, lasts } => {
                // The last running node is not killed.
                if self.nodes.iter().filter(|slot| slot.node.lock().is_some()).count() > 1 {
                    drop(self.nodes[node].node.lock().take());
                    tokio::spawn(async move {
                        sleep(millis(lasts)).await;
                        let slot = &world.nodes[node];
                        let restarted = Arc::new(Node::start(
                            node,
                            &slot.plan,
                            &world.rules,
                            &world.store,
                            &world.archive,
                        ));
                        *slot.node.lock() = Some(restarted);
                    });
                }
            }
            ActionKind::Fault { fault, .. } => self.store.apply(fault),
        }
    }

    /// The requested node, or the next one that runs, as a load balancer would choose.
    fn node(&self, wanted: usize) -> (usize, Arc<Node>) {
        let len = self.nodes.len();
        let alive = |index: usize| Some((index, Arc::clone(self.nodes[index].node.lock().as_ref()?)));
        (0..len).find_map(|more| alive((wanted + more) % len)).expect("a node is running")
    }

    async fn call(self: Arc<Self>, call: Call) {
        // A page that is asked for its ticket shows it at once.
        if self.call_once(call, false).await {
            self.call_once(call, true).await;
        }
    }

    /// Returns whether the node asks for the ticket.
    async fn call_once(&self, call: Call, shows_ticket: bool) -> bool {
        self.history.lock().begun += 1;
        let (index, node) = self.node(call.node);
        let (call, at) = (Call { node: index, ..call }, self.now());
        let answer = node.call(call, shows_ticket);
        // A node that was killed meanwhile does not answer.
        let weak = Arc::downgrade(&node);
        drop(node);
        if let Some(end) = self.store.until(|fault| fault == Fault::Stopped { node: index }) {
            self.wait_until(end).await;
        }
        let (answer, wants_ticket) = answer.await;
        let answer = weak.upgrade().map(|_alive| (self.now(), answer));
        self.history.lock().calls.push(Called { call, at, answer });
        wants_ticket && answer.is_some()
    }

    async fn flood(self: Arc<Self>, flood: Flood) {
        for nth in 0..flood.calls {
            tokio::spawn(Arc::clone(&self).call(flood.call(nth)));
            sleep(millis(flood.every)).await;
        }
    }

    /// A page that watches a stream and reopens it when it ends.
    async fn watch(self: Arc<Self>, node: usize, number: u64, lasts: Millis) {
        let until = self.now() + lasts;
        let name = ChannelId::parse(&channel(number)).unwrap();
        while self.now() < until {
            let (node, alive) = self.node(node);
            let mut stream =
                Stream { node, channel: number, opened: self.now(), closed: until, seen: Vec::new() };
            let mut subscription = alive.presence.watch(std::slice::from_ref(&name));
            drop(alive);
            let left = millis(until - self.now());
            let _over = timeout(left, async {
                while let Some(frame) = poll_fn(|cx| subscription.poll_frame(cx)).await {
                    stream.seen.push((self.now(), shown(&frame)));
                }
            })
            .await;
            stream.closed = self.now();
            self.history.lock().streams.push(stream);
            drop(subscription);
            sleep(millis(100)).await;
        }
    }

    async fn churn(self: Arc<Self>, node: usize, per_second: u64, lasts: Millis) {
        let until = self.now() + lasts;
        let mut nth = 0;
        while self.now() < until {
            nth += 1;
            let name = ChannelId::parse(&channel(CHANNELS + until * 1_000_000 + nth)).unwrap();
            let subscription = self.node(node).1.presence.watch(&[name]);
            tokio::spawn(async move {
                sleep(millis(500)).await;
                drop(subscription);
            });
            sleep(millis(1_000 / per_second)).await;
        }
    }

    async fn sample(self: Arc<Self>) {
        while self.now() < self.rules.span + self.rules.lease(true) + 10_000 {
            let at = self.now();
            for number in 0..CHANNELS {
                let count = self.store.count(&ChannelId::parse(&channel(number)).unwrap());
                self.history.lock().counts.push(Counted { at, answered: at, channel: number, count });
            }
            self.note_kept(at);
            sleep(millis(SAMPLE)).await;
        }
    }

    /// Records how much the store and the nodes hold.
    fn note_kept(&self, at: Millis) {
        let mut history = self.history.lock();
        let (sessions, channels) = (self.store.viewers(), self.store.channels().len());
        history.kept.push(Kept { at, node: None, sessions, admitted: 0, channels });
        for (index, slot) in self.nodes.iter().enumerate() {
            if let Some(node) = slot.node.lock().as_ref() {
                let (sessions, channels) =
                    (node.presence.journaled_sessions(), node.presence.journaled_channels());
                let admitted = node.sessions.remembered();
                history.kept.push(Kept { at, node: Some(index), sessions, admitted, channels });
            }
        }
    }

    /// A client that asks a node for the live channels at regular intervals.
    async fn list(self: Arc<Self>, index: usize) {
        while self.now() < self.rules.watched {
            sleep(millis(LIST_EVERY)).await;
            let Some(presence) = self.nodes[index].node.lock().as_ref().map(|node| node.presence.clone())
            else {
                continue;
            };
            let at = self.now();
            let listed = presence.live(usize::MAX).await;
            let shown = |update: CountUpdate| {
                (number(&update.channel_id), Shown { value: update.count, stale: update.stale })
            };
            let is_watched = |(channel, _): &(u64, Shown)| *channel < CHANNELS;
            let counts = listed.ok().map(|list| list.into_iter().map(shown).filter(is_watched).collect());
            let listed = Listed { node: index, at, answered: self.now(), counts };
            self.history.lock().lists.push(listed);
        }
    }

    /// Writes what nodes have recorded and not written yet, as they do before they end.
    async fn write_recorded(&self) {
        for slot in &self.nodes {
            let node = slot.node.lock().clone();
            if let Some(node) = node {
                node.writer.finish().await.unwrap();
            }
        }
    }

    /// Records everything that was not released.
    fn note_leftovers(&self) {
        let mut history = self.history.lock();
        let mut note = |what: String| history.leftovers.push(what);
        let channels = self.store.channels();
        if !channels.is_empty() {
            note(format!("the store still has {} channels: {:?}", channels.len(), channels.first()));
        }
        for (index, slot) in self.nodes.iter().enumerate() {
            let slot = slot.node.lock();
            let Some(node) = slot.as_ref() else { continue };
            if node.hub.watched() > 0 {
                note(format!("the hub of node {index} still has {} channels", node.hub.watched()));
            }
            if node.sessions.remembered() > 0 {
                note(format!(
                    "the limits of node {index} still have {} sessions",
                    node.sessions.remembered()
                ));
            }
            if node.presence.journaled_channels() > 0 {
                let channels = node.presence.journaled_channels();
                note(format!("the journal of node {index} still has {channels} channels"));
            }
            if node.presence.journaled_sessions() > 0 {
                note(format!(
                    "the journal of node {index} still has {} sessions",
                    node.presence.journaled_sessions()
                ));
            }
        }
    }
}

/// Parses a frame like a page does. `None`: a tick.
fn shown(frame: &[u8]) -> Option<Shown> {
    let text = std::str::from_utf8(frame).unwrap();
    if text.starts_with("event: tick") {
        return None;
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("a frame has data");
    let update: CountUpdate = serde_json::from_str(data).expect("the data is a count");
    Some(Shown { value: update.count, stale: update.stale })
}
