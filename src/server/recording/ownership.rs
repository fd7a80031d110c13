//! The parts of the channels that this node owns (see [`ChannelId::PARTS`]).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    domain::ChannelId,
    server::{
        database::Database,
        store::{Claim, Difference, Share, Store, StoreError},
    },
};

/// The pause between two renewals. A store that charges for each command has a longer one.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);

/// The lease, in pauses. The parts of a node that died have a new owner after it.
const LEASE_PAUSES: u32 = 4;

/// The parts that this node owns until its lease ends.
#[derive(Debug, Default)]
pub struct Ownership {
    /// A bit for each part.
    parts: AtomicU16,
    /// A bit for each part that this node did not own for some time since [`Ownership::take_lost`].
    lost: AtomicU16,
    /// When the lease ends: milliseconds since the process started.
    until: AtomicU64,
    /// The setting for which the other nodes of the store refuse this node.
    difference: Mutex<Option<Difference>>,
}

impl Ownership {
    /// Whether this node owns a channel now.
    #[must_use]
    pub fn owns(&self, channel: &ChannelId) -> bool {
        self.parts.load(Ordering::Relaxed) >> channel.part() & 1 == 1 && self.is_current()
    }

    /// The parts that this node owns now.
    #[must_use]
    pub fn parts(&self) -> Vec<u16> {
        if !self.is_current() {
            return Vec::new();
        }
        let parts = self.parts.load(Ordering::Relaxed);
        (0..ChannelId::PARTS).filter(|part| parts >> part & 1 == 1).collect()
    }

    /// The setting in which this node differs from the other nodes of the store, so that it records nothing.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        self.difference.lock().clone()
    }

    /// The parts that this node did not own for some time since the last call: a bit for each.
    pub(super) fn take_lost(&self) -> u16 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Whether this node did not own a part for some time since [`Ownership::take_lost`].
    pub(super) fn has_lost(&self, part: u16) -> bool {
        self.lost.load(Ordering::Relaxed) >> part & 1 == 1
    }

    fn is_current(&self) -> bool {
        millis(Instant::now()) < self.until.load(Ordering::Relaxed)
    }

    /// Sets the parts until `until`.
    pub(crate) fn set(&self, parts: &[u16], until: Instant) {
        let bits =
            parts.iter().filter(|part| **part < ChannelId::PARTS).fold(0, |bits, part| bits | 1 << part);
        let was_current = self.is_current();
        let before = self.parts.swap(bits, Ordering::Relaxed);
        self.lost.fetch_or(if was_current { !before | !bits } else { u16::MAX }, Ordering::Relaxed);
        self.until.store(millis(until), Ordering::Relaxed);
    }
}

/// Milliseconds since a second before the first call.
fn millis(at: Instant) -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = *START.get_or_init(|| Instant::now() - Duration::from_secs(1));
    u64::try_from(at.saturating_duration_since(start).as_millis()).unwrap_or(u64::MAX)
}

/// What a node needs to renew its share.
#[derive(Clone)]
pub struct Shareholder {
    /// The store, which shares the parts among the nodes.
    pub store: Arc<dyn Store>,
    /// The node's random number.
    pub node: u64,
    /// The database of the node, if it has one.
    pub database: Option<Database>,
}

impl Shareholder {
    /// Renews the share of this node in `ownership`. Returns the pause until the next renewal.
    ///
    /// # Errors
    /// When the store fails. The node keeps its parts until its lease ends.
    pub async fn renew(&self, ownership: &Ownership) -> Result<Duration, StoreError> {
        let pause = RENEW_INTERVAL.max(self.store.roll_call_pause());
        let asked = Instant::now();
        let lease = pause * LEASE_PAUSES;
        match self.claim(lease).await? {
            Share::Parts(parts) => {
                *ownership.difference.lock() = None;
                ownership.set(&parts, asked + lease);
            }
            Share::Refused(difference) => {
                ownership.set(&[], asked);
                if ownership.difference.lock().replace(difference.clone()).as_ref() != Some(&difference) {
                    tracing::error!("{difference}");
                }
            }
        }
        Ok(pause)
    }

    /// Renews the share forever.
    pub async fn run(self, ownership: &Ownership) {
        loop {
            let pause = match self.renew(ownership).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::debug!(%error, "share in the channels not renewed; retrying");
                    RENEW_INTERVAL
                }
            };
            sleep(pause).await;
        }
    }

    /// Gives the parts back. Called at the end of a shutdown.
    pub async fn resign(&self, ownership: &Ownership) {
        ownership.set(&[], Instant::now());
        if let Err(error) = self.claim(Duration::ZERO).await {
            tracing::debug!(%error, "share in the channels not given back; it ends with its lease");
        }
    }

    async fn claim(&self, lease: Duration) -> Result<Share, StoreError> {
        let database = self.database.as_ref().and_then(Database::id);
        self.store.share(&Claim { node: self.node, lease, database }).await
    }
}
