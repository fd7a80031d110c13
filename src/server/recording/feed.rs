//! The figures of present broadcasts for streams: computed once for all streams of a channel, every few seconds while one
//! is open.
//!
//! Promises:
//! - A stranger who asks for many channels takes no figures from others: the places of the feed are limited, for each
//!   address too, and a channel without a broadcast gives its place to another one.
//! - A channel without a place costs nothing. It gets a place within seconds after one is free.
//! - One computation runs at a time. It does not wait for other reads of statistics.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as Turn, Notify, watch},
    time::{Interval, MissedTickBehavior, interval, sleep},
};

use super::Recorder;
use crate::{
    domain::ChannelId,
    server::{
        database::Archive,
        history::Figures,
        limits::{Address, Concurrent, ConcurrentPermit},
    },
};

/// The pause between two computations. Together with the writer's pause it is less than ten seconds.
const INTERVAL: Duration = Duration::from_secs(4);

/// The most channels whose figures are computed for streams. Each costs some reads of the database.
const MAX_CHANNELS: usize = 200;

/// The figures of the channels that streams show. Cloning is cheap.
#[derive(Clone)]
pub struct FiguresFeed(Arc<Inner>);

struct Inner {
    archive: Archive,
    recorder: Recorder,
    /// The channels that have a place.
    channels: Mutex<HashMap<ChannelId, Place>>,
    by_address: Concurrent,
    /// Says that a channel got a place.
    added: Notify,
    /// Says that places are free.
    freed: Notify,
    /// Held during a computation.
    turn: Turn<()>,
}

/// The place of a channel. Its streams have receivers.
struct Place {
    sender: watch::Sender<Known>,
    /// Whether no computation was asked for yet.
    is_new: bool,
    _permit: ConcurrentPermit,
}

/// The last known figures: `None` before the first computation.
type Known = Option<Option<Figures>>;

/// A subscription to the figures of a channel.
pub struct FiguresWatch {
    feed: FiguresFeed,
    channel: ChannelId,
    address: Address,
    /// `None` while the channel has no place.
    receiver: Option<watch::Receiver<Known>>,
    /// Whether the channel lost its place to another one.
    was_displaced: bool,
}

impl FiguresFeed {
    /// A feed without subscriptions. The streams of one address bring in `per_address` channels at most; 0: no limit.
    #[must_use]
    pub fn new(archive: Archive, recorder: Recorder, per_address: u32) -> Self {
        Self(Arc::new(Inner {
            archive,
            recorder,
            channels: Mutex::default(),
            by_address: Concurrent::new(per_address),
            added: Notify::new(),
            freed: Notify::new(),
            turn: Turn::default(),
        }))
    }

    /// Subscribes a client to the figures of a channel. Without a free place, the figures come later.
    #[must_use]
    pub fn watch(&self, channel: &ChannelId, address: Address) -> FiguresWatch {
        self.free_places();
        FiguresWatch {
            feed: self.clone(),
            channel: channel.clone(),
            address,
            receiver: self.enter(channel, address, true),
            was_displaced: false,
        }
    }

    /// Computes the figures of all watched channels, and gives free places to others, forever.
    pub async fn run(self) {
        tokio::join!(self.compute_all(), self.compute_new(), self.admit());
    }

    async fn compute_all(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            let watched: Vec<_> = self.0.channels.lock().keys().cloned().collect();
            for channel in watched {
                self.compute(&channel).await;
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Computes the figures of channels that have just got a place.
    async fn compute_new(&self) {
        loop {
            self.0.added.notified().await;
            let mut new = Vec::new();
            for (channel, place) in self.0.channels.lock().iter_mut() {
                if std::mem::take(&mut place.is_new) {
                    new.push(channel.clone());
                }
            }
            for channel in new {
                self.compute(&channel).await;
            }
        }
    }

    /// Wakes those who wait for a place while there is one.
    async fn admit(&self) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            self.free_places();
            let has_place = {
                let channels = self.0.channels.lock();
                channels.len() < MAX_CHANNELS || channels.iter().any(|(name, place)| self.yields(name, place))
            };
            if has_place {
                self.0.freed.notify_waiters();
            }
        }
    }

    async fn compute(&self, channel: &ChannelId) {
        let is_watched = |place: &Place| place.sender.receiver_count() > 0;
        let _turn = self.0.turn.lock().await;
        if !self.0.channels.lock().get(channel).is_some_and(is_watched) {
            return;
        }
        let now = self.0.recorder.now();
        let newest = self.0.archive.newest(channel, now + INTERVAL, now).await;
        // While the database is away the last figures stay.
        if let (Ok(newest), Some(place)) = (newest, self.0.channels.lock().get(channel)) {
            let figures = newest.map(|kept| kept.figures);
            place.sender.send_if_modified(|known| {
                let is_news = known.as_ref() != Some(&figures);
                *known = Some(figures);
                is_news
            });
        }
    }

    /// Subscribes to a channel that has a place, or gives it one if there is one.
    fn enter(
        &self,
        channel: &ChannelId,
        address: Address,
        may_displace: bool,
    ) -> Option<watch::Receiver<Known>> {
        let mut channels = self.0.channels.lock();
        if let Some(place) = channels.get(channel) {
            // The first value is always news.
            let mut receiver = place.sender.subscribe();
            receiver.mark_changed();
            return Some(receiver);
        }
        let permit = self.0.by_address.permit(address)?;
        if channels.len() >= MAX_CHANNELS {
            let yielding = channels.iter().find(|(name, place)| may_displace && self.yields(name, place));
            let yielding = yielding.map(|(name, _)| name.clone())?;
            channels.remove(&yielding);
        }
        let (sender, receiver) = watch::channel(None);
        channels.insert(channel.clone(), Place { sender, is_new: true, _permit: permit });
        self.0.added.notify_one();
        Some(receiver)
    }

    /// Whether a channel gives its place to another one: it has had no broadcast, and no viewer at this node.
    fn yields(&self, channel: &ChannelId, place: &Place) -> bool {
        *place.sender.borrow() == Some(None) && !self.0.recorder.has_record(channel)
    }

    /// Frees the places of channels without streams.
    fn free_places(&self) {
        self.0.channels.lock().retain(|_, place| place.sender.receiver_count() > 0);
    }
}

/// Ticks at the interval of computations.
fn ticks() -> Interval {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl FiguresWatch {
    /// The next figures as a frame of the event stream.
    pub async fn next(&mut self) -> Bytes {
        loop {
            let Some(receiver) = &mut self.receiver else {
                self.feed.0.freed.notified().await;
                // Two channels that yield do not displace each other again and again.
                let may_displace = !self.was_displaced || self.feed.0.recorder.has_record(&self.channel);
                self.receiver = self.feed.enter(&self.channel, self.address, may_displace);
                continue;
            };
            if receiver.changed().await.is_err() {
                self.receiver = None;
                self.was_displaced = true;
                continue;
            }
            let known = receiver.borrow_and_update().clone();
            if let Some(figures) = known {
                return frame(&self.channel, figures.as_ref());
            }
        }
    }
}

/// The event `figures`: the figures of the present or last broadcast with its channel, or `null`.
fn frame(channel: &ChannelId, figures: Option<&Figures>) -> Bytes {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Of<'a> {
        channel_id: &'a ChannelId,
        #[serde(flatten)]
        figures: &'a Figures,
    }
    let data = figures.map(|figures| Of { channel_id: channel, figures });
    let data = serde_json::to_string(&data).unwrap_or_else(|_| "null".to_owned());
    Bytes::from(format!("event: figures\ndata: {data}\n\n"))
}
