//! Brings the events in the outbox to one receiver. Each node does it for the channels that it owns.
//!
//! Promises:
//! - Of a channel, one event at a time is on its way. The next one follows when the receiver has it, or when it has failed
//!   [`HOLDING_ATTEMPTS`](crate::server::database::HOLDING_ATTEMPTS) times.
//! - At most [`MAX_IN_FLIGHT`] deliveries to a receiver are under way on a node.
//! - An event that the receiver has is sent again only if this node ends before the database knows it, or another node
//!   takes the channel over meanwhile.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::{Id, JoinSet},
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    schedule::{MAX_RETRY_AFTER, pause},
    sender::{Outcome, Sender},
    settings::Target,
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        clock::{Clock, time_of_day},
        database::{Delivery, Outbox, Outcome as Settled},
        metrics::Metrics,
        recording::Recorder,
    },
};

/// The most deliveries to a receiver at once.
const MAX_IN_FLIGHT: usize = 8;

/// The events of one look into the outbox. There may be several of a channel.
const MAX_DUE: usize = 8 * MAX_IN_FLIGHT;

/// The pause between two looks into the outbox. Looking takes at most a tenth of the time.
const POLL_PAUSE: Duration = Duration::from_secs(1);

/// The pause before an outcome is written again while the database is away.
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// Delivers to one receiver.
pub(super) struct Courier {
    pub(super) target: Target,
    pub(super) sender: Sender,
    pub(super) outbox: Outbox,
    pub(super) recorder: Recorder,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    /// Permits to look into the outbox, so that connections are left for others.
    pub(super) permits: Arc<Semaphore>,
    /// Whether the receiver has said that it is gone.
    pub(super) is_gone: AtomicBool,
    /// When the receiver may be asked again, by its `Retry-After`: milliseconds since the epoch.
    pub(super) resume_at: AtomicU64,
    /// Whether the last attempt has failed.
    pub(super) is_failing: AtomicBool,
}

impl Courier {
    /// Delivers forever.
    pub(super) async fn run(self: Arc<Self>, mut added: watch::Receiver<()>) {
        // Each delivery has a task, so that it goes on while this loop waits for the database.
        let mut in_flight = JoinSet::new();
        let mut busy = HashMap::<Id, ChannelId>::new();
        let mut poll_pause = POLL_PAUSE;
        // What the last look has found and is not on its way yet.
        let (mut ready, mut looked_at) = (Vec::new(), Instant::now());
        loop {
            if looked_at.elapsed() > POLL_PAUSE {
                ready.clear();
            }
            if self.is_open() {
                self.start(&mut ready, &mut in_flight, &mut busy);
                if in_flight.len() < MAX_IN_FLIGHT {
                    looked_at = Instant::now();
                    let channels: Vec<ChannelId> = busy.values().cloned().collect();
                    ready = self.due(&channels).await;
                    poll_pause = POLL_PAUSE.max(looked_at.elapsed() * 10);
                    self.start(&mut ready, &mut in_flight, &mut busy);
                }
            }
            tokio::select! {
                Some(done) = in_flight.join_next_with_id() => {
                    let (task, ()) = done.unwrap_or_else(|error| (error.id(), ()));
                    busy.remove(&task);
                }
                Ok(()) = added.changed() => {}
                () = sleep(poll_pause) => {}
            }
        }
    }

    /// Starts as many of these deliveries as may be on their way.
    fn start(
        self: &Arc<Self>,
        ready: &mut Vec<Delivery>,
        in_flight: &mut JoinSet<()>,
        busy: &mut HashMap<Id, ChannelId>,
    ) {
        let mut rest = Vec::new();
        for delivery in ready.drain(..) {
            if in_flight.len() >= MAX_IN_FLIGHT || busy.values().any(|one| *one == delivery.channel) {
                rest.push(delivery);
            } else if self.recorder.ownership().owns(&delivery.channel) {
                let (own, channel) = (Arc::clone(self), delivery.channel.clone());
                let task = in_flight.spawn(async move { own.deliver(delivery).await });
                busy.insert(task.id(), channel);
            }
        }
        *ready = rest;
    }

    /// Whether the receiver takes deliveries, as far as it has said.
    fn is_open(&self) -> bool {
        let resume_at = Timestamp::from_millis(self.resume_at.load(Ordering::Relaxed));
        !self.is_gone.load(Ordering::Relaxed) && self.clock.now() >= resume_at
    }

    /// The deliveries that are due, without those of some channels.
    async fn due(&self, without: &[ChannelId]) -> Vec<Delivery> {
        let parts = self.recorder.ownership().parts();
        if parts.is_empty() {
            return Vec::new();
        }
        let _permit = self.permits.acquire().await;
        let due = self.outbox.due(&parts, self.target.id(), without, self.clock.now(), MAX_DUE).await;
        due.unwrap_or_else(|error| {
            tracing::debug!(%error, "no deliveries without the database");
            Vec::new()
        })
    }

    /// Makes one attempt, and writes its outcome.
    async fn deliver(&self, delivery: Delivery) {
        let Delivery { event, channel, body, attempts } = delivery;
        let attempts = attempts + 1;
        let now = time_of_day().as_millis() / 1_000;
        let outcome = self.sender.send(&self.target, &event, &body, now).await;
        let host = self.target.host();
        let retry_after = match outcome {
            Outcome::Delivered(status) => {
                tracing::debug!(%event, host, %status, "webhook delivered");
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(host, "the receiver of webhooks takes events again");
                }
                self.metrics.webhook("delivered");
                self.settle(&event, &channel, None).await;
                return;
            }
            Outcome::Gone => {
                if !self.is_gone.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        host,
                        "the receiver of webhooks answers 410 Gone; nothing is sent to it until the next start"
                    );
                    self.metrics.webhook_receiver_disabled();
                }
                None
            }
            Outcome::Failed { reason, retry_after } => {
                tracing::debug!(%event, host, attempts, reason, "webhook not delivered");
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(host, reason, "the receiver of webhooks does not take events; retrying");
                }
                retry_after
            }
        };
        let now = self.clock.now();
        if let Some(rest) = retry_after {
            let resume_at = now + rest.min(MAX_RETRY_AFTER);
            self.resume_at.fetch_max(resume_at.as_millis(), Ordering::Relaxed);
        }
        match pause(attempts, retry_after, chance()) {
            Some(pause) => {
                self.metrics.webhook("failed");
                self.settle(&event, &channel, Some((attempts, now + pause))).await;
            }
            None => {
                self.metrics.webhook("dropped");
                tracing::warn!(%event, host, attempts, "webhook given up");
                self.settle(&event, &channel, None).await;
            }
        }
    }

    /// Removes an event from the outbox, or notes the number of its attempts and when the next one is due. While the
    /// database is away, it is tried again for as long as this node owns the channel.
    async fn settle(&self, event: &str, channel: &ChannelId, again: Option<(u32, Timestamp)>) {
        let receiver = self.target.id();
        loop {
            let settled = Settled {
                channel: channel.clone(),
                event: event.to_owned(),
                receiver: receiver.to_owned(),
                again,
                now: self.clock.now(),
            };
            let Err(error) = self.outbox.settle(settled).await else { return };
            tracing::debug!(%error, "the outcome of a webhook is not written yet");
            if !self.recorder.ownership().owns(channel) {
                return;
            }
            sleep(WRITE_PAUSE).await;
        }
    }
}

/// A random number from 0 to 1.
fn chance() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
