//! Read batching, the counterpart of group commit: requests that arrive during a read wait for the next read, which
//! reads each of their channels once. A single request is read at once; many concurrent requests cost the store one
//! read.
//!
//! Promises:
//! - Every request gets the result of a read that began after the request, so a completed join is in it. While many
//!   requests wait, a request for one channel can get a [recent](super::recent) count instead.
//! - A read has at most [`MAX_CHANNELS`] channels, so reads in any number delay a write only shortly. Requests for many
//!   channels have reads of their own, and do not delay those for few.
//! - If each channel is its own store call, a slow channel does not delay the others.
//! - Memory is bounded by the open requests: a request's channels are kept until its response, a lane only
//!   during its reads.
//! - If a read panics, each of its requests is read on its own. No request waits forever.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use futures::{FutureExt, future::join_all};
use tokio::{sync::oneshot, task::yield_now, time::Instant};

use super::{lanes::Lanes, recent::RecentCounts};
use crate::{
    domain::{ChannelId, Count},
    server::{fanout::Counts, spans},
};

/// The requests that wait for the next read. Cloning is cheap. The source notes its reads and writes here.
#[derive(Clone, Default)]
pub(super) struct ReadBatcher(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The requests that wait for the next read.
    lanes: Lanes<Lane, Request>,
    /// The number of requests without a response.
    open: AtomicUsize,
    recent: RecentCounts,
}

/// A request without a response.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The most channels of a read. A request has at most 1,000.
const MAX_CHANNELS: usize = 4_000;

/// The most channels of a request that is read together with those for few channels.
const FEW: usize = 16;

/// A queue with at most one read in flight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Lane {
    /// The requests for few channels.
    Few,
    /// The requests for many channels.
    Many,
    /// The requests for one channel, if each is its own store call.
    One(ChannelId),
}

struct Request {
    channels: Vec<ChannelId>,
    response: oneshot::Sender<Vec<Count>>,
}

impl ReadBatcher {
    /// The counts of channels in the order given.
    pub(super) async fn counts<S>(&self, source: &S, channels: &[ChannelId]) -> Vec<Count>
    where
        S: Counts + Clone + 'static,
    {
        if let [channel] = channels
            && let Some(count) = self.0.recent.get(channel)
        {
            return vec![count];
        }
        let _open = self.open();
        let _span = spans::store("read");
        if source.takes_many_channels() {
            let lane = if channels.len() > FEW { Lane::Many } else { Lane::Few };
            return self.read_in(lane, source, channels).await;
        }
        let each = channels
            .iter()
            .map(|channel| self.read_in(Lane::One(channel.clone()), source, std::slice::from_ref(channel)));
        join_all(each).await.concat()
    }

    /// Notes counts that were read for something else than a request, such as streams. The read began at `began`.
    pub(super) fn note_read(&self, channels: &[ChannelId], counts: &[Count], began: Instant) {
        self.0.recent.update(channels, counts, began);
    }

    /// Notes a write of a channel, which has returned `count`.
    pub(super) fn note_write(&self, channel: &ChannelId, count: Count) {
        self.0.recent.note_write(channel, count);
    }

    fn open(&self) -> Open<'_> {
        let others = self.0.open.fetch_add(1, Relaxed);
        self.0.recent.note_waiting(others + 1);
        Open(&self.0.open)
    }

    async fn read_in<S>(&self, lane: Lane, source: &S, channels: &[ChannelId]) -> Vec<Count>
    where
        S: Counts + Clone + 'static,
    {
        let (response, received) = oneshot::channel();
        let request = Request { channels: channels.to_vec(), response };
        if let Some(first) = self.0.lanes.add(lane.clone(), request) {
            // The read runs in its own task, so it continues if the first request is canceled.
            tokio::spawn(self.clone().drain(source.clone(), lane, vec![first]));
        }
        match received.await {
            Ok(counts) => counts,
            Err(_panicked) => source.counts(channels).await,
        }
    }

    /// Reads a lane until no request waits in it.
    async fn drain<S: Counts>(self, source: S, lane: Lane, mut requests: Vec<Request>) {
        while !requests.is_empty() {
            // After a panic the lane must go on for its waiting requests. The requests of the failed read are dropped.
            let _panicked = AssertUnwindSafe(self.read(&source, requests)).catch_unwind().await;
            // Requests that have arrived meanwhile, and that no task has read yet, join the next read.
            yield_now().await;
            requests = self.0.lanes.next(&lane, |waiting| take_next(&lane, waiting));
        }
    }

    /// Answers all requests with one read.
    async fn read(&self, source: &impl Counts, requests: Vec<Request>) {
        let mut channels = Vec::new();
        let mut positions = HashMap::new();
        for channel in requests.iter().flat_map(|request| &request.channels) {
            positions.entry(channel.clone()).or_insert_with(|| {
                channels.push(channel.clone());
                channels.len() - 1
            });
        }
        let began = Instant::now();
        let counts = source.counts(&channels).await;
        for Request { channels, response } in requests {
            if let [channel] = &channels[..]
                && let Some(count) = positions.get(channel).and_then(|at| counts.get(*at))
            {
                self.0.recent.put(channel, *count, began);
            }
            let own = channels.iter().filter_map(|channel| counts.get(*positions.get(channel)?).copied());
            // The request may have been canceled.
            let _canceled = response.send(own.collect());
        }
    }
}

/// Takes the requests of the next read from those that wait in a lane, the oldest first.
fn take_next(lane: &Lane, waiting: &mut Vec<Request>) -> Vec<Request> {
    // Canceled requests are not read.
    waiting.retain(|request| !request.response.is_closed());
    if let Lane::One(_) = lane {
        return std::mem::take(waiting);
    }
    let mut channels = 0;
    let fits = |request: &&Request| {
        channels += request.channels.len();
        channels <= MAX_CHANNELS
    };
    let next = waiting.iter().take_while(fits).count();
    let rest = waiting.split_off(next);
    std::mem::replace(waiting, rest)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
        time::Duration,
    };

    use async_trait::async_trait;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::domain::Timestamp;

    /// A read takes 5 ms; a read with the channel `slow` never ends. Counts are those at the start of the read.
    #[derive(Default)]
    struct Source {
        many: bool,
        /// The most channels of a read.
        most: AtomicUsize,
        count: AtomicU32,
        reads: AtomicU32,
        panics: AtomicBool,
    }

    #[derive(Clone)]
    struct Handle(Arc<Source>);

    impl Handle {
        fn new(many: bool) -> Self {
            Self(Arc::new(Source { many, ..Source::default() }))
        }
    }

    #[async_trait]
    impl Counts for Handle {
        async fn counts(&self, channels: &[ChannelId]) -> Vec<Count> {
            let count = self.0.count.load(SeqCst);
            self.0.reads.fetch_add(1, SeqCst);
            self.0.most.fetch_max(channels.len(), SeqCst);
            sleep(Duration::from_millis(5)).await;
            if channels.iter().any(|channel| channel.as_str() == "slow") {
                std::future::pending::<()>().await;
            }
            assert!(!self.0.panics.swap(false, SeqCst), "requested by the test");
            let length = |channel: &ChannelId| u32::try_from(channel.as_str().len()).unwrap();
            let counts = channels.iter().map(|name| Count::fresh(count + length(name), Timestamp::default()));
            counts.collect()
        }

        fn takes_many_channels(&self) -> bool {
            self.0.many
        }
    }

    fn channels(names: &str) -> Vec<ChannelId> {
        names.split(',').map(|name| ChannelId::parse(name).unwrap()).collect()
    }

    fn values(counts: &[Count]) -> Vec<u32> {
        counts.iter().map(|count| count.value().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_concurrent_requests_cost_two_reads() {
        for many in [true, false] {
            let (reads, source) = (ReadBatcher::default(), Handle::new(many));
            let hot = channels("hot");
            let requests = (0..1_000).map(|_| reads.counts(&source, &hot));
            assert!(join_all(requests).await.iter().all(|counts| values(counts) == [3]));
            assert_eq!(source.0.reads.load(SeqCst), 2);
            sleep(Duration::from_millis(1)).await;
            assert!(reads.0.lanes.are_idle());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_gets_its_channels_in_order() {
        let (reads, source) = (ReadBatcher::default(), Handle::new(true));
        let lists = ["a", "aa,a", "aaa,aaaa,a", "aa"].map(channels);
        let answers = join_all(lists.iter().map(|list| reads.counts(&source, list))).await;
        let answers: Vec<_> = answers.iter().map(|counts| values(counts)).collect();
        assert_eq!(answers, [vec![1], vec![2, 1], vec![3, 4, 1], vec![2]]);
        assert_eq!(reads.counts(&source, &[]).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_comes_from_a_read_that_began_after_the_request() {
        let (reads, source) = (ReadBatcher::default(), Handle::new(true));
        let name = channels("a");
        let early = async { reads.counts(&source, &name).await };
        let late = async {
            sleep(Duration::from_millis(2)).await;
            source.0.count.store(10, SeqCst);
            reads.counts(&source, &name).await
        };
        let (early, late) = tokio::join!(early, late);
        assert_eq!((values(&early), values(&late)), (vec![1], vec![11]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_asks_for_a_channel_costs_few_reads() {
        let (reads, source) = (ReadBatcher::default(), Handle::new(true));
        let hot = channels("hot");
        let client = async |_| {
            for _ in 0..1_000 {
                assert_eq!(values(&reads.counts(&source, &hot).await), [3]);
                sleep(Duration::from_millis(1)).await;
            }
        };
        join_all((0..32).map(client)).await;
        // Without recent counts, 200 in the first second alone.
        assert!(source.0.reads.load(SeqCst) < 100, "{:?}", source.0.reads);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_every_write_of_this_node_also_while_it_is_busy() {
        let (reads, source) = (ReadBatcher::default(), Handle::new(true));
        let hot = channels("hot");
        join_all((0..32).map(|_| reads.counts(&source, &hot))).await;
        let before = source.0.reads.load(SeqCst);
        source.0.count.store(10, SeqCst);
        assert_eq!(values(&reads.counts(&source, &hot).await), [3], "a recent count");
        assert_eq!(source.0.reads.load(SeqCst), before);
        reads.note_write(&hot[0], Count::fresh(13, Timestamp::default()));
        assert_eq!(values(&reads.counts(&source, &hot).await), [13]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_never_gets_a_recent_count() {
        let (reads, source) = (ReadBatcher::default(), Handle::new(false));
        let many = channels("a,b,c,d,e,f,g,h,i,j,k,l");
        for nth in 0..100 {
            source.0.count.store(nth, SeqCst);
            assert_eq!(values(&reads.counts(&source, &many).await), [nth + 1; 12]);
            assert_eq!(values(&reads.counts(&source, &many[..1]).await), [nth + 1]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_long_lists_is_read_in_parts_and_delays_no_single_channel() {
        let (reads, source) = (ReadBatcher::default(), Handle::new(true));
        let lists: Vec<_> = (0..100)
            .map(|list| (0..999).map(|nth| ChannelId::parse(&format!("c{list}-{nth}")).unwrap()).collect())
            .collect();
        let began = Instant::now();
        let flood = join_all(lists.iter().map(|list: &Vec<_>| reads.counts(&source, list)));
        let single = async {
            sleep(Duration::from_millis(1)).await;
            reads.counts(&source, &channels("a")).await;
            began.elapsed()
        };
        let (answers, waited) = tokio::join!(flood, single);
        assert!(answers.iter().all(|counts| counts.len() == 999));
        assert!(source.0.most.load(SeqCst) <= MAX_CHANNELS, "{:?}", source.0.most);
        assert!(waited <= Duration::from_millis(10), "{waited:?}");
        assert!(began.elapsed() >= Duration::from_millis(100), "the flood has taken its time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_canceled_request_does_not_cancel_others() {
        let (reads, source) = (ReadBatcher::default(), Handle::new(true));
        let name = channels("a");
        let canceled = timeout(Duration::from_millis(1), reads.counts(&source, &name));
        let other = reads.counts(&source, &name);
        let (canceled, other) = tokio::join!(canceled, other);
        assert!(canceled.is_err());
        assert_eq!(values(&other), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_channel_delays_no_other_when_each_is_its_own_call() {
        let (reads, source) = (ReadBatcher::default(), Handle::new(false));
        let (slow, quick) = (channels("slow"), channels("quick"));
        let slow = timeout(Duration::from_secs(60), reads.counts(&source, &slow));
        let (slow, quick) = tokio::join!(slow, reads.counts(&source, &quick));
        assert!(slow.is_err());
        assert_eq!(values(&quick), [5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_leaves_no_request_waiting() {
        let (reads, source) = (ReadBatcher::default(), Handle::new(true));
        source.0.panics.store(true, SeqCst);
        let name = channels("a");
        let answers = join_all((0..10).map(|_| reads.counts(&source, &name))).await;
        assert!(answers.iter().all(|counts| values(counts) == [1]));
        // The task that has read sees that nobody waits.
        sleep(Duration::from_millis(1)).await;
        assert!(reads.0.lanes.are_idle());
    }
}
