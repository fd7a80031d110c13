//! The logs of renewals in Redis, one list for each. `log.lua` says what they hold.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::Value;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{
    answer::parse,
    encoding::{digits, millis},
    store::RemoteStore,
};
use crate::{
    domain::{ChannelId, SessionId, Timestamp, ViewerId},
    server::{
        redis::{Runner, part_of},
        store::{Append, Appended, Left, LeftSince, LogId, Renewal, RenewalLog, ShortIds, StoreError},
    },
};

/// How long an append may take. Then the heartbeats are written to their channels.
const APPEND_LIMIT: Duration = Duration::from_millis(250);

/// The most entries of a log that are read in one call.
const READ_STEP: usize = 200;

/// The most sessions that have left and are read in one call. They take Redis about a millisecond.
const LEFT_STEP: usize = 2_000;

/// How many renewals all nodes may log in a [`PERIOD`] on a cluster, whose logs are on one server. They take this server a third of
/// its time. It keeps channels and the roll call too.
const MOST_PER_PERIOD: usize = 15_000;
const PERIOD: Duration = Duration::from_millis(100);

#[async_trait]
impl<R: Runner> RenewalLog for RemoteStore<R> {
    async fn append(&self, log: LogId, renewals: &[Renewal]) -> Result<Append, StoreError> {
        // The server of a channel in a cluster may have lost it.
        if self.runner.unresolved_outage().is_some() {
            let are_away: Vec<_> = renewals.iter().map(|renewal| self.was_away(renewal)).collect();
            if are_away.contains(&true) {
                return Ok(Append::Refused(are_away));
            }
        }
        let keys = [self.keys.roll_call(), self.keys.leaves(), self.keys.logs(), self.key(log)];
        if self.runner.was_away(&keys[0]) || !self.is_agreed()? {
            return Ok(Append::NotNow);
        }
        let [longest_lease, _] = self.rule_args();
        let (sent, skew) = (self.now(), self.skew_of(&keys));
        let sent_by_store_clock = skew.to_store(sent).unwrap_or_default();
        let sent_by_store_clock = digits(sent_by_store_clock.as_millis().into());
        let mut args = vec![name(log.node), longest_lease, sent_by_store_clock, encode(renewals)];
        let member = |renewal: &Renewal| member(&renewal.channel, renewal.viewer, renewal.session);
        args.extend(renewals.iter().map(member));
        let call = timeout(APPEND_LIMIT, self.run(&self.append, &keys, &args));
        let late = |_| Err(StoreError::Unreachable("no answer in time".to_owned()));
        let (response, was_away) = call.await.unwrap_or_else(late)?;
        let (at, epoch, result) = self.parse_header(sent, &skew, response)?;
        Ok(match &result[..] {
            [Value::Int(1)] if !was_away => Append::Done(Appended { at, epoch }),
            [Value::BulkString(error)] if error.starts_with(b"!") => {
                return Err(StoreError::Refused(String::from_utf8_lossy(&error[1..]).into_owned()));
            }
            [Value::BulkString(flags)] if flags.len() == renewals.len() => {
                Append::Refused(flags.iter().map(|flag| *flag == b'1').collect())
            }
            _ => Append::NotNow,
        })
    }

    async fn read(&self, log: LogId) -> Result<Vec<(Renewal, Timestamp)>, StoreError> {
        let mut renewals = Vec::new();
        for first in (0..).step_by(READ_STEP) {
            let range = [first, first + READ_STEP - 1].map(|index| digits(index as u128));
            let response = self.runner.run(&self.read_log, &[self.key(log)], &range).await?;
            let entries = parse::<Vec<Vec<u8>>>(response)?;
            renewals.extend(entries.iter().filter_map(|entry| decode(entry)).flatten());
            if entries.len() < READ_STEP {
                break;
            }
        }
        Ok(renewals)
    }

    async fn clear(&self, log: LogId) -> Result<(), StoreError> {
        self.runner.run(&self.clear_log, &[self.key(log)], &[]).await.map(drop)
    }

    async fn owners(&self, idle_for: Duration) -> Result<Vec<u64>, StoreError> {
        let idle_for = digits(idle_for.as_millis());
        let response = self.runner.run(&self.log_owners, &[self.keys.logs()], &[idle_for]).await?;
        let owners = parse::<Vec<String>>(response)?;
        Ok(owners.iter().filter_map(|node| u64::from_str_radix(node, 16).ok()).collect())
    }

    async fn remove(&self, node: u64) -> Result<(), StoreError> {
        let [first, second] = LogId::both(node).map(|log| self.key(log));
        let keys = [self.keys.roll_call(), self.keys.logs(), first, second];
        self.runner.run(&self.remove_logs, &keys, &[name(node)]).await.map(drop)
    }

    async fn left_since(&self, since: Timestamp) -> Result<LeftSince, StoreError> {
        let args = [digits(since.as_millis().into()), digits(LEFT_STEP as u128)];
        let response = self.runner.run(&self.read_leaves, &[self.keys.leaves()], &args).await?;
        let members = parse::<Vec<(Vec<u8>, String)>>(response)?;
        let last = members.get(LEFT_STEP - 1).and_then(|(_, at)| whole_millis(at));
        Ok(LeftSince {
            left: members.iter().filter_map(|(member, at)| left(member, at)).collect(),
            // There may be more of the last millisecond, but not without end.
            rest: last.map(|last| last.max(since.plus_millis(1))),
        })
    }

    fn admit(&self) -> bool {
        self.runner.takes_many_channels() || self.quota.take()
    }
}

/// What a node may log on a cluster.
pub(super) struct Quota {
    /// The number of nodes that share the server of the logs.
    nodes: AtomicUsize,
    period: Mutex<Period>,
}

/// A tenth of a second.
struct Period {
    began: Instant,
    taken: usize,
}

impl Default for Quota {
    fn default() -> Self {
        let period = Period { began: Instant::now(), taken: 0 };
        Self { nodes: AtomicUsize::new(1), period: Mutex::new(period) }
    }
}

impl Quota {
    /// Takes note of the number of nodes.
    pub(super) fn share_with(&self, nodes: usize) {
        self.nodes.store(nodes.max(1), Relaxed);
    }

    /// Whether another renewal may be logged now.
    fn take(&self) -> bool {
        let mut period = self.period.lock();
        if period.began.elapsed() >= PERIOD {
            *period = Period { began: Instant::now(), taken: 0 };
        }
        let has_room = period.taken < MOST_PER_PERIOD / self.nodes.load(Relaxed);
        period.taken += usize::from(has_room);
        has_room
    }
}

impl<R: Runner> RemoteStore<R> {
    fn key(&self, log: LogId) -> Vec<u8> {
        self.keys.log(log.node, log.is_second)
    }

    fn was_away(&self, renewal: &Renewal) -> bool {
        let part = part_of(renewal.viewer, self.parts.number(&renewal.channel));
        self.runner.was_away(&self.keys.of_part(&renewal.channel, part)[0])
    }
}

/// A session in the set of those that have left.
pub(super) fn member(channel: &ChannelId, viewer: ViewerId, session: SessionId) -> Vec<u8> {
    [ShortIds::of(viewer, session).as_bytes(), channel.as_str().as_bytes()].concat()
}

/// The session of a [`member`]. `None` if it may not have left (see `log.lua`), if another version has written it, or if it is
/// damaged.
fn left(member: &[u8], at: &str) -> Option<Left> {
    let (ids, channel) = member.split_first_chunk()?;
    Some(Left {
        channel: ChannelId::parse(str::from_utf8(channel).ok()?).ok()?,
        ids: ShortIds::from_bytes(*ids),
        at: Timestamp::from_millis(at.parse().ok()?),
    })
}

/// A time in the set of those that have left, without its fraction.
fn whole_millis(at: &str) -> Option<Timestamp> {
    at.split('.').next()?.parse().ok().map(Timestamp::from_millis)
}

/// A node in the scripts.
fn name(node: u64) -> Vec<u8> {
    format!("{node:016x}").into_bytes()
}

/// Encodes renewals with the whole ids, since another node may have to write them: length of the channel's name (1 byte), name,
/// viewer (16), session (16), lease (4, ms).
fn encode(renewals: &[Renewal]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(renewals.len() * 48);
    for Renewal { channel, viewer, session, lease } in renewals {
        let name = channel.as_str().as_bytes();
        // A name has at most 64 bytes.
        bytes.push(u8::try_from(name.len()).unwrap_or_default());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(viewer.uuid().as_bytes());
        bytes.extend_from_slice(session.uuid().as_bytes());
        bytes.extend_from_slice(&millis(*lease).to_be_bytes());
    }
    bytes
}

/// The renewals of an entry, each with its time. `None` if another version has written the entry, or it is damaged.
fn decode(entry: &[u8]) -> Option<Vec<(Renewal, Timestamp)>> {
    let blank = entry.iter().position(|byte| *byte == b' ')?;
    let at = Timestamp::from_millis(str::from_utf8(&entry[..blank]).ok()?.parse().ok()?);
    let (mut rest, mut renewals) = (&entry[blank + 1..], Vec::new());
    while let Some((length, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked((*length).into())?;
        let (viewer, after) = after.split_first_chunk()?;
        let (session, after) = after.split_first_chunk()?;
        let (lease, after) = after.split_first_chunk()?;
        let renewal = Renewal {
            channel: ChannelId::parse(str::from_utf8(name).ok()?).ok()?,
            viewer: ViewerId::new(Uuid::from_bytes(*viewer))?,
            session: SessionId::new(Uuid::from_bytes(*session))?,
            lease: Duration::from_millis(u32::from_be_bytes(*lease).into()),
        };
        renewals.push((renewal, at));
        rest = after;
    }
    Some(renewals)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn renewal(channel: &str, id: u128) -> Renewal {
        Renewal {
            channel: ChannelId::parse(channel).unwrap(),
            viewer: ViewerId::new(Uuid::from_u128(id)).unwrap(),
            session: SessionId::new(Uuid::from_u128(id + 1)).unwrap(),
            lease: Duration::from_secs(60),
        }
    }

    #[test]
    fn another_node_reads_what_was_appended() {
        let renewals = [renewal("ana", 1), renewal(&"b".repeat(64), u128::MAX - 1)];
        let entry = [b"1790000000000 ", &encode(&renewals)[..]].concat();
        let at = Timestamp::from_millis(1_790_000_000_000);
        assert_eq!(decode(&entry), Some(renewals.map(|renewal| (renewal, at)).to_vec()));
        assert_eq!(decode(b"5 "), Some(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_share_what_the_server_of_the_logs_can_take() {
        let quota = Quota::default();
        let taken = || (0..20_000).filter(|_| quota.take()).count();
        assert_eq!(taken(), MOST_PER_PERIOD);
        advance(PERIOD).await;
        quota.share_with(3);
        assert_eq!(taken(), MOST_PER_PERIOD / 3);
    }

    #[test]
    fn damaged_entries_are_left_out() {
        let whole = [b"1790000000000 ", &encode(&[renewal("ana", 1)])[..]].concat();
        for damaged in [&whole[..whole.len() - 1], &whole[1..3], b"", b" ", b"x 3ana", b"-1 ", b"1 \x03a b"] {
            assert_eq!(decode(damaged), None, "{damaged:?}");
        }
    }
}
