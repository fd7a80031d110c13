//! Over a store that counts its listings, and that can be slow, broken or stuck.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::time::{advance, sleep};

use super::*;
use crate::server::store::Live;

const INTERVAL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Partial,
    Broken,
    Stuck,
    Panics,
}

struct TestSource {
    channels: Mutex<Vec<(&'static str, u32)>>,
    mood: Mutex<Mood>,
    listings: AtomicU32,
}

impl TestSource {
    fn new(channels: &[(&'static str, u32)]) -> (Arc<Self>, LiveList) {
        let store = Arc::new(Self {
            channels: Mutex::new(channels.to_vec()),
            mood: Mutex::new(Mood::Well),
            listings: AtomicU32::new(0),
        });
        (Arc::clone(&store), LiveList::new(store, INTERVAL))
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
        let mood = *self.mood.lock();
        sleep(Duration::from_millis(20)).await;
        match mood {
            Mood::Well | Mood::Partial => {}
            Mood::Broken => return Err(StoreError::unexpected()),
            Mood::Stuck => std::future::pending().await,
            Mood::Panics => panic!("as the test has asked for"),
        }
        let never = Timestamp::default();
        let live = |(name, count)| Live { channel: channel(name), count, as_of: never, restored: never };
        let live = channels.into_iter().map(live).collect();
        Ok(Listed { live, is_whole: mood != Mood::Partial })
    }
}

fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

/// What the list says: names in their order, and whether it is stale.
async fn told(list: &LiveList) -> Result<(Vec<String>, bool), StoreError> {
    let updates = list.first(100).await?;
    let is_stale = updates.iter().any(|update| update.stale);
    Ok((updates.iter().map(|update| update.channel_id.to_string()).collect(), is_stale))
}

fn fresh(names: &str) -> (Vec<String>, bool) {
    (names.split(',').map(str::to_owned).collect(), false)
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_the_store_lists_once_per_interval() {
    let (store, list) = TestSource::new(&[("b", 1), ("a", 1), ("c", 5)]);
    for _ in 0..5 {
        for answer in join_all((0..1_000).map(|_| told(&list))).await {
            assert_eq!(answer.unwrap(), fresh("c,a,b"));
        }
        told(&list).await.unwrap();
        assert_eq!(list.first(2).await.unwrap().len(), 2);
        assert_eq!(store.listings(), 1);
        advance(INTERVAL).await;
    }
}

/// As the store's clock shows it.
fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn writes_of_this_node_are_in_the_list_at_once_without_another_listing() {
    let (store, list) = TestSource::new(&[("a", 1)]);
    assert_eq!(told(&list).await.unwrap(), fresh("a"));
    list.note(&channel("b"), 1, at(10));
    assert_eq!(told(&list).await.unwrap(), fresh("a,b"));
    list.note(&channel("b"), 2, at(11));
    assert_eq!(told(&list).await.unwrap(), fresh("b,a"));
    list.note(&channel("a"), 0, at(12));
    assert_eq!(told(&list).await.unwrap(), fresh("b"));
    list.note(&channel("b"), 7, at(5));
    assert_eq!(list.first(1).await.unwrap()[0].count, Some(2), "an older count changes nothing");
    assert_eq!(store.listings(), 1);
}

#[tokio::test(start_paused = true)]
async fn writes_while_a_listing_is_under_way_are_in_it() {
    let (store, list) = TestSource::new(&[("a", 1), ("b", 5)]);
    let written = async {
        sleep(Duration::from_millis(10)).await;
        list.note(&channel("c"), 3, at(10));
        list.note(&channel("b"), 0, at(11));
        told(&list).await
    };
    let (early, late) = tokio::join!(told(&list), written);
    assert_eq!(early.unwrap(), fresh("c,a"));
    assert_eq!(late.unwrap(), fresh("c,a"));
    assert_eq!(store.listings(), 1);
    advance(INTERVAL).await;
    assert_eq!(told(&list).await.unwrap(), fresh("b,a"), "what other nodes have written takes an interval");
}

#[tokio::test(start_paused = true)]
async fn no_crowd_of_new_channels_makes_it_list_more_often() {
    let (store, list) = TestSource::new(&[("a", 1)]);
    let end = Instant::now() + 10 * INTERVAL;
    while Instant::now() < end {
        list.note(&channel("new"), 1, at(1));
        told(&list).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    assert!(store.listings() <= 11);
    // Nor does a store that has nothing to list, or fails.
    for mood in [Mood::Well, Mood::Broken] {
        let (store, list) = TestSource::new(&[]);
        *store.mood.lock() = mood;
        let end = Instant::now() + 10 * INTERVAL;
        while Instant::now() < end {
            assert_eq!(told(&list).await.is_ok(), mood == Mood::Well);
            sleep(Duration::from_millis(5)).await;
        }
        assert!(store.listings() <= 11 * READS);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_the_last_list_is_stale_and_then_unknown() {
    for mood in [Mood::Broken, Mood::Stuck, Mood::Panics] {
        let (store, list) = TestSource::new(&[("a", 1)]);
        told(&list).await.unwrap();
        *store.mood.lock() = mood;
        advance(INTERVAL).await;
        let started = Instant::now();
        assert_eq!(told(&list).await.unwrap(), (vec!["a".to_owned()], true));
        for answer in join_all((0..1_000).map(|_| told(&list))).await {
            assert_eq!(answer.unwrap(), (vec!["a".to_owned()], true));
        }
        assert!(started.elapsed() <= 2 * WAIT, "and nobody waits for long");
        advance(STALE_FOR).await;
        assert!(told(&list).await.is_err());
        *store.mood.lock() = Mood::Well;
        sleep(LONGEST + INTERVAL).await;
        assert_eq!(told(&list).await.unwrap(), fresh("a"));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_not_unknown() {
    let (store, list) = TestSource::new(&[]);
    assert_eq!(list.first(10).await.unwrap(), []);
    *store.mood.lock() = Mood::Broken;
    assert!(list.first(10).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_takes_the_list_from_nobody() {
    let (store, list) = TestSource::new(&[("a", 1)]);
    let gone = timeout(Duration::from_millis(10), told(&list));
    let (gone, stays) = tokio::join!(gone, told(&list));
    assert!(gone.is_err());
    assert_eq!(stays.unwrap(), fresh("a"));
    assert_eq!(store.listings(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_partial_list_is_stale_and_lasts_as_long_as_the_outage() {
    let (store, list) = TestSource::new(&[("a", 1)]);
    *store.mood.lock() = Mood::Partial;
    for _ in 0..100 {
        assert_eq!(told(&list).await.unwrap(), (vec!["a".to_owned()], true));
        sleep(INTERVAL).await;
    }
    *store.channels.lock() = Vec::new();
    sleep(INTERVAL).await;
    assert!(told(&list).await.is_err(), "an empty list that may be incomplete is unknown");
    *store.mood.lock() = Mood::Well;
    sleep(INTERVAL).await;
    assert_eq!(told(&list).await.unwrap(), (Vec::new(), false));
}
