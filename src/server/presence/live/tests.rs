//! Tests of the live list over a source that counts its listings and can be partial, fail, hang or panic.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::time::{advance, sleep};

use super::*;
use crate::{
    domain::{LiveMode, signal::Report},
    server::{
        metrics::Metrics,
        signals::{Change, Changes, SignalSettings, SignalStore},
        store::Live,
    },
};

const INTERVAL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq)]
enum Behavior {
    Normal,
    Partial,
    Failing,
    Hanging,
    Panicking,
}

struct TestSource {
    channels: Mutex<Vec<(&'static str, u32)>>,
    behavior: Mutex<Behavior>,
    listings: AtomicU32,
    is_incomplete: AtomicBool,
}

impl TestSource {
    fn new(channels: &[(&'static str, u32)]) -> (Arc<Self>, LiveList) {
        Self::with_signals(channels, None)
    }

    fn with_signals(channels: &[(&'static str, u32)], signals: Option<Signals>) -> (Arc<Self>, LiveList) {
        let store = Arc::new(Self {
            channels: Mutex::new(channels.to_vec()),
            behavior: Mutex::new(Behavior::Normal),
            listings: AtomicU32::new(0),
            is_incomplete: AtomicBool::new(false),
        });
        (Arc::clone(&store), LiveList::new(store, INTERVAL, signals))
    }

    fn listings(&self) -> u32 {
        self.listings.swap(0, SeqCst)
    }
}

#[async_trait]
impl Source for TestSource {
    async fn list(&self) -> Result<Listed, StoreError> {
        self.listings.fetch_add(1, SeqCst);
        let channels = self.channels.lock().clone();
        let behavior = *self.behavior.lock();
        sleep(Duration::from_millis(20)).await;
        match behavior {
            Behavior::Normal | Behavior::Partial => {}
            Behavior::Failing => return Err(StoreError::unexpected()),
            Behavior::Hanging => std::future::pending().await,
            Behavior::Panicking => panic!("requested by the test"),
        }
        let never = Timestamp::default();
        let live = |(name, count)| Live { channel: channel(name), count, as_of: never, restored: never };
        let live = channels.into_iter().map(live).collect();
        Ok(Listed { live, is_whole: behavior != Behavior::Partial })
    }

    fn is_complete(&self) -> bool {
        !self.is_incomplete.load(SeqCst)
    }
}

fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

/// The list: names in order, and whether it is stale.
async fn listed(list: &LiveList) -> Result<(Vec<String>, bool), StoreError> {
    let updates = list.first(100, Timestamp::default()).await?;
    let is_stale = updates.iter().any(|update| update.stale);
    Ok((updates.iter().map(|update| update.channel_id.to_string()).collect(), is_stale))
}

fn fresh(names: &str) -> (Vec<String>, bool) {
    (names.split(',').map(str::to_owned).collect(), false)
}

#[tokio::test(start_paused = true)]
async fn any_number_of_requests_cost_one_listing_per_interval() {
    let (store, list) = TestSource::new(&[("b", 1), ("a", 1), ("c", 5)]);
    for _ in 0..5 {
        for answer in join_all((0..1_000).map(|_| listed(&list))).await {
            assert_eq!(answer.unwrap(), fresh("c,a,b"));
        }
        listed(&list).await.unwrap();
        let first = list.first(2, at(7)).await.unwrap();
        assert_eq!(
            first.iter().map(|update| update.as_of).collect::<Vec<_>>(),
            [at(7); 2],
            "no time is known"
        );
        assert_eq!(store.listings(), 1);
        advance(INTERVAL).await;
    }
}

/// On a cluster, one of several servers may be away.
#[tokio::test(start_paused = true)]
async fn what_a_partial_list_lacks_of_the_last_whole_one_stays_for_a_minute() {
    let (store, list) = TestSource::new(&[("a", 3), ("b", 2), ("c", 1)]);
    assert_eq!(listed(&list).await.unwrap(), fresh("a,b,c"));
    *store.behavior.lock() = Behavior::Partial;
    *store.channels.lock() = vec![("c", 9), ("d", 1)];
    for nth in 0..29 {
        advance(INTERVAL).await;
        let names = if nth < 10 { vec!["c", "a", "b", "d"] } else { vec!["c", "a", "d"] };
        let (found, is_stale) = listed(&list).await.unwrap();
        assert!(found == names && is_stale, "{nth}: {found:?}");
        if nth == 9 {
            // A write of this node ends the channel.
            list.record(&channel("b"), 0, at(1));
        }
    }
    advance(INTERVAL).await;
    assert_eq!(listed(&list).await.unwrap().0, ["c", "d"], "a minute is over");
    *store.behavior.lock() = Behavior::Normal;
    advance(INTERVAL).await;
    assert_eq!(listed(&list).await.unwrap(), fresh("c,d"));
}

#[tokio::test(start_paused = true)]
async fn a_list_from_before_the_store_stopped_responding_is_stale_at_once() {
    let (store, list) = TestSource::new(&[("a", 1)]);
    assert_eq!(listed(&list).await.unwrap(), fresh("a"));
    store.is_incomplete.store(true, SeqCst);
    assert_eq!(listed(&list).await.unwrap(), (vec!["a".to_owned()], true));
    store.is_incomplete.store(false, SeqCst);
    assert_eq!(listed(&list).await.unwrap(), fresh("a"));
    assert_eq!(store.listings(), 1);
    // An empty list can't be marked as stale.
    let (store, list) = TestSource::new(&[]);
    assert_eq!(listed(&list).await.unwrap(), (vec![], false));
    store.is_incomplete.store(true, SeqCst);
    assert!(listed(&list).await.is_err());
}

/// A time of the store's clock.
fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn writes_of_this_node_are_in_the_list_at_once_without_another_listing() {
    let (store, list) = TestSource::new(&[("a", 1)]);
    assert_eq!(listed(&list).await.unwrap(), fresh("a"));
    list.record(&channel("b"), 1, at(10));
    assert_eq!(listed(&list).await.unwrap(), fresh("a,b"));
    list.record(&channel("b"), 2, at(11));
    assert_eq!(listed(&list).await.unwrap(), fresh("b,a"));
    list.record(&channel("a"), 0, at(12));
    assert_eq!(listed(&list).await.unwrap(), fresh("b"));
    list.record(&channel("b"), 7, at(5));
    assert_eq!(
        list.first(1, Timestamp::default()).await.unwrap()[0].count,
        Some(2),
        "an older count changes nothing"
    );
    assert_eq!(store.listings(), 1);
}

#[tokio::test(start_paused = true)]
async fn writes_during_a_listing_are_in_the_list() {
    let (store, list) = TestSource::new(&[("a", 1), ("b", 5)]);
    let written = async {
        sleep(Duration::from_millis(10)).await;
        list.record(&channel("c"), 3, at(10));
        list.record(&channel("b"), 0, at(11));
        listed(&list).await
    };
    let (early, late) = tokio::join!(listed(&list), written);
    assert_eq!(early.unwrap(), fresh("c,a"));
    assert_eq!(late.unwrap(), fresh("c,a"));
    assert_eq!(store.listings(), 1);
    advance(INTERVAL).await;
    assert_eq!(listed(&list).await.unwrap(), fresh("b,a"), "writes of other nodes appear after an interval");
}

#[tokio::test(start_paused = true)]
async fn new_channels_cause_no_extra_listings() {
    let (store, list) = TestSource::new(&[("a", 1)]);
    let end = Instant::now() + 10 * INTERVAL;
    while Instant::now() < end {
        list.record(&channel("new"), 1, at(1));
        listed(&list).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    assert!(store.listings() <= 11);
    // Listings are limited too while the list is empty or the store fails.
    for behavior in [Behavior::Normal, Behavior::Failing] {
        let (store, list) = TestSource::new(&[]);
        *store.behavior.lock() = behavior;
        let end = Instant::now() + 10 * INTERVAL;
        while Instant::now() < end {
            assert_eq!(listed(&list).await.is_ok(), behavior == Behavior::Normal);
            sleep(Duration::from_millis(5)).await;
        }
        assert!(store.listings() <= 11 * MAX_LISTINGS);
    }
}

#[tokio::test(start_paused = true)]
async fn during_an_outage_the_last_list_is_stale_and_then_unknown() {
    for behavior in [Behavior::Failing, Behavior::Hanging, Behavior::Panicking] {
        let (store, list) = TestSource::new(&[("a", 1)]);
        listed(&list).await.unwrap();
        *store.behavior.lock() = behavior;
        advance(INTERVAL).await;
        let started = Instant::now();
        assert_eq!(listed(&list).await.unwrap(), (vec!["a".to_owned()], true));
        for answer in join_all((0..1_000).map(|_| listed(&list))).await {
            assert_eq!(answer.unwrap(), (vec!["a".to_owned()], true));
        }
        assert!(started.elapsed() <= 2 * WAIT_LIMIT, "no request waits longer");
        advance(STALE_FOR).await;
        assert!(listed(&list).await.is_err());
        *store.behavior.lock() = Behavior::Normal;
        sleep(LISTING_LIMIT + INTERVAL).await;
        assert_eq!(listed(&list).await.unwrap(), fresh("a"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_an_error_during_an_outage() {
    let (store, list) = TestSource::new(&[]);
    assert_eq!(list.first(10, Timestamp::default()).await.unwrap(), []);
    *store.behavior.lock() = Behavior::Failing;
    assert!(list.first(10, Timestamp::default()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_canceled_request_does_not_cancel_the_listing() {
    let (store, list) = TestSource::new(&[("a", 1)]);
    let canceled = timeout(Duration::from_millis(10), listed(&list));
    let (canceled, other) = tokio::join!(canceled, listed(&list));
    assert!(canceled.is_err());
    assert_eq!(other.unwrap(), fresh("a"));
    assert_eq!(store.listings(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_partial_list_is_stale_and_lasts_as_long_as_the_outage() {
    let (store, list) = TestSource::new(&[("a", 1)]);
    *store.behavior.lock() = Behavior::Partial;
    for _ in 0..100 {
        assert_eq!(listed(&list).await.unwrap(), (vec!["a".to_owned()], true));
        sleep(INTERVAL).await;
    }
    *store.channels.lock() = Vec::new();
    sleep(INTERVAL).await;
    assert!(listed(&list).await.is_err(), "an empty list that may be incomplete is unknown");
    *store.behavior.lock() = Behavior::Normal;
    sleep(INTERVAL).await;
    assert_eq!(listed(&list).await.unwrap(), (Vec::new(), false));
}

/// A store of live signals that is away until a test connects it.
#[derive(Default)]
struct SignalsInMemory(Mutex<Option<HashMap<ChannelId, Change>>>, AtomicU32);

#[async_trait]
impl SignalStore for SignalsInMemory {
    async fn report(&self, channel: &ChannelId, report: Report) -> Result<Change, StoreError> {
        let number = u64::from(self.1.fetch_add(1, SeqCst)) + 1;
        let since = matches!(report, Report::OnAir { .. }).then_some(Timestamp::default());
        let change = Change { channel: channel.clone(), number, since, ended_at: None };
        self.0.lock().get_or_insert_default().insert(channel.clone(), change.clone());
        Ok(change)
    }

    async fn changes(&self, _after: Option<u64>) -> Result<Changes, StoreError> {
        let signals = self.0.lock().clone().ok_or_else(StoreError::unexpected)?;
        let on_air = signals.into_values().filter(|change| change.since.is_some());
        Ok(Changes {
            changes: on_air.collect(),
            newest: self.1.load(SeqCst).into(),
            now: Timestamp::default(),
            is_whole: true,
        })
    }

    async fn end_silent(&self, _silent_for: Duration) -> Result<(), StoreError> {
        Ok(())
    }

    async fn forget_ended(&self, _ended_for: Duration) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A list of the channels on air, which follows its signals as in [`Presence`](super::super::Presence).
fn on_air_list(channels: &[(&'static str, u32)]) -> (Arc<TestSource>, LiveList, Signals) {
    let settings = SignalSettings { mode: LiveMode::Signal, interval: INTERVAL, timeout: None };
    let signals = Signals::new(Arc::new(SignalsInMemory::default()), settings, Metrics::new());
    let (store, list) = TestSource::with_signals(channels, Some(signals.clone()));
    let followed = list.clone();
    signals.on_change(move |change, _| followed.set_on_air(&change.channel, change.since.is_some()));
    (store, list, signals)
}

async fn report(signals: &Signals, name: &str, is_on_air: bool) {
    let report = match is_on_air {
        true => Report::OnAir { started_at: None, publisher: None },
        false => Report::OffAir { publisher: None },
    };
    signals.report(&channel(name), report).await.unwrap();
}

/// The list as `name count`, with `-` for an unknown count and `~` before a stale one.
async fn shown(list: &LiveList) -> Vec<String> {
    let updates = list.first(100, Timestamp::default()).await.unwrap();
    assert!(updates.iter().all(|update| update.live == Some(true)));
    let shown = |update: &CountUpdate| match update.count {
        None => format!("{} -", update.channel_id),
        Some(count) => format!("{} {}{count}", update.channel_id, if update.stale { "~" } else { "" }),
    };
    updates.iter().map(shown).collect()
}

#[tokio::test(start_paused = true)]
async fn with_live_signals_the_list_has_exactly_the_channels_on_air() {
    let (_store, list, signals) = on_air_list(&[("invented", 9), ("ana", 1), ("eva", 2)]);
    assert!(list.first(9, Timestamp::default()).await.is_err(), "nothing is known before the first contact");
    for name in ["ana", "zoe", "eva", "bob"] {
        report(&signals, name, true).await;
    }
    signals.poll().await;
    assert_eq!(shown(&list).await, ["eva 2", "ana 1", "bob 0", "zoe 0"]);
    // Changes show at once, without another listing.
    report(&signals, "eva", false).await;
    report(&signals, "invented", true).await;
    assert_eq!(shown(&list).await, ["invented 9", "ana 1", "bob 0", "zoe 0"]);
    let now = Timestamp::from_millis(5);
    for (name, count) in [("zoe", 3), ("ana", 0), ("eva", 7)] {
        list.record(&channel(name), count, now);
    }
    assert_eq!(shown(&list).await, ["invented 9", "zoe 3", "ana 0", "bob 0"]);
    report(&signals, "eva", true).await;
    assert_eq!(shown(&list).await, ["invented 9", "eva 7", "zoe 3", "ana 0", "bob 0"]);
    sleep(INTERVAL).await;
    assert_eq!(shown(&list).await, ["invented 9", "eva 2", "ana 1", "bob 0", "zoe 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_changes_during_a_listing_is_in_the_list() {
    let (_store, list, signals) = on_air_list(&[("ana", 1)]);
    report(&signals, "ana", true).await;
    signals.poll().await;
    let change = async {
        sleep(Duration::from_millis(10)).await;
        report(&signals, "bob", true).await;
        report(&signals, "ana", false).await;
    };
    let (shown, ()) = tokio::join!(shown(&list), change);
    assert_eq!(shown, ["bob 0"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_channels_on_air_have_unknown_counts() {
    let (store, list, signals) = on_air_list(&[("ana", 1)]);
    *store.behavior.lock() = Behavior::Failing;
    report(&signals, "bob", true).await;
    signals.poll().await;
    assert_eq!(shown(&list).await, ["bob -"]);
    *store.behavior.lock() = Behavior::Normal;
    sleep(INTERVAL).await;
    report(&signals, "ana", true).await;
    assert_eq!(shown(&list).await, ["ana 1", "bob 0"]);
    for behavior in [Behavior::Partial, Behavior::Failing] {
        *store.behavior.lock() = behavior;
        sleep(INTERVAL).await;
        assert_eq!(shown(&list).await, ["ana ~1", "bob -"], "0 may be wrong");
    }
    sleep(STALE_FOR).await;
    assert_eq!(shown(&list).await, ["ana -", "bob -"]);
    report(&signals, "ana", false).await;
    report(&signals, "bob", false).await;
    assert_eq!(list.first(9, Timestamp::default()).await.unwrap(), [], "that no channel is on air is known");
}
