//! Tests of the reader with paused time, which advances only while a test waits.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use async_trait::async_trait;
use futures::poll;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::sleep};

use super::*;
use crate::{
    domain::{Count, Timestamp},
    server::fanout::{Subscription, hub::TICK_AFTER},
};

const INTERVAL: Duration = Duration::from_secs(2);

/// The longest delay of a change: an interval and one round, and another round if the change happened during a read.
const MAX_DELAY: Duration = Duration::from_millis(2_200);

fn channel(name: &str) -> ChannelId {
    ChannelId::parse(name).unwrap()
}

/// Returns 7 for every channel, but for `slow` only after a permit.
struct SlowSource {
    slow: Semaphore,
}

#[async_trait]
impl Counts for SlowSource {
    async fn counts(&self, channels: &[ChannelId]) -> Vec<Count> {
        if channels.iter().any(|channel| channel.as_str() == "slow") {
            self.slow.acquire().await.unwrap().forget();
        }
        vec![Count::fresh(7, Timestamp::default()); channels.len()]
    }

    fn takes_many_channels(&self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_channel_delays_no_other() {
    let hub = Arc::new(Hub::new(Duration::from_secs(2)));
    let source = Arc::new(SlowSource { slow: Semaphore::new(0) });
    let reader = tokio::spawn(run(Arc::clone(&hub), Arc::clone(&source) as Arc<dyn Counts>));
    let channel = |name: &str| ChannelId::parse(name).unwrap();
    let mut slow = hub.subscribe(&[channel("slow")]);
    let mut quick = hub.subscribe(&[channel("quick")]);
    let frame = poll_fn(|cx| quick.poll_frame(cx)).await.unwrap();
    assert!(std::str::from_utf8(&frame).unwrap().contains("quick"));
    sleep(Duration::from_secs(60)).await;
    assert!(poll!(std::pin::pin!(poll_fn(|cx| slow.poll_frame(cx)))).is_pending());
    source.slow.add_permits(1);
    let frame = poll_fn(|cx| slow.poll_frame(cx)).await.unwrap();
    assert!(std::str::from_utf8(&frame).unwrap().contains("slow"));
    hub.close();
    reader.await.unwrap();
}

/// A source whose counts a test sets, and which counts its calls.
#[derive(Default)]
struct TestSource {
    counts: Mutex<HashMap<ChannelId, u32>>,
    calls: AtomicU32,
    panics: AtomicBool,
}

impl TestSource {
    fn of(&self, channel: &ChannelId) -> u32 {
        self.counts.lock().get(channel).copied().unwrap_or_default()
    }

    fn set(&self, channel: &ChannelId, count: u32) {
        self.counts.lock().insert(channel.clone(), count);
    }
}

#[async_trait]
impl Counts for TestSource {
    async fn counts(&self, channels: &[ChannelId]) -> Vec<Count> {
        self.calls.fetch_add(1, SeqCst);
        assert!(!self.panics.load(SeqCst), "requested by the test");
        // Counts can be old when the call returns.
        let counts =
            channels.iter().map(|channel| Count::fresh(self.of(channel), Timestamp::default())).collect();
        sleep(Duration::from_millis(3)).await;
        counts
    }

    fn takes_many_channels(&self) -> bool {
        true
    }
}

/// A page with a stream, and the counts that it shows.
struct Page {
    stream: Subscription,
    watched: usize,
    shown: HashMap<String, u64>,
    ticks: u32,
}

impl Page {
    fn open(hub: &Arc<Hub>, channels: &[ChannelId]) -> Self {
        Self { stream: hub.subscribe(channels), watched: channels.len(), shown: HashMap::new(), ticks: 0 }
    }

    /// Reads all available frames.
    async fn read(&mut self) {
        while let std::task::Poll::Ready(frame) = poll!(poll_fn(|cx| self.stream.poll_frame(cx))) {
            let frame = String::from_utf8(frame.expect("the stream is open").to_vec()).unwrap();
            if frame.starts_with("event: tick") {
                self.ticks += 1;
                continue;
            }
            let data = frame.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            let channel = data["channelId"].as_str().unwrap().to_owned();
            self.shown.insert(channel, data["count"].as_u64().unwrap());
        }
    }
}

fn start() -> (Arc<Hub>, Arc<TestSource>, tokio::task::JoinHandle<()>) {
    let (hub, source) = (Arc::new(Hub::new(INTERVAL)), Arc::new(TestSource::default()));
    let reader = tokio::spawn(run(Arc::clone(&hub), Arc::clone(&source) as Arc<dyn Counts>));
    (hub, source, reader)
}

#[tokio::test(start_paused = true)]
async fn reads_and_ticks_stay_on_time_while_channels_come_and_go() {
    let (hub, source, _reader) = start();
    let ana = channel("ana");
    let mut page = Page::open(&hub, std::slice::from_ref(&ana));
    let mut number = 0;
    let mut churn = async |time: Duration, page: &mut Page| {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let stream = hub.subscribe(&[channel(&format!("churn-{number}"))]);
            number += 1;
            sleep(Duration::from_millis(2)).await;
            drop(stream);
            page.read().await;
        }
    };
    for count in [10, 0, 7, 8] {
        // A change without a write on this node, as after writes of other nodes or expired leases.
        source.set(&ana, count);
        churn(MAX_DELAY, &mut page).await;
        assert_eq!(page.shown["ana"], u64::from(count));
    }
    churn(TICK_AFTER + INTERVAL, &mut page).await;
    assert_eq!(page.ticks, 1);
    assert!(number > 4_000);
    let calls = source.calls.load(SeqCst);
    assert!(calls <= number + 1_000, "{calls} calls for {number} new channels");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_reader_continues_after_a_panic() {
    let (hub, source, reader) = start();
    let ana = channel("ana");
    let mut page = Page::open(&hub, std::slice::from_ref(&ana));
    sleep(INTERVAL).await;
    source.panics.store(true, SeqCst);
    assert!(reader.await.unwrap_err().is_panic(), "the panic reaches the supervisor");
    source.panics.store(false, SeqCst);
    source.set(&ana, 5);
    tokio::spawn(run(Arc::clone(&hub), Arc::clone(&source) as Arc<dyn Counts>));
    sleep(MAX_DELAY).await;
    page.read().await;
    assert_eq!(page.shown["ana"], 5);
}

/// A xorshift generator. A seed determines the whole test run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[tokio::test(start_paused = true)]
async fn every_page_shows_the_true_counts_after_random_events() {
    for seed in 1..=20 {
        println!("seed {seed}");
        let (hub, source, _reader) = start();
        let mut random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let channels: Vec<_> = (0..12).map(|n| channel(&format!("c{n}"))).collect();
        let mut pages: Vec<Page> = Vec::new();
        for _ in 0..3_000 {
            let one = &channels[usize::try_from(random.below(12)).unwrap()];
            match random.below(10) {
                0..=2 => {
                    let more = channels.iter().filter(|_| random.below(8) == 0).filter(|other| *other != one);
                    let watched: Vec<_> = std::iter::once(one).chain(more).cloned().collect();
                    pages.push(Page::open(&hub, &watched));
                }
                3..=5 if !pages.is_empty() => {
                    let nth = random.below(pages.len() as u64);
                    pages.swap_remove(usize::try_from(nth).unwrap());
                }
                6 => source.set(one, u32::try_from(random.below(5)).unwrap()),
                7 | 8 => {
                    // A write on this node. The count that it reports may be old.
                    let count = u32::try_from(random.below(5)).unwrap();
                    source.set(one, count);
                    hub.notify_write(one, if random.below(4) == 0 { count / 2 } else { count });
                }
                _ => sleep(Duration::from_millis(random.below(150))).await,
            }
        }
        sleep(MAX_DELAY).await;
        for page in &mut pages {
            page.read().await;
            for (name, shown) in &page.shown {
                assert_eq!(*shown, u64::from(source.of(&channel(name))), "{name}, seed {seed}");
            }
            assert_eq!(page.shown.len(), page.watched);
        }
        drop(pages);
        assert!(hub.is_idle());
    }
}
