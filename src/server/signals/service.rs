//! The live signals in the memory of a node, and the loop that keeps them up to date.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Change, Changes, SignalStore, Source};
use crate::{
    domain::{ChannelId, Live, LiveMode, Timestamp, signal::Report},
    server::{metrics::Metrics, store_error::StoreError},
};

/// The shortest pause between two reads of the database.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// How long the store remembers that a channel went off air.
const REMEMBERED_FOR: Duration = Duration::from_hours(24);

/// After this time without a read a node reads all channels on air. Far less than [`REMEMBERED_FOR`].
const RELOAD_AFTER: Duration = Duration::from_hours(1);

/// How a node follows the live signals.
#[derive(Debug, Clone, Copy)]
pub struct SignalSettings {
    /// What makes a channel live. The node follows the signals only if they do. Otherwise it stores reports, and all
    /// states are unknown.
    pub mode: LiveMode,
    /// The update interval. The signals of other nodes are known within this time.
    pub interval: Duration,
    /// How long a signal may be silent before it ends. `None`: for good.
    pub timeout: Option<Duration>,
}

/// The live signals, as a node knows them. Cloning is cheap.
#[derive(Clone)]
pub struct Signals(Arc<Inner>);

type Listener = Box<dyn Fn(&Change, Source) + Send + Sync>;

struct Inner {
    store: Arc<dyn SignalStore>,
    settings: SignalSettings,
    metrics: Metrics,
    state: RwLock<State>,
    /// Held while a change is applied and told, so that listeners learn changes in order.
    listeners: Mutex<Vec<Listener>>,
}

#[derive(Default)]
struct State {
    /// The number up to which all changes are applied. `None` before the first read.
    newest: Option<u64>,
    /// The channels on air, and channels that went off air with a number greater than `newest`.
    channels: BTreeMap<ChannelId, Entry>,
    /// The number of channels on air.
    on_air: usize,
    /// When the last successful read began.
    last_read: Option<Instant>,
    /// Since when every read has succeeded. `None` after a failed one.
    contact_since: Option<Instant>,
    /// The time of the database, and when it was read.
    database_time: Option<(Timestamp, Instant)>,
}

struct Entry {
    number: u64,
    since: Option<Timestamp>,
}

impl Signals {
    /// Creates the service over a store of signals.
    #[must_use]
    pub fn new(store: Arc<dyn SignalStore>, settings: SignalSettings, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            store,
            settings,
            metrics,
            state: RwLock::default(),
            listeners: Mutex::default(),
        }))
    }

    /// Whether this node follows the signals: they decide which channels are live.
    #[must_use]
    pub fn are_followed(&self) -> bool {
        self.0.settings.mode == LiveMode::Signal
    }

    /// Whether a channel is on air. Does not wait for the database.
    #[must_use]
    pub fn state(&self, channel: &ChannelId) -> Live {
        let state = self.0.state.read();
        match (state.channels.get(channel), state.newest) {
            (Some(Entry { since: Some(since), .. }), _) => Live::Yes { since: *since },
            (Some(_), _) | (None, Some(_)) => Live::No,
            (None, None) => Live::Unknown,
        }
    }

    /// The first `most` channels on air, by name. `None` before the first contact with the database.
    #[must_use]
    pub fn on_air(&self, most: usize) -> Option<Vec<ChannelId>> {
        let state = self.0.state.read();
        state.newest?;
        let on_air = state.channels.iter().filter(|(_, entry)| entry.since.is_some());
        Some(on_air.take(most).map(|(channel, _)| channel.clone()).collect())
    }

    /// The present time by the clock of the database, which dates all signals. `None` before the first contact.
    #[must_use]
    pub fn database_time(&self) -> Option<Timestamp> {
        let (time, read_at) = self.0.state.read().database_time?;
        Some(time + read_at.elapsed())
    }

    /// Whether the last read of the database succeeded. Otherwise the states may be out of date.
    #[must_use]
    pub fn are_current(&self) -> bool {
        self.0.state.read().contact_since.is_some()
    }

    /// Calls back for every change that this node learns from now on: from its own callers at once, from other nodes
    /// within an update interval. After the first contact with the database this includes every channel on air.
    ///
    /// Changes come in order, one at a time. The callback must return quickly and must not report or register.
    pub fn on_change(&self, listener: impl Fn(&Change, Source) + Send + Sync + 'static) {
        self.0.listeners.lock().push(Box::new(listener));
    }

    /// Stores a report, and applies it on this node. Returns when the present broadcast began, if the channel is on air
    /// afterwards.
    ///
    /// # Errors
    /// When the database is away. The report may have been stored.
    pub async fn report(&self, channel: &ChannelId, report: Report) -> Result<Option<Timestamp>, StoreError> {
        let is_on_air = !matches!(report, Report::OffAir { .. });
        tracing::debug!(%channel, is_on_air, "[CHANNEL] live signal");
        let change = self.0.store.report(channel, report).await?;
        let since = change.since;
        if self.are_followed() {
            self.apply(vec![change], None);
        }
        Ok(since)
    }

    /// Follows the changes in the database until the server ends. Returns at once if the node does not follow them.
    pub async fn run(self) {
        if !self.are_followed() {
            return;
        }
        let mut ticks = interval((self.0.settings.interval / 2).max(MIN_PAUSE));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.poll().await;
        }
    }

    /// Reads the changes once.
    pub async fn poll(&self) {
        let now = Instant::now();
        let after = {
            let state = self.0.state.read();
            let is_recent = state.last_read.is_some_and(|last| now.duration_since(last) < RELOAD_AFTER);
            state.newest.filter(|_| is_recent)
        };
        match self.0.store.changes(after).await {
            Ok(changes) => {
                self.0.state.write().database_time = Some((changes.now, Instant::now()));
                self.apply_read(changes);
                let contact = {
                    let mut state = self.0.state.write();
                    state.last_read = Some(now);
                    now.duration_since(*state.contact_since.get_or_insert(now))
                };
                self.end_silent(contact).await;
            }
            Err(error) => {
                self.0.metrics.signal_poll_failed();
                if self.0.state.write().contact_since.take().is_some() {
                    tracing::warn!(%error, "live signals not readable; the last known ones hold");
                }
            }
        }
    }

    /// Ends silent signals, after `contact` of continuous contact with the database. Signals that were not accepted during
    /// an outage would seem silent right after it.
    async fn end_silent(&self, contact: Duration) {
        let Some(timeout) = self.0.settings.timeout.filter(|timeout| contact >= *timeout) else { return };
        if let Err(error) = self.0.store.end_silent(timeout).await {
            tracing::warn!(%error, "silent live signals not ended; retrying");
        }
    }

    /// Forgets the channels that went off air long ago.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.0.store.forget_ended(REMEMBERED_FOR).await
    }

    /// Applies what was read from the store.
    fn apply_read(&self, Changes { mut changes, newest, is_whole, .. }: Changes) {
        if is_whole {
            let mut listed: Vec<_> = changes.iter().map(|change| change.channel.clone()).collect();
            listed.sort_unstable();
            let mut state = self.0.state.write();
            // The numbers of a store that was replaced begin anew.
            if state.newest.is_some_and(|known| newest < known) {
                state.channels.values_mut().for_each(|entry| entry.number = 0);
            }
            // A channel that this node has put on air since the read has a greater number.
            let is_gone = |(channel, entry): &(&ChannelId, &Entry)| {
                entry.number <= newest && listed.binary_search(channel).is_err()
            };
            let gone = state.channels.iter().filter(is_gone);
            let end = |(channel, _): (&ChannelId, _)| Change {
                channel: channel.clone(),
                number: newest,
                since: None,
                ended_at: None,
            };
            changes.extend(gone.map(end));
        }
        self.apply(changes, Some(newest));
    }

    /// Applies changes, and tells the listeners. `newest`: the number up to which these are all changes, if they were read from
    /// the store.
    fn apply(&self, changes: Vec<Change>, newest: Option<u64>) {
        let listeners = self.0.listeners.lock();
        let mut state = self.0.state.write();
        let mut news = Vec::new();
        for change in changes {
            let Change { number, since, .. } = change;
            let known = state.channels.get(&change.channel);
            if known.is_some_and(|known| known.number > number) {
                continue;
            }
            let before = known.and_then(|known| known.since);
            state.on_air += usize::from(since.is_some());
            state.on_air -= usize::from(before.is_some());
            state.channels.insert(change.channel.clone(), Entry { number, since });
            if before != since {
                news.push(change);
            }
        }
        if let Some(newest) = newest {
            state.newest = Some(newest);
            if state.on_air < state.channels.len() {
                state.channels.retain(|_, entry| entry.since.is_some() || entry.number > newest);
            }
        }
        self.0.metrics.on_air(state.on_air);
        drop(state);
        let source = if newest.is_some() { Source::Store } else { Source::Caller };
        for change in news {
            listeners.iter().for_each(|listener| listener(&change, source));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use async_trait::async_trait;
    use tokio::time::advance;

    use super::*;

    /// A store whose changes a test sets.
    #[derive(Default)]
    struct TestStore {
        number: Mutex<u64>,
        signals: Mutex<BTreeMap<ChannelId, Change>>,
        is_away: AtomicBool,
        /// The `after` of the last read.
        asked: Mutex<Option<u64>>,
        /// How often silent signals were ended.
        ended: Mutex<u32>,
    }

    impl TestStore {
        fn set(&self, name: &str, since: Option<u64>) -> Change {
            let mut number = self.number.lock();
            *number += 1;
            let since = since.map(Timestamp::from_millis);
            let change = Change { channel: channel(name), number: *number, since, ended_at: None };
            self.signals.lock().insert(channel(name), change.clone());
            change
        }

        fn away(&self) -> Result<(), StoreError> {
            if self.is_away.load(SeqCst) { Err(StoreError::Unreachable("away".to_owned())) } else { Ok(()) }
        }
    }

    #[async_trait]
    impl SignalStore for TestStore {
        async fn report(&self, channel: &ChannelId, report: Report) -> Result<Change, StoreError> {
            self.away()?;
            Ok(self.set(channel.as_str(), matches!(report, Report::OnAir { .. }).then_some(7)))
        }

        async fn changes(&self, after: Option<u64>) -> Result<Changes, StoreError> {
            self.away()?;
            *self.asked.lock() = after;
            let newest = *self.number.lock();
            let is_whole = after.is_none_or(|after| after > newest);
            let wanted = |change: &&Change| {
                if is_whole { change.since.is_some() } else { Some(change.number) > after }
            };
            let changes = self.signals.lock().values().filter(wanted).cloned().collect();
            Ok(Changes { changes, newest, now: Timestamp::from_millis(1_000), is_whole })
        }

        async fn end_silent(&self, _silent_for: Duration) -> Result<(), StoreError> {
            *self.ended.lock() += 1;
            Ok(())
        }

        async fn forget_ended(&self, _ended_for: Duration) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn channel(name: &str) -> ChannelId {
        ChannelId::parse(name).unwrap()
    }

    fn yes(since: u64) -> Live {
        Live::Yes { since: Timestamp::from_millis(since) }
    }

    type Told = Arc<Mutex<Vec<(String, Live)>>>;

    /// A node with its store, and the changes that it tells.
    fn node(timeout: Option<Duration>) -> (Signals, Arc<TestStore>, Told) {
        let store = Arc::new(TestStore::default());
        let settings = SignalSettings { mode: LiveMode::Signal, interval: Duration::from_secs(2), timeout };
        let signals = Signals::new(Arc::clone(&store) as Arc<dyn SignalStore>, settings, Metrics::new());
        let told = Told::default();
        let record = Arc::clone(&told);
        signals.on_change(move |change, _| record.lock().push((change.channel.to_string(), change.live())));
        (signals, store, told)
    }

    #[tokio::test]
    async fn nothing_is_known_before_the_first_contact_and_the_last_state_holds_during_an_outage() {
        let (signals, store, told) = node(None);
        store.set("ana", Some(5));
        store.is_away.store(true, SeqCst);
        signals.poll().await;
        assert_eq!((signals.state(&channel("ana")), signals.on_air(9)), (Live::Unknown, None));
        store.is_away.store(false, SeqCst);
        signals.poll().await;
        store.is_away.store(true, SeqCst);
        store.set("ana", None);
        signals.poll().await;
        assert_eq!(signals.state(&channel("ana")), yes(5));
        assert_eq!(signals.state(&channel("bob")), Live::No);
        assert_eq!(signals.on_air(9), Some(vec![channel("ana")]));
        store.is_away.store(false, SeqCst);
        signals.poll().await;
        assert_eq!(signals.state(&channel("ana")), Live::No);
        assert_eq!(*told.lock(), [("ana".to_owned(), yes(5)), ("ana".to_owned(), Live::No)]);
    }

    #[tokio::test]
    async fn own_reports_apply_at_once_and_an_older_read_does_not_undo_them() {
        let (signals, store, told) = node(None);
        signals.poll().await;
        let old = store.changes(Some(0)).await.unwrap();
        let on = Report::OnAir { started_at: None, publisher: None };
        assert_eq!(signals.report(&channel("ana"), on).await.unwrap(), Some(Timestamp::from_millis(7)));
        assert_eq!(signals.state(&channel("ana")), yes(7));
        let on_air = store.changes(None).await.unwrap();
        signals.report(&channel("ana"), Report::OffAir { publisher: None }).await.unwrap();
        // Reads that began before the reports.
        for read in [old, on_air] {
            signals.apply_read(read);
            assert_eq!(signals.state(&channel("ana")), Live::No);
        }
        signals.poll().await;
        assert_eq!(told.lock().len(), 2);
        assert!(signals.0.state.read().channels.is_empty(), "channels off air take no memory");
    }

    #[tokio::test]
    async fn a_whole_read_ends_channels_that_it_lacks() {
        let (signals, store, _) = node(None);
        for name in ["ana", "bob"] {
            store.set(name, Some(1));
        }
        signals.poll().await;
        store.signals.lock().remove(&channel("bob"));
        signals.apply_read(store.changes(None).await.unwrap());
        assert_eq!(signals.on_air(9), Some(vec![channel("ana")]));
    }

    #[tokio::test]
    async fn a_store_that_was_replaced_is_read_anew() {
        let (signals, store, _) = node(None);
        for name in ["ana", "bob", "eva"] {
            store.set(name, Some(1));
        }
        signals.poll().await;
        *store.number.lock() = 0;
        store.signals.lock().clear();
        store.set("eva", Some(2));
        signals.poll().await;
        assert_eq!(signals.on_air(9), Some(vec![channel("eva")]));
        assert_eq!(signals.state(&channel("eva")), yes(2));
        assert_eq!(signals.state(&channel("ana")), Live::No);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_long_outage_all_channels_are_read() {
        let (signals, store, _) = node(None);
        signals.poll().await;
        advance(Duration::from_secs(3_000)).await;
        signals.poll().await;
        assert_eq!(*store.asked.lock(), Some(0));
        advance(RELOAD_AFTER).await;
        signals.poll().await;
        assert_eq!(*store.asked.lock(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_signals_end_only_after_contact_for_the_whole_timeout() {
        let (signals, store, _) = node(Some(Duration::from_secs(60)));
        let polls = async |seconds: u64| {
            for _ in 0..seconds {
                signals.poll().await;
                advance(Duration::from_secs(1)).await;
            }
            std::mem::take(&mut *store.ended.lock())
        };
        assert_eq!(polls(60).await, 0);
        assert_eq!(polls(2).await, 2);
        store.is_away.store(true, SeqCst);
        assert_eq!(polls(100).await, 0);
        store.is_away.store(false, SeqCst);
        assert_eq!(polls(60).await, 0);
        assert_eq!(polls(2).await, 2);
    }
}
