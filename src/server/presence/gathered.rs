//! Renewals that are in a log and not yet in their channels.

use std::collections::HashMap;

use crate::{
    domain::{Act, ChannelId, Op, Session, SessionId, Timestamp, ViewerId},
    server::store::{Batch, MAX_OPS, Renewal},
};

/// The last renewal of each session of a channel, as the session's state after it.
type Renewals = HashMap<(ViewerId, SessionId), Session>;

/// The last renewal of each session, by channel.
#[derive(Default)]
pub(super) struct Gathered {
    channels: HashMap<ChannelId, Renewals>,
    len: usize,
}

impl Gathered {
    /// Adds a renewal that happened at `at`.
    pub(super) fn add(&mut self, renewal: Renewal, at: Timestamp) {
        let Renewal { channel, viewer, session, lease } = renewal;
        let beat = Session::beating(at, lease, false);
        let sessions = self.channels.entry(channel).or_default();
        let before = sessions.len();
        let last = sessions.entry((viewer, session)).or_insert(beat);
        if last.at() < at {
            *last = beat;
        }
        self.len += sessions.len() - before;
    }

    /// The number of sessions.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The calls that write them, in lanes that do not wait for each other: one lane, or one for each channel. A call has at most
    /// [`MAX_OPS`] operations.
    pub(super) fn into_lanes(self, takes_many_channels: bool) -> Vec<Vec<Vec<Batch>>> {
        if takes_many_channels {
            return vec![into_calls(self.channels)];
        }
        self.channels.into_iter().map(|channel| into_calls([channel])).collect()
    }
}

fn into_calls(channels: impl IntoIterator<Item = (ChannelId, Renewals)>) -> Vec<Vec<Batch>> {
    let (mut calls, mut call, mut free) = (Vec::new(), Vec::new(), MAX_OPS);
    for (channel, renewals) in channels {
        let mut renewals: Vec<_> = renewals.into_iter().collect();
        // In this order, the store needs the fewest steps.
        renewals.sort_unstable_by_key(|(_, beat)| beat.at());
        let op = |((viewer, session), beat)| Op { viewer, session, act: Act::Logged(beat) };
        let mut ops = renewals.into_iter().map(op).peekable();
        while ops.peek().is_some() {
            let batch = Batch { channel: channel.clone(), ops: ops.by_ref().take(free).collect() };
            free -= batch.ops.len();
            call.push(batch);
            if free == 0 {
                calls.push(std::mem::take(&mut call));
                free = MAX_OPS;
            }
        }
    }
    calls.extend((!call.is_empty()).then_some(call));
    calls
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn renewals_are_split_into_full_calls_and_ordered_by_time() {
        let channel = |name: &str| ChannelId::parse(name).unwrap();
        let mut gathered = Gathered::default();
        for (name, count) in [("ana", 600), ("bob", 150)] {
            for n in 0..count {
                let id = Uuid::from_u128(n + 1);
                let (viewer, session) = (ViewerId::new(id).unwrap(), SessionId::new(id).unwrap());
                let (channel, lease) = (channel(name), Duration::from_secs(60));
                let at = Timestamp::from_millis(1_000 - u64::try_from(n).unwrap());
                let renewal = Renewal { channel, viewer, session, lease };
                gathered.add(renewal.clone(), at);
                // An earlier one changes nothing.
                gathered.add(renewal, Timestamp::from_millis(1));
            }
        }
        assert_eq!(gathered.len(), 750);
        let mut lanes = gathered.into_lanes(true);
        let calls = lanes.pop().unwrap();
        assert!(lanes.is_empty());
        let sizes = calls.iter().map(|call| call.iter().map(|batch| batch.ops.len()).sum());
        assert_eq!(sizes.collect::<Vec<usize>>(), [MAX_OPS; 3]);
        let of_ana = calls.iter().flatten().filter(|batch| batch.channel == channel("ana"));
        let time = |op: &Op| match op.act {
            Act::Logged(beat) => beat.at().as_millis(),
            act => panic!("{act:?}"),
        };
        let times: Vec<_> = of_ana.flat_map(|batch| &batch.ops).map(time).collect();
        assert_eq!(times, (401..=1_000).collect::<Vec<_>>());
        assert!(Gathered::default().is_empty() && Gathered::default().into_lanes(false).is_empty());
    }
}
