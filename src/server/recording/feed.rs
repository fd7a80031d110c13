//! The figures of present broadcasts for streams: computed once for all streams of a channel, every few seconds while one
//! is open.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::Recorder;
use crate::{
    domain::ChannelId,
    server::{database::Archive, history::Figures},
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
    channels: Mutex<HashMap<ChannelId, Weak<watch::Sender<Known>>>>,
}

/// The last known figures: `None` before the first computation.
type Known = Option<Option<Figures>>;

/// A subscription to the figures of a channel.
pub struct FiguresWatch {
    channel: ChannelId,
    /// Keeps the channel in the feed.
    _sender: Arc<watch::Sender<Known>>,
    receiver: watch::Receiver<Known>,
}

/// Too many channels are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl FiguresFeed {
    /// A feed without subscriptions.
    #[must_use]
    pub fn new(archive: Archive, recorder: Recorder) -> Self {
        Self(Arc::new(Inner { archive, recorder, channels: Mutex::default() }))
    }

    /// Subscribes to the figures of a channel.
    ///
    /// # Errors
    /// When 200 others are watched.
    pub fn watch(&self, channel: &ChannelId) -> Result<FiguresWatch, TooMany> {
        let mut channels = self.0.channels.lock();
        channels.retain(|_, sender| sender.strong_count() > 0);
        let is_full = channels.len() >= MAX_CHANNELS;
        let (sender, is_new) = match channels.entry(channel.clone()) {
            Entry::Occupied(mut known) => match known.get().upgrade() {
                Some(sender) => (sender, false),
                None => {
                    let sender = Arc::new(watch::Sender::new(None));
                    known.insert(Arc::downgrade(&sender));
                    (sender, true)
                }
            },
            Entry::Vacant(_) if is_full => return Err(TooMany),
            Entry::Vacant(empty) => {
                let sender = Arc::new(watch::Sender::new(None));
                empty.insert(Arc::downgrade(&sender));
                (sender, true)
            }
        };
        drop(channels);
        if is_new {
            let (feed, channel, sender) = (self.clone(), channel.clone(), Arc::downgrade(&sender));
            tokio::spawn(async move { feed.compute(&channel, &sender).await });
        }
        // The first value is always news.
        let mut receiver = sender.subscribe();
        receiver.mark_changed();
        Ok(FiguresWatch { channel: channel.clone(), _sender: sender, receiver })
    }

    /// Computes the figures of all watched channels forever, spread over the interval.
    pub async fn run(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let watched: Vec<_> =
                self.0.channels.lock().iter().map(|(c, s)| (c.clone(), s.clone())).collect();
            for (channel, sender) in watched {
                self.compute(&channel, &sender).await;
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    async fn compute(&self, channel: &ChannelId, sender: &Weak<watch::Sender<Known>>) {
        let now = self.0.recorder.now();
        let newest = self.0.archive.broadcasts(channel, now + INTERVAL, 1, now).await;
        // While the database is away the last figures stay.
        if let (Ok(mut newest), Some(sender)) = (newest, sender.upgrade()) {
            let figures = newest.pop().map(|kept| kept.figures);
            sender.send_if_modified(|known| {
                let is_news = known.as_ref() != Some(&figures);
                *known = Some(figures);
                is_news
            });
        }
    }
}

impl FiguresWatch {
    /// The next figures as a frame of the event stream. `None` when the server ends.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.receiver.changed().await.ok()?;
            let known = self.receiver.borrow_and_update().clone();
            if let Some(figures) = known {
                return Some(frame(&self.channel, figures.as_ref()));
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
