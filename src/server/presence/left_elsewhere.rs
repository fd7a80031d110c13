//! What a node learns of sessions that have left through other nodes. It must not restore them after a loss of data, and by then
//! the other nodes may be gone.
//!
//! Promises:
//! - A node without other nodes, or without sessions of its own, reads nothing.
//! - A node does not learn of those that left in the last second or so before a loss, or while an earlier one was repaired.
//! - A node learns of at most [`MAX_READS`] times what the store reads at once, about twice a second. Others it learns of later.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    domain::Timestamp,
    server::store::{Left, LeftSince, RollCall, Store},
};

/// How often a node reads in a row.
const MAX_READS: usize = 8;

/// The pause before the next reads.
const PAUSE: Duration = Duration::from_millis(500);

/// How far back the first read goes. The node has had a round since its first session.
const FIRST: Duration = Duration::from_secs(2);

/// On a cluster, a leave is entered a moment after it happened, and its time is that of another server.
const OVERLAP: Duration = Duration::from_secs(1);

/// Up to when a node knows who has left.
#[derive(Default)]
pub(super) struct LeftElsewhere {
    /// Since when it is not known, by the clock of the roll call. `None` before the first read.
    unknown_since: Option<Timestamp>,
    /// When it was last read.
    read: Option<Instant>,
    /// Whether there have been other nodes since then.
    had_others: bool,
}

impl LeftElsewhere {
    /// Begins anew, without what has happened so far.
    pub(super) fn reset(&mut self) {
        self.unknown_since = None;
    }

    /// Takes note of a roll call of a node with sessions. Returns whether it is time to read.
    pub(super) fn is_due(&mut self, roll: &RollCall) -> bool {
        let has_others = roll.nodes.len() > 1;
        self.had_others |= has_others;
        if !self.had_others {
            // Only this node takes leaves.
            self.unknown_since = Some(roll.now);
            return false;
        }
        self.unknown_since.get_or_insert(roll.now - FIRST);
        self.read.is_none_or(|read| read.elapsed() >= PAUSE)
    }

    /// Reads which sessions have left through any node since what is known, up to a roll call. What can't be read now is read the
    /// next time.
    pub(super) async fn read(&mut self, store: &dyn Store, roll: &RollCall) -> Vec<Left> {
        let (Some(logs), Some(mut since)) = (store.renewal_log(), self.unknown_since) else {
            return Vec::new();
        };
        self.read = Some(Instant::now());
        let mut all = Vec::new();
        for _ in 0..MAX_READS {
            match logs.left_since(since).await {
                Ok(LeftSince { left, rest }) => {
                    all.extend(left);
                    let Some(rest) = rest else {
                        since = roll.now;
                        // If there were others until just now, sessions may have left through them. Now they are read.
                        self.had_others = roll.nodes.len() > 1;
                        break;
                    };
                    since = rest;
                }
                Err(error) => {
                    tracing::debug!(%error, "who has left is not readable; retrying");
                    break;
                }
            }
        }
        let overlap = if store.takes_many_channels() { Duration::ZERO } else { OVERLAP };
        self.unknown_since = Some(since.min(roll.now - overlap));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use tokio::time::advance;
    use uuid::Uuid;

    use super::*;
    use crate::{
        domain::{ChannelId, SessionId, ViewerId},
        server::{
            presence::fake_store::FakeStore,
            store::{Append, LogId, Renewal, RenewalLog, ShortIds, StoreError},
        },
    };

    /// One session has left each second, for ten seconds, and two are read at once. `None`: the store fails.
    struct OneASecond(Arc<Mutex<Option<Vec<u64>>>>);

    #[async_trait]
    impl RenewalLog for OneASecond {
        async fn left_since(&self, since: Timestamp) -> Result<LeftSince, StoreError> {
            let mut asked = self.0.lock();
            let asked = asked.as_mut().ok_or_else(|| StoreError::Unreachable("away".to_owned()))?;
            asked.push(since.as_millis());
            let id = Uuid::from_u128(1);
            let left = |second| Left {
                channel: ChannelId::parse("ana").unwrap(),
                ids: ShortIds::of(ViewerId::new(id).unwrap(), SessionId::new(id).unwrap()),
                at: at(second),
            };
            let mut later = (1..=10).map(left).filter(|left| left.at >= since);
            Ok(LeftSince { left: later.by_ref().take(2).collect(), rest: later.next().map(|next| next.at) })
        }

        async fn append(&self, _: LogId, _: &[Renewal]) -> Result<Append, StoreError> {
            unreachable!()
        }

        async fn read(&self, _: LogId) -> Result<Vec<(Renewal, Timestamp)>, StoreError> {
            unreachable!()
        }

        async fn clear(&self, _: LogId) -> Result<(), StoreError> {
            unreachable!()
        }

        async fn owners(&self, _: Duration) -> Result<Vec<u64>, StoreError> {
            unreachable!()
        }

        async fn remove(&self, _: u64) -> Result<(), StoreError> {
            unreachable!()
        }
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn roll(second: u64, nodes: &[u64]) -> RollCall {
        RollCall {
            now: at(second),
            number: 1,
            epoch: None,
            lost: at(0),
            asked: at(0),
            sure_since: at(0),
            nodes: nodes.to_vec(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_learns_of_all_who_have_left_while_there_are_others_and_just_after() {
        let asked = Arc::new(Mutex::new(Some(Vec::new())));
        let store = FakeStore {
            write: Box::new(|_| unreachable!()),
            attend: None,
            log: Some(Box::new(OneASecond(Arc::clone(&asked)))),
            takes_many_channels: true,
        };
        let mut elsewhere = LeftElsewhere::default();
        let mut seconds = async |second: u64, nodes: &[u64]| {
            let roll = roll(second, nodes);
            if !elsewhere.is_due(&roll) {
                return None;
            }
            let left = elsewhere.read(&store, &roll).await;
            Some(left.iter().map(|left| left.at.as_millis() / 1_000).collect::<Vec<_>>())
        };
        assert_eq!(seconds(3, &[1]).await, None, "nobody else takes leaves");
        assert_eq!(seconds(5, &[1, 2]).await, Some(vec![3, 4, 5, 6, 7, 8, 9, 10]), "since it was alone");
        assert_eq!(seconds(6, &[1, 2]).await, None, "just read");
        advance(PAUSE).await;
        assert_eq!(seconds(9, &[1, 2]).await, Some(vec![5, 6, 7, 8, 9, 10]));
        advance(PAUSE).await;
        asked.lock().take();
        assert_eq!(seconds(10, &[1]).await, Some(vec![]), "the store fails");
        advance(PAUSE).await;
        *asked.lock() = Some(Vec::new());
        assert_eq!(seconds(11, &[1]).await, Some(vec![9, 10]), "until just now there was another node");
        advance(PAUSE).await;
        assert_eq!(seconds(12, &[1]).await, None);
        elsewhere.reset();
        assert!(elsewhere.is_due(&roll(13, &[1, 2])));
        assert_eq!(elsewhere.unknown_since, Some(at(11)), "from before its first round");
    }
}
