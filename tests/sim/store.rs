//! The simulated store that all nodes share, and the connection of each node to it.
//!
//! The connections behave like those of `RemoteStore`, with the faults of the plan. `data` has the data of the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aforo::{
    domain::{ChannelId, Timestamp},
    server::{
        clock::Skew,
        store::{
            Append, Appended, Attendance, Batch, Claim, Epoch, LeftSince, Listed, LogId, Mark, Names,
            Reading, Renewal, RenewalLog, RollCall, Share, Store, StoreError, Written,
        },
    },
};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    data::Data,
    oracle::{
        faults::{CALL_LIMIT, Fault, LATE},
        history::Window,
        plan::Millis,
        random::Random,
    },
};

/// The store's clock when the world begins, in milliseconds since the Unix epoch.
pub const EPOCH: u64 = 1_790_000_000_000;

/// The keys of a channel expire at most this long after its last write: twice the longest lease.
pub const TTL: Millis = 300_000;

/// The store.
pub struct SharedStore {
    began: Instant,
    data: Mutex<Data>,
    windows: Vec<Window>,
    random: Mutex<Random>,
}

impl SharedStore {
    pub fn new(seed: u64, windows: Vec<Window>) -> Self {
        let random = Mutex::new(Random::new(seed ^ 0x5eed));
        Self { began: Instant::now(), data: Mutex::default(), windows, random }
    }

    /// Milliseconds since the world began.
    pub fn now(&self) -> Millis {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn clock(&self) -> Timestamp {
        Timestamp::from_millis(EPOCH + self.now())
    }

    /// Applies a fault to the data.
    pub fn apply(&self, fault: Fault) {
        let mut data = self.data.lock();
        match fault {
            Fault::Emptied => data.empty(),
            Fault::Restarted => {
                data.empty();
                data.incarnation += 1;
            }
            Fault::Lost { every } => data.lose(every),
            Fault::OldCopy { age } => {
                data.roll_back(Timestamp::from_millis((EPOCH + self.now()).saturating_sub(age)));
                data.incarnation += 1;
            }
            _ => {}
        }
    }

    /// The channels with any data.
    pub fn channels(&self) -> Vec<String> {
        self.data.lock().channels(self.clock())
    }

    /// The number of viewers with any data.
    pub fn viewers(&self) -> usize {
        self.data.lock().viewers()
    }

    /// The count of a channel, regardless of faults.
    pub fn count(&self, channel: &ChannelId) -> u32 {
        self.data.lock().read(channel, self.clock()).count
    }

    fn write(&self, batches: &[Batch], sent: Timestamp) -> Option<Vec<Written>> {
        let (now, mark) = (self.clock(), Mark(self.random.lock().next()));
        let mut data = self.data.lock();
        batches.iter().map(|batch| data.write(batch, sent, now, mark)).collect()
    }

    fn read(&self, channels: &[ChannelId]) -> Vec<Reading> {
        let now = self.clock();
        let mut data = self.data.lock();
        channels.iter().map(|channel| data.read(channel, now)).collect()
    }

    fn attend(&self, attendance: &Attendance) -> RollCall {
        let epoch = self.random.lock().next();
        self.data.lock().attend(attendance, self.clock(), epoch)
    }

    /// Counts the connections of a node. It gets a new connection after a restart of the store, and after it could not
    /// reach the store.
    fn generation(&self, node: usize) -> u64 {
        let now = self.now();
        let breaks = |window: &&Window| {
            window.from <= now && (window.fault == Fault::Cut { node } || window.fault == Fault::Away)
        };
        self.data.lock().incarnation + self.windows.iter().filter(breaks).count() as u64
    }

    /// The end of the active faults that satisfy `is_met`, if any.
    pub fn until(&self, is_met: impl Fn(Fault) -> bool) -> Option<Millis> {
        let now = self.now();
        let met = self.windows.iter().filter(|window| window.from <= now && now < window.to);
        met.filter(|window| is_met(window.fault)).map(|window| window.to).max()
    }
}

/// A node's connection to the store.
#[derive(Clone)]
pub struct Link {
    pub store: Arc<SharedStore>,
    pub node: usize,
    pub delay: Millis,
    pub is_up: Arc<AtomicBool>,
    pub skew: Arc<Skew>,
}

impl Link {
    /// Calls the store. A call continues after its timeout.
    async fn call<T: Send + 'static>(
        &self,
        work: impl Fn(&SharedStore) -> T + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let (own, work) = (self.clone(), Arc::new(work));
        let call = tokio::spawn(async move { own.carry(work).await });
        match timeout(millis(CALL_LIMIT), call).await {
            Ok(Ok(answer)) => answer,
            _ => Err(StoreError::Unreachable("no answer in time".to_owned())),
        }
    }

    async fn carry<T: Send + 'static>(
        self,
        work: Arc<impl Fn(&SharedStore) -> T + Send + Sync + 'static>,
    ) -> Result<T, StoreError> {
        self.travel().await?;
        if self.is_drawn(|fault| self.percent_late(fault)) {
            let late = CALL_LIMIT + self.store.random.lock().below(LATE);
            if self.store.random.lock().chance(50) {
                sleep(millis(late)).await;
            } else {
                let (store, work) = (Arc::clone(&self.store), Arc::clone(&work));
                tokio::spawn(async move {
                    sleep(millis(late)).await;
                    work(&store);
                });
            }
        }
        while let Some(end) = self.store.until(|fault| fault == Fault::Paused) {
            sleep(millis(end - self.store.now())).await;
        }
        if self.store.until(|fault| fault == Fault::Away).is_some() {
            return Err(StoreError::Unreachable("refused".to_owned()));
        }
        let answer = work(&self.store);
        self.travel().await?;
        Ok(answer)
    }

    /// One direction of a call. A lost call ends with the timeout.
    async fn travel(&self) -> Result<(), StoreError> {
        let node = self.node;
        while let Some(end) = self.store.until(|fault| fault == Fault::Stopped { node }) {
            sleep(millis(end - self.store.now())).await;
        }
        let slow = |window: &&Window| match window.fault {
            Fault::Slow { node, delay } if node == self.node && window.contains(self.store.now()) => {
                Some(delay)
            }
            _ => None,
        };
        let slow = self.store.windows.iter().filter_map(|window| slow(&window)).max();
        sleep(millis(slow.unwrap_or(self.delay))).await;
        let is_cut = self.store.until(|fault| fault == Fault::Cut { node }).is_some();
        if is_cut || !self.is_up.load(Ordering::Relaxed) || self.is_drawn(|fault| self.percent_lost(fault)) {
            sleep(millis(CALL_LIMIT)).await;
            return Err(StoreError::Unreachable("lost".to_owned()));
        }
        Ok(())
    }

    /// The local clock of the node.
    fn clock(&self) -> Timestamp {
        Timestamp::from_millis(self.store.now())
    }

    /// Makes an epoch specific to the connection: after a reconnect, the store may have other data.
    fn epoch(&self, epoch: Option<Epoch>) -> Option<Epoch> {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let generation = self.store.generation(self.node).wrapping_mul(FACTOR);
        epoch.map(|Epoch(epoch)| Epoch(epoch ^ generation))
    }

    fn observed(&self, sent: Timestamp, reading: Reading) -> Reading {
        self.skew.observe(sent, self.clock(), reading.as_of);
        Reading { epoch: self.epoch(reading.epoch), ..reading }
    }

    const fn percent_lost(&self, fault: Fault) -> u64 {
        match fault {
            Fault::Lossy { node, percent } if node == self.node => percent / 2,
            _ => 0,
        }
    }

    const fn percent_late(&self, fault: Fault) -> u64 {
        match fault {
            Fault::Late { node, percent } if node == self.node => percent,
            _ => 0,
        }
    }

    fn is_drawn(&self, percent: impl Fn(Fault) -> u64) -> bool {
        let now = self.store.now();
        let met = self.store.windows.iter().filter(|window| window.contains(now));
        let percent = met.map(|window| percent(window.fault)).max().unwrap_or(0);
        percent > 0 && self.store.random.lock().chance(percent)
    }
}

#[async_trait]
impl Store for Link {
    async fn write(&self, batches: &[Batch]) -> Vec<Result<Written, StoreError>> {
        if self.skew.millis().is_none() {
            let _time = self.counts(std::slice::from_ref(&batches[0].channel)).await;
        }
        let (work, sent) = (batches.to_vec(), self.clock());
        let written = match self.skew.to_store(sent) {
            Some(sent) => self.call(move |store| store.write(&work, sent)).await,
            None => Ok(None),
        };
        let late = || StoreError::Unreachable("the call arrived late".to_owned());
        let written = written.and_then(|written| written.ok_or_else(late));
        let observed =
            |written: Written| Written { reading: self.observed(sent, written.reading), ..written };
        spread(written.map(|all| all.into_iter().map(observed).collect()), batches.len())
    }

    async fn counts(&self, channels: &[ChannelId]) -> Vec<Result<Reading, StoreError>> {
        let (work, sent) = (channels.to_vec(), self.clock());
        let readings = self.call(move |store| store.read(&work)).await;
        let observed = |reading| self.observed(sent, reading);
        spread(readings.map(|all| all.into_iter().map(observed).collect()), channels.len())
    }

    async fn live(&self) -> Result<Listed, StoreError> {
        let live = self.call(|store| store.data.lock().live(store.clock())).await?;
        Ok(Listed { live, is_whole: true })
    }

    async fn listed(&self, parts: &[u16]) -> Result<Names, StoreError> {
        let parts = parts.to_vec();
        let live = self.call(|store| store.data.lock().live(store.clock())).await?;
        let names = live.into_iter().map(|live| live.channel);
        Ok(Names { channels: names.filter(|name| parts.contains(&name.part())).collect(), is_whole: true })
    }

    async fn share(&self, claim: &Claim) -> Result<Share, StoreError> {
        let claim = claim.clone();
        self.call(move |store| store.data.lock().shares.renew(&claim, store.clock())).await
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        self.call(|store| store.data.lock().sweep(store.clock())).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn renewal_log(&self) -> Option<&dyn RenewalLog> {
        Some(self)
    }

    async fn attend(&self, attendance: &Attendance) -> Result<Option<RollCall>, StoreError> {
        let (work, sent) = (attendance.clone(), self.clock());
        let roll = self.call(move |store| store.attend(&work)).await?;
        self.skew.observe(sent, self.clock(), roll.now);
        Ok(Some(RollCall { epoch: self.epoch(roll.epoch), ..roll }))
    }

    async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        self.call(|store| Some(store.data.lock().incarnation.to_string())).await
    }
}

#[async_trait]
impl RenewalLog for Link {
    async fn append(&self, log: LogId, renewals: &[Renewal]) -> Result<Append, StoreError> {
        let (work, sent) = (renewals.to_vec(), self.clock());
        let Some(sent_by_store) = self.skew.to_store(sent) else { return Ok(Append::NotNow) };
        let append =
            move |store: &SharedStore| store.data.lock().append(log, &work, sent_by_store, store.clock());
        Ok(match self.call(append).await? {
            Append::Done(done) => Append::Done(Appended { epoch: self.epoch(done.epoch), ..done }),
            refused => refused,
        })
    }

    async fn read(&self, log: LogId) -> Result<Vec<(Renewal, Timestamp)>, StoreError> {
        self.call(move |store| store.data.lock().logged(log)).await
    }

    async fn clear(&self, log: LogId) -> Result<(), StoreError> {
        self.call(move |store| store.data.lock().clear(log)).await
    }

    async fn owners(&self, idle_for: Duration) -> Result<Vec<u64>, StoreError> {
        self.call(move |store| store.data.lock().owners(idle_for, store.clock())).await
    }

    async fn left_since(&self, since: Timestamp) -> Result<LeftSince, StoreError> {
        self.call(move |store| store.data.lock().left_since(since)).await
    }

    async fn remove(&self, node: u64) -> Result<(), StoreError> {
        self.call(move |store| store.data.lock().remove(node, store.clock())).await
    }

    fn worth_from(&self) -> usize {
        1
    }
}

fn spread<T>(answer: Result<Vec<T>, StoreError>, len: usize) -> Vec<Result<T, StoreError>> {
    match answer {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => (0..len).map(|_| Err(error.clone())).collect(),
    }
}

pub const fn millis(millis: Millis) -> Duration {
    Duration::from_millis(millis)
}
