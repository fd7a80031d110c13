//! Makes the store whole again, after it was away and when it has lost what it had; and keeps the roll call, by which every
//! node knows whether others have something to write again.
//!
//! Promises:
//! - What the store has taken is not written twice, whatever fails after it.
//! - Pauses after failures grow and are jittered, so that nodes don't come together.
//! - While nothing is remembered and nobody asks, nothing is asked of the store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    journal::{Journal, Loss, Piece},
    roll_call::Roll,
};
use crate::{
    domain::{ChannelId, Timestamp},
    server::{
        clock::Clock,
        store::{Attendance, Batch, MAX_OPS, RollCall, Store, StoreError},
    },
};

/// The pauses before another attempt while the store is away: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The pause between two roll calls while a loss is being made good.
const CLOSE_PAUSE: Duration = Duration::from_millis(100);

/// The shortest pause between two looks at the store.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// For how long after a loss a node that is not heard of is waited for, beside three roll calls. It may be cut off and have
/// viewers to write again, or it is dead.
const WAIT_FOR_NODES: Duration = Duration::from_secs(7);

/// For how long a node that has missed its roll calls is still waited for if a loss follows.
const REMEMBER_NODES: Duration = Duration::from_secs(60);

/// How many epochs of the store one roll call may go through.
const MOST_EPOCHS: usize = 4;

/// How many channels are looked at in one call.
const LOOK_AT: usize = 1_000;

/// How many channels are looked at between two roll calls while all is well.
const LOOK_AROUND: usize = 250;

/// Looks after a store on behalf of a node's memory.
pub struct Recovery {
    store: Arc<dyn Store>,
    journal: Arc<Journal>,
    roll: Arc<Roll>,
    clock: Arc<dyn Clock>,
    /// The pause between two roll calls.
    interval: Duration,
    wanted: Notify,
    node: u64,
    state: Mutex<State>,
}

/// What is known from one round to the next.
#[derive(Default)]
struct State {
    incarnation: Option<Option<String>>,
    /// Since when all that this node remembers is known to be in the store, by the store's clock.
    sure_since: Timestamp,
    /// Something was lost, or has been written again: the others are to look too.
    has_found_loss: bool,
    /// The other nodes, and when each was last there.
    peers: HashMap<u64, Instant>,
    /// How many channels were looked at in this turn round all of them.
    looked_at: usize,
}

impl Recovery {
    /// Looks after `store`, a few times per `update_interval` and whenever it is called.
    pub fn new(
        store: Arc<dyn Store>,
        journal: Arc<Journal>,
        roll: Arc<Roll>,
        clock: Arc<dyn Clock>,
        update_interval: Duration,
    ) -> Self {
        let often = (update_interval / 2).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let interval = often.max(store.roll_call_pause());
        let node = Uuid::new_v4().as_u64_pair().0;
        Self { store, journal, roll, clock, interval, wanted: Notify::new(), node, state: Mutex::default() }
    }

    /// Something has to be written again, or found out.
    pub fn trigger(&self) {
        self.wanted.notify_one();
    }

    /// Goes on for ever; no error ends it.
    pub async fn run(self: Arc<Self>) {
        let mut pause = PAUSES.0;
        let mut was_called = true;
        loop {
            let retry_after = match self.round(was_called).await {
                Ok(is_whole) => {
                    pause = PAUSES.0;
                    (!is_whole).then_some(CLOSE_PAUSE)
                }
                Err(error) => {
                    tracing::debug!(%error, "the store is not whole yet; trying again");
                    pause = (pause * 2).min(PAUSES.1);
                    Some(pause)
                }
            };
            // Calls don't shorten these pauses: while the store is away, every beat calls.
            if let Some(pause) = retry_after {
                sleep(jittered(pause)).await;
                was_called = true;
                continue;
            }
            // However many call.
            sleep(LEAST_PAUSE).await;
            tokio::select! {
                biased;
                () = self.wanted.notified() => was_called = true,
                () = sleep(self.interval) => was_called = false,
            }
        }
    }

    /// Says to the others that this node goes.
    pub async fn resign(&self) {
        let mut state = self.state.lock().await;
        if self.roll.last().is_some() {
            let _away = self.ask(&mut state, Duration::ZERO).await;
        }
    }

    /// One look at the store. Whether it is whole.
    async fn round(&self, was_called: bool) -> Result<bool, StoreError> {
        let mut state = self.state.lock().await;
        let channels = self.journal.channels();
        let was_whole = self.roll.last().is_none_or(|roll| roll.is_complete(roll.asked));
        let expected_for = self.interval * 3 + WAIT_FOR_NODES;
        if channels.is_empty() && was_whole && !was_called && !self.roll.is_used(expected_for) {
            self.roll.forget();
            return Ok(true);
        }
        // Parts of the store may be away while others can be mended, so an error is kept for the end.
        let mut result = self.look_at_servers(&mut state).await;
        if channels.is_empty() {
            state.sure_since = Timestamp::default();
        }
        if let Err(error) = self.attend(&mut state, expected_for).await {
            result = Err(error);
        }
        let roll = self.roll.last();
        let is_asked =
            roll.as_ref().is_some_and(|roll| roll.asked > state.sure_since && !channels.is_empty());
        if !is_asked && self.journal.unwritten().is_empty() {
            self.look_around(&mut state, &channels).await;
            result?;
            return Ok(roll.is_none_or(|roll| roll.is_complete(roll.asked)));
        }
        if is_asked {
            self.journal.repeat_leaves();
        }
        // Where one channel was lost, others may have been: their marks tell.
        for channels in channels.chunks(LOOK_AT) {
            if let Err(error) = self.look_at(channels).await {
                result = Err(error);
            }
        }
        match self.write_all_again().await {
            Ok(written) => state.has_found_loss |= written,
            Err(error) => result = Err(error),
        }
        result?;
        let Some(roll) = roll else { return Ok(true) };
        state.sure_since = state.sure_since.max(roll.now);
        self.attend(&mut state, expected_for).await?;
        tracing::info!("all that this node remembers is in the store");
        Ok(self.roll.last().is_none_or(|roll| roll.is_complete(roll.asked)))
    }

    /// Finds out whether servers of the store are others than they were.
    async fn look_at_servers(&self, state: &mut State) -> Result<(), StoreError> {
        let current = self.store.incarnation().await?;
        if state.incarnation.as_ref().is_some_and(|before| *before != current) {
            tracing::warn!("the store was restarted or replaced; writing again what this node remembers");
            self.journal.mark_all_suspect();
            state.has_found_loss = true;
        }
        state.incarnation = Some(current);
        Ok(())
    }

    /// Takes part in the roll call, and takes in its result. A result from another epoch counts only after this node has
    /// looked whether the servers of the store are others than they were: what was read since is judged by it.
    async fn attend(&self, state: &mut State, expected_for: Duration) -> Result<(), StoreError> {
        let mut epoch = self.roll.last().map(|roll| roll.epoch);
        for _ in 0..MOST_EPOCHS {
            let Some(roll) = self.ask(state, expected_for).await? else { return Ok(()) };
            if epoch.replace(roll.epoch) != Some(roll.epoch) {
                self.look_at_servers(state).await?;
            }
            if !state.has_found_loss {
                self.roll.set(roll);
                return Ok(());
            }
        }
        Err(StoreError::Unreachable("the servers change faster than they are looked at".to_owned()))
    }

    async fn ask(&self, state: &mut State, expected_for: Duration) -> Result<Option<RollCall>, StoreError> {
        let last = self.roll.last();
        state.peers.retain(|_, seen| seen.elapsed() < REMEMBER_NODES);
        state.has_found_loss |= self.journal.take_found_loss();
        let attendance = Attendance {
            node: self.node,
            expected_for,
            sure_since: Some(state.sure_since).filter(|since| *since > Timestamp::default()),
            known: last.as_ref().map(|roll| roll.number),
            has_found_loss: state.has_found_loss,
            is_locked_out: self.journal.take_locked_out(),
            peers: state.peers.keys().copied().collect(),
        };
        let asked = self.clock.now();
        let Some(roll) = self.store.attend(&attendance).await? else { return Ok(None) };
        self.journal.learn_time(asked, self.clock.now(), roll.now);
        state.has_found_loss = false;
        let others = roll.nodes.iter().filter(|node| **node != self.node);
        state.peers.extend(others.map(|node| (*node, Instant::now())));
        if attendance.sure_since.is_none() {
            state.sure_since = roll.now;
        }
        Ok(Some(roll))
    }

    /// Looks at the next few channels, so that one that was lost alone is noticed although nobody beats or reads there.
    async fn look_around(&self, state: &mut State, channels: &[ChannelId]) {
        let from = if state.looked_at < channels.len() { state.looked_at } else { 0 };
        let next = &channels[from..channels.len().min(from + LOOK_AROUND)];
        state.looked_at = from + next.len();
        if !next.is_empty() && self.look_at(next).await.is_ok() && !self.journal.unwritten().is_empty() {
            self.trigger();
        }
    }

    async fn look_at(&self, channels: &[ChannelId]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut result = Ok(());
        let readings = self.store.counts(channels).await;
        if let Some(reading) = readings.iter().find_map(|reading| reading.as_ref().ok()) {
            self.journal.learn_time(now, self.clock.now(), reading.as_of);
        }
        for (channel, reading) in channels.iter().zip(readings) {
            if self.journal.observe(channel, &reading, now).1 == Loss::Detected {
                tracing::debug!(%channel, "[VIEWER] lost by the store");
            }
            match reading {
                Ok(_) | Err(StoreError::Damaged) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Writes again all that is to be written again, as many sessions per call as a store takes. Whether there was anything
    /// that the other nodes have to know of.
    /// A channel that fails is left for the next round.
    async fn write_all_again(&self) -> Result<bool, StoreError> {
        let unwritten = self.journal.unwritten();
        if !unwritten.is_empty() && !self.journal.knows_time() {
            return Err(StoreError::Unreachable("the store's time is not known yet".to_owned()));
        }
        let mut channels = unwritten.into_iter();
        let mut current = channels.next();
        let (mut result, mut has_written) = (Ok(()), false);
        while current.is_some() {
            let (mut pieces, mut ops) = (Vec::<Piece>::new(), 0);
            while let Some(channel) = &current
                && ops < MAX_OPS
            {
                match self.journal.next_piece(channel, self.clock.now(), MAX_OPS - ops) {
                    Some(piece) => {
                        ops += piece.batch.ops.len();
                        pieces.push(piece);
                    }
                    None => current = channels.next(),
                }
            }
            // One call after another: beats that come in meanwhile get their turn.
            let batches: Vec<Batch> = pieces.iter().map(|piece| piece.batch.clone()).collect();
            for (piece, written) in pieces.iter().zip(self.store.write(&batches).await) {
                match written {
                    Ok(written) => {
                        has_written |= piece.is_news();
                        self.journal.mark_written(piece, &written.reading);
                    }
                    Err(error) => {
                        self.journal.note_error(&error);
                        if current.as_ref() == Some(&piece.batch.channel) {
                            current = channels.next();
                        }
                        result = Err(error);
                    }
                }
            }
        }
        result.map(|()| has_written)
    }
}

/// Between half of it and all of it.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause / 2 * u32::from(Uuid::new_v4().as_bytes()[0]) / 255
}
