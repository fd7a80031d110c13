//! Gathers reads as the group commit gathers writes: while a read is under way, those who ask gather, and the next read has
//! each of their channels once. Alone, whoever asks waits for nothing; however many ask, the store hears of it once.
//!
//! Promises:
//! - Every answer is from a read that was begun after it was asked for, so that who has joined is in it.
//! - Where each channel is a call of its own, one that is slow keeps no other waiting.
//! - What is kept is what is being asked for: a request's channels until it is answered, and a lane while it is read for.
//! - A read that panics lets nobody wait: everyone who was in it reads alone.

use std::{
    collections::{HashMap, hash_map::Entry},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures::{FutureExt, future::join_all};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    domain::{ChannelId, Count},
    server::fanout::Counts,
};

/// What has gathered behind the reads that are under way, by channel or, under `None`, for all. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Reads(Arc<Mutex<Lanes>>);

type Lane = Option<ChannelId>;
type Lanes = HashMap<Lane, Vec<Asked>>;

struct Asked {
    channels: Vec<ChannelId>,
    answer: oneshot::Sender<Vec<Count>>,
}

impl Reads {
    /// The counts of channels in the order given.
    pub async fn counts<S>(&self, source: &S, channels: &[ChannelId]) -> Vec<Count>
    where
        S: Counts + Clone + 'static,
    {
        if source.takes_many_channels() {
            return self.gather(source, None, channels).await;
        }
        let each = channels
            .iter()
            .map(|channel| self.gather(source, Some(channel.clone()), std::slice::from_ref(channel)));
        join_all(each).await.concat()
    }

    async fn gather<S>(&self, source: &S, lane: Lane, channels: &[ChannelId]) -> Vec<Count>
    where
        S: Counts + Clone + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { channels: channels.to_vec(), answer };
        let first = match self.0.lock().entry(lane.clone()) {
            Entry::Occupied(mut gathered) => {
                gathered.get_mut().push(asked);
                None
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Vec::new());
                Some(asked)
            }
        };
        if let Some(first) = first {
            // A task of its own: whoever came first may go away, the others still want their answers.
            tokio::spawn(self.clone().drain(source.clone(), lane, vec![first]));
        }
        match answered.await {
            Ok(counts) => counts,
            Err(_panicked) => source.counts(channels).await,
        }
    }

    /// Reads until nothing has gathered any more.
    async fn drain<S: Counts>(self, source: S, lane: Lane, mut work: Vec<Asked>) {
        while !work.is_empty() {
            // A panic must not leave the lane behind, with everyone waiting in it. Those in the read are let go.
            let _panicked = AssertUnwindSafe(read(&source, work)).catch_unwind().await;
            let mut lanes = self.0.lock();
            work = lanes.get_mut(&lane).map(std::mem::take).unwrap_or_default();
            // Nobody reads for those who have gone.
            work.retain(|asked| !asked.answer.is_closed());
            if work.is_empty() {
                lanes.remove(&lane);
            }
        }
    }
}

/// Answers all of them by one read.
async fn read(source: &impl Counts, work: Vec<Asked>) {
    let mut channels = Vec::new();
    let mut places = HashMap::new();
    for channel in work.iter().flat_map(|asked| &asked.channels) {
        places.entry(channel.clone()).or_insert_with(|| {
            channels.push(channel.clone());
            channels.len() - 1
        });
    }
    let counts = source.counts(&channels).await;
    for Asked { channels, answer } in work {
        let own = channels.iter().filter_map(|channel| counts.get(*places.get(channel)?).copied());
        // Whoever asked may be gone.
        let _gone = answer.send(own.collect());
    }
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

    /// Takes 5 ms for a read, and for ever where `slow` is in it. The count is what it was when the read began.
    #[derive(Default)]
    struct Source {
        many: bool,
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
            sleep(Duration::from_millis(5)).await;
            if channels.iter().any(|channel| channel.as_str() == "slow") {
                std::future::pending::<()>().await;
            }
            assert!(!self.0.panics.swap(false, SeqCst), "as the test has asked for");
            let length = |channel: &ChannelId| u32::try_from(channel.as_str().len()).unwrap();
            channels.iter().map(|name| Count::fresh(count + length(name), Timestamp::default())).collect()
        }

        fn takes_many_channels(&self) -> bool {
            self.0.many
        }
    }

    fn channels(names: &str) -> Vec<ChannelId> {
        names.split(',').map(|name| ChannelId::parse(name).unwrap()).collect()
    }

    fn values(counts: &[Count]) -> Vec<u32> {
        counts.iter().map(|count| count.value.unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_who_ask_at_once_are_a_handful_of_reads() {
        for many in [true, false] {
            let (reads, source) = (Reads::default(), Handle::new(many));
            let hot = channels("hot");
            let asked = (0..1_000).map(|_| reads.counts(&source, &hot));
            assert!(join_all(asked).await.iter().all(|counts| values(counts) == [3]));
            assert_eq!(source.0.reads.load(SeqCst), 2);
            assert!(reads.0.lock().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn everyone_gets_what_they_asked_for_in_their_order() {
        let (reads, source) = (Reads::default(), Handle::new(true));
        let lists = ["a", "aa,a", "aaa,aaaa,a", "aa"].map(channels);
        let answers = join_all(lists.iter().map(|list| reads.counts(&source, list))).await;
        let answers: Vec<_> = answers.iter().map(|counts| values(counts)).collect();
        assert_eq!(answers, [vec![1], vec![2, 1], vec![3, 4, 1], vec![2]]);
        assert_eq!(reads.counts(&source, &[]).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_from_a_read_that_was_begun_after_it_was_asked_for() {
        let (reads, source) = (Reads::default(), Handle::new(true));
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
    async fn who_goes_away_takes_nobody_along() {
        let (reads, source) = (Reads::default(), Handle::new(true));
        let name = channels("a");
        let gone = timeout(Duration::from_millis(1), reads.counts(&source, &name));
        let stays = reads.counts(&source, &name);
        let (gone, stays) = tokio::join!(gone, stays);
        assert!(gone.is_err());
        assert_eq!(values(&stays), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_channel_keeps_no_other_waiting_where_each_is_a_call() {
        let (reads, source) = (Reads::default(), Handle::new(false));
        let (slow, quick) = (channels("slow"), channels("quick"));
        let slow = timeout(Duration::from_secs(60), reads.counts(&source, &slow));
        let (slow, quick) = tokio::join!(slow, reads.counts(&source, &quick));
        assert!(slow.is_err());
        assert_eq!(values(&quick), [5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_leaves_nobody_waiting() {
        let (reads, source) = (Reads::default(), Handle::new(true));
        source.0.panics.store(true, SeqCst);
        let name = channels("a");
        let answers = join_all((0..10).map(|_| reads.counts(&source, &name))).await;
        assert!(answers.iter().all(|counts| values(counts) == [1]));
        assert!(reads.0.lock().is_empty());
    }
}
