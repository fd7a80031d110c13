//! A simulated node: the real service, hub, reader, recovery and limits with a connection to the simulated store.

use std::{
    net::Ipv4Addr,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use aforo::{
    domain::{ChannelId, SessionKey, Timestamp},
    server::{
        caller::{Caller, CallerServices, Refused},
        clock::Clock,
        fanout::{Counts, Hub, reader},
        limits::{SessionLimiter, TicketChecks},
        metrics::Metrics,
        presence::{BeatOutcome, Presence},
        recording::{Recorder, Shareholder, sampler, writer::Writer},
        store::Store,
        tickets::{Key, Refusal, Tickets},
    },
};
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    archive::{Archive, ArchiveLink},
    oracle::{
        history::{Answer, Shown},
        plan::{Act, Call, NodePlan, channel, id},
        rules::Rules,
    },
    store::{Link, SharedStore},
};

pub struct Node {
    pub presence: Presence,
    pub hub: Arc<Hub>,
    pub sessions: SessionLimiter,
    pub writer: Arc<Writer<ArchiveLink>>,
    services: Arc<CallerServices>,
    is_up: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

/// A clock that is set wrong but runs at the right speed.
struct WrongClock {
    start: u64,
    since: Instant,
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.start) + self.since.elapsed()
    }
}

impl Node {
    pub fn start(
        index: usize,
        plan: &NodePlan,
        rules: &Rules,
        store: &Arc<SharedStore>,
        archive: &Arc<Archive>,
    ) -> Self {
        let policy = rules.policy;
        let is_up = Arc::new(AtomicBool::new(true));
        let link = Link {
            store: Arc::clone(store),
            node: index,
            delay: plan.delay,
            is_up: Arc::clone(&is_up),
            skew: Arc::default(),
        };
        let hub = Arc::new(Hub::new(policy.update_interval));
        let clock = || WrongClock { start: plan.clock, since: Instant::now() };
        let link: Arc<dyn Store> = Arc::new(link);
        let presence = Presence::new(Arc::clone(&link), Arc::clone(&hub), policy, Arc::new(clock()));
        // Different for each run of a node.
        let random = store.now() * 8 + index as u64 + 1;
        let recorder = Recorder::new(random, Duration::ZERO, Arc::new(clock()));
        presence.observe_with(Arc::new(recorder.clone()));
        let shareholder = Shareholder { store: Arc::clone(&link), node: random, database: None };
        let sessions = SessionLimiter::new(rules.limits);
        let tickets = if rules.needs_tickets { required_tickets() } else { Tickets::off() };
        let mut tasks = JoinSet::new();
        let source: Arc<dyn Counts> = Arc::new(presence.clone());
        tasks.spawn(reader::run(Arc::clone(&hub), source));
        let own = presence.clone();
        tasks.spawn(async move { own.run_recovery().await });
        tasks.spawn(sweep(presence.clone(), sessions.clone(), policy.cleanup_interval));
        let own = recorder.clone();
        tasks.spawn(async move { shareholder.run(own.ownership()).await });
        tasks.spawn(sampler::run(recorder.clone(), presence.clone()));
        let metrics = Metrics::new();
        let destination = ArchiveLink::new(archive, store);
        let writer = Arc::new(Writer::new(recorder.clone(), destination, metrics.clone()));
        let own = Arc::clone(&writer);
        tasks.spawn(async move { own.run().await });
        let services = Arc::new(CallerServices {
            presence: presence.clone(),
            sessions: sessions.clone(),
            recorder,
            tickets,
            ticket_checks: TicketChecks::new(&rules.limits),
            metrics,
        });
        Self { presence, hub, sessions, writer, services, is_up, _tasks: tasks }
    }

    /// Executes a page's call like the HTTP handlers do. A join shows the viewer's ticket, if viewers need one, and a
    /// heartbeat if `shows_ticket`. Returns the answer, and whether the node asks for the ticket.
    pub fn call(&self, call: Call, shows_ticket: bool) -> impl Future<Output = (Answer, bool)> + use<> {
        let caller = Caller {
            services: Arc::clone(&self.services),
            address: std::net::IpAddr::from(Ipv4Addr::from_bits(call.address)).into(),
            origin: None,
            foreign_host: None,
            is_robot: false,
        };
        async move {
            let mut who = session_key(call);
            let ticket = caller.services.tickets.are_required().then(|| ticket_of(call.viewer));
            let ticket = ticket.as_deref();
            if let Some(ticket) = ticket {
                who.viewer = caller.services.tickets.viewer(ticket, &who.channel, None).unwrap();
            }
            let outcome = match call.act {
                Act::Leave => {
                    let answer = caller.leave(&who).await.map_or(Answer::Refused, |()| Answer::Left);
                    return (answer, false);
                }
                Act::Join { hidden } => caller.join(who, ticket, hidden).await.map(|joined| joined.beat),
                Act::Heartbeat { hidden } => {
                    caller.heartbeat(who, ticket.filter(|_| shows_ticket), hidden).await
                }
            };
            match outcome {
                Ok(BeatOutcome { active, count }) => (
                    Answer::Beat { active, shown: Shown { value: count.value(), stale: count.is_stale() } },
                    false,
                ),
                Err(Refused::Store(_)) => (Answer::Unavailable, false),
                Err(refused) => (Answer::Refused, matches!(refused, Refused::Ticket(Refusal::Required))),
            }
        }
    }
}

impl Drop for Node {
    /// Kills the node: nothing that it still sends arrives.
    fn drop(&mut self) {
        self.is_up.store(false, Ordering::Relaxed);
        self.hub.close();
    }
}

/// Sweeps regularly, like the server.
async fn sweep(presence: Presence, sessions: SessionLimiter, every: Duration) {
    loop {
        sessions.sweep();
        let _away = presence.sweep().await;
        sleep(every).await;
    }
}

const TICKET_SECRET: &[u8; 32] = b"the secret of all tickets here..";

fn required_tickets() -> Tickets {
    let key: Key = "hs256:dGhlIHNlY3JldCBvZiBhbGwgdGlja2V0cyBoZXJlLi4=".parse().unwrap();
    Tickets::new(true, &[key], None).unwrap()
}

/// A ticket with which this viewer is an account of its own.
fn ticket_of(viewer: u64) -> String {
    let claims = json!({"sub": id(viewer), "channel": "*", "exp": get_current_timestamp() + 86_400});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(TICKET_SECRET)).unwrap()
}

fn session_key(call: Call) -> SessionKey {
    SessionKey::parse(&channel(call.channel), &id(call.viewer), Some(&id(call.session))).unwrap()
}

/// The number in the name of a channel.
pub fn number(channel: &ChannelId) -> u64 {
    channel.as_str()[1..].parse().unwrap()
}
