//! What is known to be unchanged in the store, so that a node need not read it again: counts, and the names of live channels.
//!
//! The store numbers the changes (see `scripts/changes.lua`). A node asks what has changed since it last asked, and reads only
//! that, and the channels of which a lease has ended.
//!
//! Promises:
//! - A known count is what a read at the same time would have returned, whatever the order in which responses arrive. Only a
//!   channel that the store has lost alone keeps its count for up to [`KNOWN_FOR`], and one without viewers its mark.
//! - Known names are those that a list at the same time would have, and some of channels without viewers.
//! - Nothing is known across connections, since a new one may lead to other data, nor for a while after the store's clock
//!   was set back by more than [`OVERTAKEN_FOR`]. For less than that, counts may be wrong as long as the clock was.
//! - Memory is bounded by the channels that were read within [`KNOWN_FOR`] and a sweep, and the names that were listed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    domain::{ChannelId, Timestamp},
    server::store::{Epoch, Mark, Reading},
};

/// How long a count is known at most. By then the channel is read, which shows whether the store has lost it. It is less by
/// up to 15 times [`SPREAD`], so that channels that were first read together are not all read again at once.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(20);

/// By how much longer the channels of one part are known than those of the next.
const SPREAD: Duration = Duration::from_millis(250);

/// How long names are known at most. By then channels without viewers are gone from the list.
const NAMES_KNOWN_FOR: Duration = Duration::from_secs(10);

/// How much earlier than another the time in a response can be without a clock that was set back: how long a response can
/// be on its way.
const OVERTAKEN_FOR: Duration = Duration::from_secs(5);

/// How long nothing is known after the store's clock was set back. Before, leases looked ended that go on now, and a sweep
/// may have hidden them from counts until their next beat, which is no change for the store.
const CLOCK_SETTLES_IN: Duration = Duration::from_secs(300);

/// A state of the list of changes, of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The number of the last change.
    number: u64,
    epoch: Option<Epoch>,
}

/// A response to the question what has changed.
pub(super) struct Changes {
    /// The number in the question.
    pub since: u64,
    /// The time of the response, by the store's clock.
    pub as_of: Timestamp,
    pub epoch: Option<Epoch>,
    /// The number of the last change; 0: the store does not number changes now.
    pub number: u64,
    /// What has changed since then. `None`: anything may have changed.
    pub changed: Option<Changed>,
    /// Whether the store was away, as in [`Reading::was_away`].
    pub was_away: bool,
}

/// What has changed.
#[derive(Default)]
pub(super) struct Changed {
    /// The channels whose counts may have changed.
    pub counts: Vec<ChannelId>,
    /// The channels that were entered into the list of live channels.
    pub names: Vec<ChannelId>,
}

impl Changes {
    /// The position, if what is read now can be added. After a response without the changes, it is not worth more than a
    /// plain read: the next may be like it.
    pub(super) fn position(&self) -> Option<Position> {
        let position = Position { number: self.number, epoch: self.epoch };
        (self.number > 0 && self.changed.is_some()).then_some(position)
    }
}

/// What is known. What has changed up to a position is removed from it.
pub(super) struct Unchanged {
    up_to: Position,
    counts: HashMap<ChannelId, KnownCount>,
    /// By the part of the channels.
    names: HashMap<u16, KnownNames>,
    /// The latest time of a response, by the store's clock.
    newest: Timestamp,
    /// Until when nothing is known, since the store's clock was set back.
    unsettled_until: Option<Instant>,
}

struct KnownCount {
    count: u32,
    mark: Option<Mark>,
    restored: Timestamp,
    /// When the count was read, by the store's clock and by this node's.
    as_of: Timestamp,
    read: Instant,
    /// When the next lease ends, by the store's clock.
    next_end: Option<Timestamp>,
}

struct KnownNames {
    names: Arc<HashSet<ChannelId>>,
    read: Instant,
}

impl Default for Unchanged {
    fn default() -> Self {
        Self {
            up_to: Position { number: 0, epoch: None },
            counts: HashMap::new(),
            names: HashMap::new(),
            newest: Timestamp::default(),
            unsettled_until: None,
        }
    }
}

impl Unchanged {
    /// The number after which the store has to be asked for changes; 0: nothing is known.
    pub(super) const fn up_to(&self) -> u64 {
        self.up_to.number
    }

    /// Removes what has changed. `now`: when the response arrived.
    pub(super) fn apply(&mut self, changes: &Changes, now: Instant) {
        if changes.as_of + OVERTAKEN_FOR < self.newest {
            self.unsettled_until = Some(now + CLOCK_SETTLES_IN);
            self.newest = changes.as_of;
        }
        self.newest = self.newest.max(changes.as_of);
        let is_unsettled = self.unsettled_until.is_some_and(|until| now < until);
        match &changes.changed {
            Some(changed)
                if self.up_to.epoch == changes.epoch
                    && changes.since <= self.up_to.number
                    && !is_unsettled =>
            {
                for channel in &changed.counts {
                    self.counts.remove(channel);
                }
                for channel in &changed.names {
                    if let Some(known) = self.names.get_mut(&channel.part()) {
                        Arc::make_mut(&mut known.names).insert(channel.clone());
                    }
                }
                // A response that was overtaken by a later one tells nothing new.
                self.up_to.number = self.up_to.number.max(changes.number);
            }
            _ => {
                self.counts.clear();
                self.names.clear();
                self.up_to = Position { number: changes.number, epoch: changes.epoch };
            }
        }
    }

    /// The count of a channel at the time of a response that was applied, if it is known.
    pub(super) fn reading(&self, channel: &ChannelId, changes: &Changes, now: Instant) -> Option<Reading> {
        let known = self.counts.get(channel)?;
        let known_for = KNOWN_FOR - SPREAD * channel.part().into();
        let is_known = self.up_to.epoch == changes.epoch
            && known.as_of <= changes.as_of
            && known.next_end.is_none_or(|end| changes.as_of < end)
            && now < known.read + known_for;
        is_known.then_some(Reading {
            count: known.count,
            as_of: changes.as_of,
            mark: known.mark,
            restored: known.restored,
            epoch: changes.epoch,
            was_away: changes.was_away,
        })
    }

    /// Adds a count from a read that began when the store had responded with the position `known`. `next_end` is when the next
    /// lease ends.
    pub(super) fn insert(
        &mut self,
        channel: &ChannelId,
        reading: &Reading,
        next_end: Option<Timestamp>,
        known: Position,
    ) {
        let &Reading { count, as_of, mark, restored, epoch, was_away } = reading;
        if self.is_at(known) && known.epoch == epoch && !was_away {
            let known = KnownCount { count, mark, restored, as_of, read: Instant::now(), next_end };
            self.counts.insert(channel.clone(), known);
        }
    }

    /// The names of the channels of some parts at the time of a response that was applied, if all are known.
    pub(super) fn names(
        &self,
        parts: &[u16],
        changes: &Changes,
        now: Instant,
    ) -> Option<Vec<Arc<HashSet<ChannelId>>>> {
        let is_known = |known: &&KnownNames| {
            self.up_to.epoch == changes.epoch && !changes.was_away && now < known.read + NAMES_KNOWN_FOR
        };
        let names = |part| self.names.get(part).filter(is_known).map(|known| Arc::clone(&known.names));
        parts.iter().map(names).collect()
    }

    /// Adds the names of a part from a list that was read when the store had responded with the position `known`.
    pub(super) fn insert_names(&mut self, part: u16, names: &[ChannelId], known: Position, now: Instant) {
        if self.is_at(known) {
            let names = Arc::new(names.iter().cloned().collect());
            self.names.insert(part, KnownNames { names, read: now });
        }
    }

    /// Removes a channel that the store has lost.
    pub(super) fn remove(&mut self, channel: &ChannelId) {
        self.counts.remove(channel);
    }

    /// Removes what nobody has asked for.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        self.counts.retain(|_, known| now < known.read + KNOWN_FOR);
        self.names.retain(|_, known| now < known.read + NAMES_KNOWN_FOR);
    }

    /// Whether what was read after a position can be added. If other changes were applied since, it may be among them.
    fn is_at(&self, known: Position) -> bool {
        known == self.up_to
            && known.number > 0
            && self.unsettled_until.is_none_or(|until| Instant::now() >= until)
    }
}

#[cfg(test)]
mod tests;
