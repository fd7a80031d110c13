//! The logs of renewals in Redis, one list for each. `log.lua` says what they hold.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    encoding::{millis, short_session, short_viewer},
    store::{RemoteStore, digits, parse},
};
use crate::{
    domain::{ChannelId, SessionId, Timestamp, ViewerId},
    server::{
        redis::Runner,
        store::{Append, Appended, LogId, Renewal, RenewalLog, StoreError},
    },
};

/// How long an append may take. Then the heartbeats are written to their channels.
const APPEND_LIMIT: Duration = Duration::from_millis(250);

/// The most entries of a log that are read in one call.
const READ_STEP: usize = 200;

#[async_trait]
impl<R: Runner> RenewalLog for RemoteStore<R> {
    async fn append(&self, log: LogId, renewals: &[Renewal]) -> Result<Append, StoreError> {
        let keys = [self.keys.roll_call(), self.keys.leaves(), self.keys.logs(), self.key(log)];
        let [longest_lease, _] = self.rule_args();
        let sent = self.now();
        let sent_by_store_clock = self.skew.to_store(sent).unwrap_or_default();
        let sent_by_store_clock = digits(sent_by_store_clock.as_millis().into());
        let mut args = vec![name(log.node), longest_lease, sent_by_store_clock, encode(renewals)];
        args.extend(renewals.iter().map(member));
        let call = timeout(APPEND_LIMIT, self.run(&self.append, &keys, &args));
        let late = |_| Err(StoreError::Unreachable("no answer in time".to_owned()));
        let (response, was_away) = call.await.unwrap_or_else(late)?;
        let (at, epoch, result) = self.parse_header(sent, response)?;
        Ok(match &result[..] {
            [Value::Int(1)] if !was_away => Append::Done(Appended { at, epoch }),
            [Value::BulkString(flags)] if flags.len() == renewals.len() => {
                Append::Left(flags.iter().map(|flag| *flag == b'1').collect())
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
}

impl<R: Runner> RemoteStore<R> {
    fn key(&self, log: LogId) -> Vec<u8> {
        self.keys.log(log.node, log.is_second)
    }
}

/// A session in the set of those that have left.
fn member(renewal: &Renewal) -> Vec<u8> {
    let channel = renewal.channel.as_str().as_bytes();
    [&short_viewer(renewal.viewer)[..], &short_session(renewal.session), channel].concat()
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

    #[test]
    fn damaged_entries_are_left_out() {
        let whole = [b"1790000000000 ", &encode(&[renewal("ana", 1)])[..]].concat();
        for damaged in [&whole[..whole.len() - 1], &whole[1..3], b"", b" ", b"x 3ana", b"-1 ", b"1 \x03a b"] {
            assert_eq!(decode(damaged), None, "{damaged:?}");
        }
    }
}
