//! Events out: webhooks by [Standard Webhooks](https://www.standardwebhooks.com) 1.0.
//!
//! The recorder brings into the database when a channel is on air, and how many watch. From there:
//!
//! 1. `announcer`: the owner of a channel decides by [`rules`] which events follow, and puts them into the outbox.
//! 2. `courier`: for each receiver, the owner of a channel sends what is due in the outbox by the [`sender`], and again by
//!    the [`schedule`] when that fails.
//! 3. `upkeep`: the owner of a channel drops what nobody has taken for three days.
//!
//! Promises:
//! - **At least once**: an event is sent until the receiver answers 2xx, ten times over three days. Neither a crash nor an
//!   outage of the database loses one. Its id is the same each time and on every node.
//! - **Independence**: a receiver that is slow or away holds up neither the others nor anything else on the node.
//! - **Reach**: link-local and metadata addresses are never connected to; private ones only if the operator says so.
//! - **Bounds**: of each receiver 100,000 events wait at most, for three days at most.

mod announcer;
mod courier;
pub mod event;
pub mod resolver;
pub mod rules;
pub mod schedule;
pub mod sender;
pub mod settings;
mod upkeep;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use futures::future::join_all;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use self::{
    announcer::Announcer,
    courier::Courier,
    resolver::{Lookup, SystemLookup},
    sender::{Outcome, Sender, SetUpError},
    settings::{Target, WebhookSettings},
    upkeep::Upkeep,
};
use super::{
    clock::{Clock, time_of_day},
    database::{Archive, Batch, Outbox},
    metrics::Metrics,
    recording::Recorder,
    supervisor::Supervisor,
};

/// The looks into the outbox that the couriers of a node make at once, whatever the number of receivers.
const DATABASE_PERMITS: usize = 2;

/// The webhooks of a node.
pub struct Webhooks {
    announcer: Announcer,
    couriers: Vec<Arc<Courier>>,
    upkeep: Upkeep,
}

/// What webhooks need of the server.
pub struct Parts {
    /// The outbox.
    pub outbox: Outbox,
    /// The archive of broadcasts.
    pub archive: Archive,
    /// The recorder, which knows the channels that this node owns.
    pub recorder: Recorder,
    /// The clock of this node.
    pub clock: Arc<dyn Clock>,
    /// The metrics of this node.
    pub metrics: Metrics,
}

impl Webhooks {
    /// The webhooks by these settings. `None`: there are no receivers.
    ///
    /// # Errors
    /// When the system does not allow HTTPS.
    pub fn new(settings: &WebhookSettings, parts: Parts) -> Result<Option<Self>, SetUpError> {
        Self::with_lookup(settings, parts, Arc::new(SystemLookup))
    }

    /// Like [`Webhooks::new`], with names resolved by `lookup`.
    ///
    /// # Errors
    /// When the system does not allow HTTPS.
    pub fn with_lookup(
        settings: &WebhookSettings,
        Parts { outbox, archive, recorder, clock, metrics }: Parts,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Option<Self>, SetUpError> {
        if settings.targets.is_empty() {
            return Ok(None);
        }
        let sender = Sender::new(settings, lookup)?;
        let receivers: Vec<String> = settings.targets.iter().map(|target| target.id().to_owned()).collect();
        let permits = Arc::new(Semaphore::new(DATABASE_PERMITS));
        let courier = |target: &Target| Courier {
            target: target.clone(),
            sender: sender.clone(),
            outbox: outbox.clone(),
            recorder: recorder.clone(),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            permits: Arc::clone(&permits),
            is_gone: AtomicBool::default(),
            resume_at: AtomicU64::default(),
            is_failing: AtomicBool::default(),
        };
        Ok(Some(Self {
            couriers: settings.targets.iter().map(courier).map(Arc::new).collect(),
            upkeep: Upkeep {
                outbox: outbox.clone(),
                recorder: recorder.clone(),
                clock: Arc::clone(&clock),
                metrics,
                receivers: receivers.clone(),
            },
            announcer: Announcer {
                outbox,
                archive,
                recorder,
                clock,
                milestones: settings.milestones.clone(),
                receivers,
                added: watch::Sender::new(()),
                batch: Batch::new(announcer::BATCH),
            },
        }))
    }

    /// Runs the webhooks in the background.
    pub fn spawn(self, background: &mut Supervisor) {
        let webhooks = Arc::new(self);
        let own = Arc::clone(&webhooks);
        background.spawn("events", move || {
            let webhooks = Arc::clone(&own);
            async move { webhooks.announcer.run().await }
        });
        let own = Arc::clone(&webhooks);
        background.spawn("webhooks", move || {
            let webhooks = Arc::clone(&own);
            async move {
                let added = &webhooks.announcer.added;
                let couriers = webhooks.couriers.iter();
                join_all(couriers.map(|courier| Arc::clone(courier).run(added.subscribe()))).await;
            }
        });
        let own = Arc::clone(&webhooks);
        background.spawn("outcomes", move || {
            let webhooks = Arc::clone(&own);
            async move { webhooks.upkeep.outbox.run().await }
        });
        background.spawn("outbox", move || {
            let webhooks = Arc::clone(&webhooks);
            async move { webhooks.upkeep.run().await }
        });
    }
}

/// Sends one test event to a receiver, once.
///
/// # Errors
/// When the system does not allow HTTPS.
pub async fn send_test(settings: &WebhookSettings, target: &Target) -> Result<Outcome, SetUpError> {
    let (sender, now) = (Sender::new(settings, Arc::new(SystemLookup))?, time_of_day());
    let id = event::id(&["webhook.test", &Uuid::new_v4().to_string()]);
    let body = event::body("webhook.test", now, json!({"channelId": "test"}));
    Ok(sender.send(target, &id, &body, now.as_millis() / 1_000).await)
}
