//! Channels in parts: splits the operations of a channel by viewer, and joins the results of its parts.
//!
//! Each viewer is in one part, so the count of a channel is the sum of its parts. Every write of a channel keeps all of its
//! parts, also those without viewers, for as long as the channel can have viewers. So the parts of a channel are created
//! together, and a part that is missing beside others was lost.

use std::{borrow::Cow, hash::Hasher};

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::{
    domain::{Act, ChannelId, Op, Timestamp, session::Phase},
    server::{
        redis::{ChannelParts, part_of},
        store::{Batch, Mark, Reading, StoreError, Written},
    },
};

/// A part of a channel. A whole channel has only part 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub channel: &'a ChannelId,
    pub number: u8,
}

/// The operations of a batch on one part.
pub(super) struct PartBatch<'a> {
    pub part: Part<'a>,
    pub ops: Cow<'a, [Op]>,
    pub keep: Keep,
}

/// What a write does to the life of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The part lives as long as its sessions.
    AsNeeded,
    /// The part lives at least as long as any session of the channel can, if it exists.
    Existing,
    /// The same, and it is created if it does not exist.
    Created,
}

/// The parts of channels, in order.
pub(super) fn parts_of<'a>(channels: &'a [ChannelId], parts: &ChannelParts) -> Vec<Part<'a>> {
    let parts_of = |channel| (0..parts.number(channel)).map(move |number| Part { channel, number });
    channels.iter().flat_map(parts_of).collect()
}

/// Splits batches by part. Every part of a channel gets a batch, even an empty one: its count is in the response.
pub(super) fn split<'a>(batches: &'a [Batch], parts: &ChannelParts) -> Vec<PartBatch<'a>> {
    let mut split = Vec::with_capacity(batches.len());
    for batch in batches {
        match parts.number(&batch.channel) {
            1 => split.push(PartBatch::whole(batch)),
            parts => split.extend((0..parts).map(|number| PartBatch::of_part(batch, number, parts))),
        }
    }
    split
}

/// Creates the parts of a channel that do not exist.
pub(super) fn create<'a>(
    channel: &'a ChannelId,
    parts: &ChannelParts,
) -> impl Iterator<Item = PartBatch<'a>> + use<'a> {
    let create = move |number| PartBatch {
        part: Part { channel, number },
        ops: Cow::Borrowed(&[]),
        keep: Keep::Created,
    };
    (0..parts.number(channel)).map(create)
}

impl<'a> PartBatch<'a> {
    fn whole(Batch { channel, ops }: &'a Batch) -> Self {
        Self { part: Part { channel, number: 0 }, ops: Cow::Borrowed(ops), keep: Keep::AsNeeded }
    }

    fn of_part(batch: &'a Batch, number: u8, parts: u8) -> Self {
        // Other operations change nothing unless the channel exists.
        let creates = |op: &Op| match op.act {
            Act::Join { .. } | Act::Heartbeat { .. } => true,
            Act::Restore(session) | Act::Late(session) | Act::Logged(session) => {
                session.parts().phase != Phase::LeftUnknown
            }
            _ => false,
        };
        let keep = if batch.ops.iter().any(creates) { Keep::Created } else { Keep::Existing };
        let ops = batch.ops.iter().filter(|op| part_of(op.viewer, parts) == number).copied().collect();
        Self { part: Part { channel: &batch.channel, number }, ops: Cow::Owned(ops), keep }
    }
}

/// The results of batches from the results of their parts. A batch with a part that failed has its error.
pub(super) fn join_written(
    batches: &[Batch],
    results: Vec<Result<Written, StoreError>>,
    parts: &ChannelParts,
) -> Vec<Result<Written, StoreError>> {
    if parts.are_one() {
        return results;
    }
    let mut results = results.into_iter();
    let join = |batch: &Batch| {
        let parts = parts.number(&batch.channel);
        let of_parts: Vec<_> = results.by_ref().take(parts.into()).collect();
        join_batch(batch, of_parts.into_iter().collect::<Result<_, _>>()?)
    };
    batches.iter().map(join).collect()
}

fn join_batch(batch: &Batch, mut of_parts: Vec<Written>) -> Result<Written, StoreError> {
    if of_parts.len() == 1 {
        return of_parts.pop().ok_or_else(StoreError::unexpected);
    }
    let parts = u8::try_from(of_parts.len()).map_err(|_| StoreError::unexpected())?;
    let mut next = vec![0; of_parts.len()];
    let (mut active, mut applied) = (SmallVec::new(), Vec::new());
    for op in &batch.ops {
        let number = usize::from(part_of(op.viewer, parts));
        let part = &of_parts[number];
        active.push(part.active.get(next[number]).copied().unwrap_or_default());
        applied.push(part.reading.as_of);
        next[number] += 1;
    }
    let readings: Vec<_> = of_parts.iter().map(|written| written.reading).collect();
    Ok(Written { active, applied, reading: join(&readings)? })
}

/// The readings of channels from the readings of their parts. A channel with a part that can't be read has its error.
pub(super) fn join_readings(
    channels: &[ChannelId],
    results: Vec<Result<Reading, StoreError>>,
    parts: &ChannelParts,
) -> Vec<Result<Reading, StoreError>> {
    if parts.are_one() {
        return results;
    }
    let mut results = results.into_iter();
    let join = |channel| {
        let of_parts: Vec<_> = results.by_ref().take(parts.number(channel).into()).collect();
        join(&of_parts.into_iter().collect::<Result<Vec<_>, _>>()?)
    };
    channels.iter().map(join).collect()
}

/// The reading of a channel from those of its parts, of which there is at least one.
fn join(readings: &[Reading]) -> Result<Reading, StoreError> {
    let last = match readings {
        [] => return Err(StoreError::unexpected()),
        [whole] => return Ok(*whole),
        [.., last] => last,
    };
    let latest = |time: fn(&Reading) -> Timestamp| readings.iter().map(time).max().unwrap_or_default();
    Ok(Reading {
        count: readings.iter().fold(0, |sum: u32, reading| sum.saturating_add(reading.count)),
        as_of: latest(|reading| reading.as_of),
        mark: join_marks(readings),
        restored: latest(|reading| reading.restored),
        // A large read takes several calls. If the roll call was lost between two of them, the last one shows it.
        epoch: last.epoch,
        was_away: readings.iter().any(|reading| reading.was_away) || lacks_a_part(readings),
    })
}

/// Whether some parts of a channel with viewers are missing. The parts of a channel without viewers end one by one.
fn lacks_a_part(readings: &[Reading]) -> bool {
    let is_missing = |reading: &Reading| reading.mark.is_none();
    readings.iter().any(|reading| reading.count > 0) && readings.iter().any(is_missing)
}

/// The mark of a channel: it changes when a part was lost. `None` if a part is missing.
fn join_marks(readings: &[Reading]) -> Option<Mark> {
    let mut hasher = SipHasher13::new();
    for reading in readings {
        hasher.write_u64(reading.mark?.0);
    }
    Some(Mark(hasher.finish()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smallvec::smallvec;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{SessionId, ViewerId};

    /// The channel `ana` is in four parts, others are whole.
    fn four() -> ChannelParts {
        "ana:4".parse().unwrap()
    }

    const JOIN: Act = Act::Join { lease: Duration::from_secs(60) };

    fn op(viewer: u128, act: Act) -> Op {
        let (viewer, session) = (Uuid::from_u128(viewer), Uuid::from_u128(1));
        Op { viewer: ViewerId::new(viewer).unwrap(), session: SessionId::new(session).unwrap(), act }
    }

    fn batch(acts: &[(u128, Act)]) -> Batch {
        let ops = acts.iter().map(|(viewer, act)| op(*viewer, *act)).collect();
        Batch { channel: ChannelId::parse("ana").unwrap(), ops }
    }

    fn reading(count: u32, as_of: u64, mark: Option<u64>) -> Reading {
        let mark = mark.map(Mark);
        Reading { mark, ..Reading::certain(count, Timestamp::from_millis(as_of)) }
    }

    #[test]
    fn the_results_of_parts_come_back_in_the_order_of_the_operations() {
        let batches =
            [batch(&(1..=40).map(|viewer| (viewer, JOIN)).collect::<Vec<_>>()), batch(&[(7, Act::Leave)])];
        let pieces = split(&batches, &four());
        assert_eq!(pieces.len(), 8, "each channel is read in all parts");
        assert_eq!(pieces.iter().map(|piece| piece.ops.len()).sum::<usize>(), 41);
        // A part says that the sessions of even viewers are active.
        let write = |piece: &PartBatch<'_>| {
            let is_even = |op: &Op| op.viewer.uuid().as_u128().is_multiple_of(2);
            let active = piece.ops.iter().map(is_even).collect();
            let reading = reading(10, u64::from(piece.part.number), Some(1));
            Ok(Written::at_once(active, reading))
        };
        let written = join_written(&batches, pieces.iter().map(write).collect(), &four());
        let first = written[0].as_ref().unwrap();
        assert!((1..=40_u8).zip(&first.active).all(|(viewer, active)| *active == (viewer % 2 == 0)));
        for (nth, op) in batches[0].ops.iter().enumerate() {
            assert_eq!(first.applied_at(nth).as_millis(), u64::from(part_of(op.viewer, 4)));
        }
        assert_eq!((first.reading.count, first.reading.as_of.as_millis()), (40, 3));
        assert_eq!(*written[1].as_ref().unwrap().active, [false]);
    }

    #[test]
    fn only_what_may_create_a_session_creates_parts() {
        let keep =
            |act| split(&[batch(&[(1, act)])], &four()).iter().map(|piece| piece.keep).collect::<Vec<_>>();
        assert_eq!(keep(JOIN), [Keep::Created; 4]);
        assert_eq!(keep(Act::Leave), [Keep::Existing; 4]);
        assert_eq!(keep(Act::Renew { lease: Duration::from_secs(60) }), [Keep::Existing; 4]);
        let whole = [batch(&[(1, JOIN)])];
        assert_eq!(split(&whole, &ChannelParts::one())[0].keep, Keep::AsNeeded);
    }

    #[test]
    fn a_part_that_fails_fails_its_channel_alone() {
        let channels = ["ana", "bob"].map(|name| ChannelId::parse(name).unwrap());
        let results = || {
            let good = || Ok(reading(1, 1, Some(1)));
            vec![good(), good(), Err(StoreError::Newer), good(), good()]
        };
        let readings = join_readings(&channels, results(), &four());
        assert!(matches!(readings[0], Err(StoreError::Newer)));
        assert_eq!(readings[1].as_ref().unwrap().count, 1);
        let written = |result: Result<Reading, StoreError>| {
            result.map(|reading| Written::at_once(smallvec![true], reading))
        };
        let whole = Batch { channel: channels[1].clone(), ..batch(&[(2, JOIN)]) };
        let batches = [batch(&[(1, JOIN)]), whole];
        let written = join_written(&batches, results().into_iter().map(written).collect(), &four());
        assert_eq!(written.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn the_mark_of_a_channel_changes_with_that_of_any_part() {
        let mark = |marks: [Option<u64>; 4]| join(&marks.map(|mark| reading(1, 1, mark))).unwrap().mark;
        let known = mark([Some(1), Some(2), Some(3), Some(4)]);
        assert!(known.is_some());
        assert_eq!(mark([Some(1), Some(2), Some(3), Some(4)]), known);
        assert_ne!(mark([Some(1), Some(2), Some(3), Some(5)]), known);
        assert_ne!(mark([Some(2), Some(1), Some(3), Some(4)]), known);
        assert_eq!(mark([Some(1), Some(2), None, Some(4)]), None);
        assert_eq!(mark([None; 4]), None);
    }

    #[test]
    fn a_channel_with_viewers_lacks_none_of_its_parts() {
        let was_away = |parts: [(u32, Option<u64>); 2]| {
            join(&parts.map(|(count, mark)| reading(count, 1, mark))).unwrap().was_away
        };
        assert!(was_away([(1, Some(1)), (0, None)]));
        assert!(!was_away([(1, Some(1)), (0, Some(2))]));
        // The parts end one by one.
        assert!(!was_away([(0, Some(1)), (0, None)]));
        assert!(!was_away([(0, None), (0, None)]));
    }
}
