//! The last known state of channels. It tells what the next read has to return, so that a read of a channel that is as
//! before costs the store less.

use std::time::{Duration, Instant};

use dashmap::DashMap;
use smallvec::{SmallVec, smallvec};

use super::parts::Part;
use crate::{
    domain::{ChannelId, Timestamp},
    server::store::{Mark, Reading},
};

/// How long a channel's mark is assumed to be unchanged while its count stays the same. A read that skips the mark
/// costs Redis half as much.
const MARK_TRUSTED_FOR: Duration = Duration::from_secs(3);

/// How long after its last read or write a channel is removed.
const TTL: Duration = Duration::from_secs(60);

/// The last known state of channels.
#[derive(Default)]
pub(super) struct ChannelCache(DashMap<ChannelId, CachedChannel>);

struct CachedChannel {
    parts: SmallVec<[Option<CachedPart>; 1]>,
    /// When a part of the channel was last read or written.
    used: Instant,
    /// When this node last entered the channel into the list of live channels.
    listed: Option<Instant>,
}

/// The last known state of a part of a channel.
#[derive(Clone, Copy)]
pub(super) struct CachedPart {
    pub count: u32,
    pub mark: Option<Mark>,
    pub restored: Timestamp,
    /// Whether the last read or write returned the same count as the one before. Such a channel may stay as it is for a
    /// while, so that it is worth knowing when its next lease ends.
    pub is_quiet: bool,
    /// When the mark was last read.
    mark_read: Instant,
}

/// Whether a read that finds the last known count may skip the mark. Otherwise a lost channel shows even if others have
/// brought back as many viewers.
#[derive(Clone, Copy)]
pub(super) enum Marks {
    /// It may, within [`MARK_TRUSTED_FOR`].
    Trusted,
    /// It reads all marks.
    Read,
}

/// What a read of a part has to return.
#[derive(Clone, Copy)]
pub(super) enum Lookup {
    /// The count, and the mark unless the count is still this one.
    CountOf(CachedPart),
    /// The count and the mark.
    Whole,
    /// The count, the mark, and when the next lease ends.
    WithEnd,
}

impl Lookup {
    /// As in the second argument of `scripts/counts.lua`.
    pub(super) fn code(self) -> [u8; 4] {
        let code = match self {
            Self::CountOf(cached) => cached.count,
            Self::Whole => u32::MAX,
            Self::WithEnd => u32::MAX - 1,
        };
        code.to_be_bytes()
    }
}

impl ChannelCache {
    /// What to read of a part of a channel in `parts`. A read that finds the last known count may skip the mark: a lost
    /// channel has a different count, unless as many viewers have joined since. Its mark is therefore read again after
    /// [`MARK_TRUSTED_FOR`]. If `knows_changes`, a whole channel that may stay as it is, is read with the end of its next
    /// lease.
    pub(super) fn lookup(&self, part: Part<'_>, parts: u8, knows_changes: bool, now: Instant) -> Lookup {
        let cached = self.0.get(part.channel).and_then(|cached| cached.parts[usize::from(part.number)]);
        let Some(cached) = cached else { return Lookup::Whole };
        if knows_changes && cached.is_quiet && parts == 1 {
            return Lookup::WithEnd;
        }
        // A part without viewers gets its mark without a change of its count.
        let is_known = cached.mark.is_some() || parts == 1;
        if is_known && now < cached.mark_read + MARK_TRUSTED_FOR {
            Lookup::CountOf(cached)
        } else {
            Lookup::Whole
        }
    }

    /// Takes note that the count of a part was read again and is the same.
    pub(super) fn note_quiet(&self, part: Part<'_>) {
        if let Some(mut cached) = self.0.get_mut(part.channel)
            && let Some(state) = &mut cached.parts[usize::from(part.number)]
        {
            state.is_quiet = true;
        }
    }

    /// Keeps the state of a part of a channel in `parts`, unless the channel has no data in the store. Returns whether the part
    /// has the mark that it had before.
    pub(super) fn put(&self, part: Part<'_>, parts: u8, reading: &Reading, now: Instant) -> bool {
        let nth = usize::from(part.number);
        let &Reading { count, mark, restored, .. } = reading;
        let state = |is_quiet| Some(CachedPart { count, mark, restored, is_quiet, mark_read: now });
        match self.0.get_mut(part.channel) {
            Some(mut cached) => {
                let before = cached.parts[nth];
                let is_same_mark = before.is_some_and(|before| before.mark == mark);
                if !is_same_mark {
                    // If the channel was lost, the list of live channels may be lost too.
                    cached.listed = None;
                }
                cached.parts[nth] = state(is_same_mark && before.is_some_and(|before| before.count == count));
                cached.used = now;
                is_same_mark
            }
            None => {
                if mark.is_some() {
                    let mut all = smallvec![None; parts.into()];
                    all[nth] = state(false);
                    self.0
                        .insert(part.channel.clone(), CachedChannel { parts: all, used: now, listed: None });
                }
                false
            }
        }
    }

    /// A known channel by its name.
    pub(super) fn channel(&self, name: &str) -> Option<ChannelId> {
        self.0.get(name).map(|cached| cached.key().clone())
    }

    /// When this node last entered the channel into the list of live channels.
    pub(super) fn listed_at(&self, channel: &ChannelId) -> Option<Instant> {
        self.0.get(channel).and_then(|cached| cached.listed)
    }

    /// Takes note of when this node has entered the channel into the list of live channels; `None` if it need not be swept.
    pub(super) fn set_listed(&self, channel: &ChannelId, at: Option<Instant>) {
        if let Some(mut cached) = self.0.get_mut(channel) {
            cached.listed = at;
        }
    }

    /// The channels that this node has entered into the list of live channels.
    pub(super) fn listed(&self) -> Vec<ChannelId> {
        let listed = self.0.iter().filter(|cached| cached.listed.is_some());
        listed.map(|cached| cached.key().clone()).collect()
    }

    /// Removes the channels that were not used for [`TTL`], and not entered into the list for `listed_for`.
    pub(super) fn sweep(&self, listed_for: Duration) {
        let now = Instant::now();
        self.0.retain(|_, cached| {
            now < cached.used + TTL || cached.listed.is_some_and(|at| now < at + listed_for)
        });
    }
}
