//! The servers of a cluster, each with its own connection, so that one that hangs delays no call to another.
//!
//! Promises:
//! - The slots are learned again soon after a server was unavailable or a slot was elsewhere, at most ten times a second.
//!   While that changes nothing, the pauses grow to a second.
//! - Only the servers in `REDIS_URL` and the primaries have a connection.
//! - Slots are doubted (see [`Outages`]) if their server did not respond, was replaced by another, or has a new connection.
//!   It may have been restarted meanwhile, or a replica may have taken over that lacks its last writes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::future::join_all;
use parking_lot::Mutex;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, aio::MultiplexedConnection, cmd};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
    try_join,
};

use super::{
    outages::Outages,
    slots::{Place, SlotMap},
};
use crate::server::{
    redis::{
        reconnect::{RECONNECT_WAIT, ReconnectingClient},
        single,
    },
    store_error::StoreError,
};

/// How long a server may take to name the slots.
const SLOTS_LIMIT: Duration = Duration::from_millis(500);

/// The first and the longest pause after the slots were asked for. It grows while the answer stays the same.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The interval between log lines while no server names the slots.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// One server of a cluster.
pub(super) struct Server {
    pub(super) place: Place,
    /// Identifies the server in this process.
    number: u64,
    pub(super) client: ReconnectingClient<MultiplexedConnection>,
    /// The number of the last connection that responded; 0 if none did.
    connection: AtomicU64,
}

/// The servers of a cluster.
pub(super) struct Servers {
    /// The servers in `REDIS_URL`. The first one shows how to connect to the others.
    seeds: Vec<(Place, ConnectionInfo)>,
    known: Mutex<HashMap<Place, Arc<Server>>>,
    /// The number of the server that became known last.
    last_number: AtomicU64,
    /// `None` until a server has named the slots.
    slots: watch::Sender<Option<Arc<SlotMap>>>,
    /// Notified when the slots have to be learned again.
    refresh: Notify,
    pub(super) outages: Outages,
    started: Instant,
}

impl Servers {
    /// Starts to connect to the seeds.
    pub(super) fn new(seeds: Vec<ConnectionInfo>) -> Option<Self> {
        let seeds: Option<Vec<_>> = seeds.into_iter().map(|info| Some((place_of(&info)?, info))).collect();
        Some(Self {
            seeds: seeds.filter(|seeds| !seeds.is_empty())?,
            known: Mutex::default(),
            last_number: AtomicU64::new(0),
            slots: watch::Sender::new(None),
            refresh: Notify::new(),
            outages: Outages::new(),
            started: Instant::now(),
        })
    }

    /// Learns the slots when asked to. Never returns.
    pub(super) async fn run(&self) {
        let (mut pause, mut logged) = (PAUSES.0, None::<Instant>);
        loop {
            let before = self.slots.borrow().clone();
            let learned = self.learn().await;
            let is_known = learned.is_ok();
            if let Err(error) = learned
                && logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL)
            {
                tracing::warn!(%error, "no server of the Redis cluster names its slots; retrying");
                logged = Some(Instant::now());
            }
            let is_changed = *self.slots.borrow() != before;
            pause = if is_changed { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
            sleep(pause).await;
            if is_known {
                let waited = Instant::now();
                self.refresh.notified().await;
                if waited.elapsed() > PAUSES.1 {
                    pause = PAUSES.0;
                }
            }
        }
    }

    /// Lets the slots be learned again.
    pub(super) fn refresh(&self) {
        self.refresh.notify_one();
    }

    /// The primary that has a slot.
    ///
    /// # Errors
    /// When the slots are not known within [`RECONNECT_WAIT`] after the start, or no server has this one.
    pub(super) async fn of_slot(&self, slot: u16) -> Result<Arc<Server>, StoreError> {
        let slots = self.slots().await?;
        let Some(place) = slots.primary_of(slot) else {
            self.refresh();
            return Err(StoreError::Unreachable("no server has this slot".to_owned()));
        };
        Ok(self.at(place))
    }

    /// The number of the server that has a slot; 0 if it is not known.
    pub(super) fn number_of(&self, slot: u16) -> u64 {
        let slots = self.slots.borrow();
        let place = slots.as_ref().and_then(|slots| slots.primary_of(slot));
        place.map(|place| self.at(place).number).unwrap_or_default()
    }

    /// The identifiers of all primaries' processes, in their order. Remembers which primaries are away.
    ///
    /// # Errors
    /// When not all slots have a primary that responds.
    pub(super) async fn run_ids(&self) -> Result<Vec<String>, StoreError> {
        let slots = self.slots().await?;
        if !slots.is_whole() {
            self.refresh();
            self.outages.note(slots.gaps());
            return Err(StoreError::Unreachable("not all slots have a server".to_owned()));
        }
        let primaries = slots.primaries();
        let ids = join_all(primaries.iter().map(|place| async {
            let server = self.at(place);
            // A server that loads its data responds to INFO, but not to PING.
            let ping = cmd("PING");
            let responses = try_join!(single::run_id(&server.client), server.client.send_control(&ping));
            let failed = |_: &_| {
                self.refresh();
                self.outages.note(slots.slots_of(place));
            };
            let (id, _) = responses.inspect_err(failed)?;
            self.check_connection(&server, &slots);
            Ok(id)
        }));
        let ids: Result<Vec<_>, StoreError> = ids.await.into_iter().collect();
        let mut ids: Vec<String> = ids?.into_iter().flatten().collect();
        ids.sort();
        Ok(ids)
    }

    /// Takes note of a response: the server may have been restarted since its last one, if it has a new connection.
    pub(super) fn has_responded(&self, server: &Server) {
        if server.connection.load(Relaxed) != server.client.generation()
            && let Some(slots) = self.slots.borrow().clone()
        {
            self.check_connection(server, &slots);
        }
    }

    fn check_connection(&self, server: &Server, slots: &SlotMap) {
        let (before, now) = (server.connection.load(Relaxed), server.client.generation());
        if before != now && now != 0 {
            if before != 0 {
                self.outages.note(slots.slots_of(&server.place));
            }
            // Only now, so that every response through the new connection is doubted.
            server.connection.store(now, Relaxed);
        }
    }

    /// The server at a place.
    pub(super) fn at(&self, place: &Place) -> Arc<Server> {
        let mut known = self.known.lock();
        if let Some(server) = known.get(place) {
            return Arc::clone(server);
        }
        let number = self.last_number.fetch_add(1, Relaxed) + 1;
        let info = self.info_of(place);
        let name = format!("redis cluster at {}", info.addr());
        let server = Server {
            place: place.clone(),
            number,
            client: single::connect(name, info),
            connection: AtomicU64::new(0),
        };
        Arc::clone(known.entry(place.clone()).or_insert(Arc::new(server)))
    }

    async fn slots(&self) -> Result<Arc<SlotMap>, StoreError> {
        if let Some(slots) = &*self.slots.borrow() {
            return Ok(Arc::clone(slots));
        }
        let mut changes = self.slots.subscribe();
        let wait = RECONNECT_WAIT.saturating_sub(self.started.elapsed());
        let known = timeout(wait, changes.wait_for(Option::is_some)).await;
        let slots = known.ok().and_then(Result::ok).and_then(|slots| slots.clone());
        slots.ok_or_else(|| StoreError::Unreachable("not connected".to_owned()))
    }

    /// How to connect to the server at a place: like to the first seed.
    pub(super) fn info_of(&self, place: &Place) -> ConnectionInfo {
        if let Some((_, info)) = self.seeds.iter().find(|(seed, _)| seed == place) {
            return info.clone();
        }
        let (_, like) = &self.seeds[0];
        let (host, port) = (place.host.clone(), place.port);
        let addr = match like.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        like.clone().set_addr(addr)
    }

    /// Asks all servers for the slots. Fails if none names them.
    async fn learn(&self) -> Result<(), StoreError> {
        let mut asked: HashMap<Place, Arc<Server>> = self.known.lock().clone();
        asked.extend(self.seeds.iter().map(|(place, _)| (place.clone(), self.at(place))));
        let maps = join_all(asked.values().map(|server| async {
            let response = timeout(SLOTS_LIMIT, server.client.send_control(&slots_command())).await;
            let response = response.map_err(|_| StoreError::Unreachable("timed out".to_owned()))??;
            let slots = SlotMap::parse(response, &server.place.host);
            slots.ok_or_else(|| StoreError::Refused("no slot has a server".to_owned()))
        }));
        let (mut known, mut error) = (Vec::new(), None);
        for map in maps.await {
            map.map_or_else(|failed| error = Some(failed), |map| known.push(map));
        }
        let present = self.slots.borrow().clone();
        let Some(slots) = SlotMap::most_common(&known, present.as_deref()) else {
            return Err(error.unwrap_or_else(StoreError::unexpected));
        };
        if let Some(before) = present.filter(|before| **before != slots) {
            self.outages.note(slots.moved_since(&before));
        }
        self.slots.send_replace(Some(Arc::new(slots.clone())));
        let primaries = slots.primaries();
        let is_used =
            |place: &Place| primaries.contains(place) || self.seeds.iter().any(|(seed, _)| seed == place);
        self.known.lock().retain(|place, _| is_used(place));
        Ok(())
    }
}

/// The command that asks a server for the slots.
pub(super) fn slots_command() -> Cmd {
    let mut command = cmd("CLUSTER");
    command.arg("SLOTS");
    command
}

/// The host and port in an address. `None` for a unix socket.
pub(super) fn place_of(info: &ConnectionInfo) -> Option<Place> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(Place { host: host.clone(), port: *port })
        }
        _ => None,
    }
}
