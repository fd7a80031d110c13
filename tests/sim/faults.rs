//! What breaks: the ways to the store, the store and its data, and nodes.

use crate::{
    plan::{Action, CHANNELS, Millis, SPAN, Trouble, What},
    random::Random,
};

/// After how long a node gives a call up. Real ones wait a few seconds too.
pub const CALL_LIMIT: Millis = 3_000;

/// How much later than that a call that was given up may still be done.
pub const LATE: Millis = 2_000;

/// How long after a fault everything is whole and fresh again.
pub const RECOVERY: Millis = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Calls of a node take longer, each way.
    Slow { node: usize, delay: Millis },
    /// So many of 100 calls, or their answers, are lost.
    Lossy { node: usize, percent: u64 },
    /// So many of 100 calls are given up and done all the same, later, or done a second time.
    Late { node: usize, percent: u64 },
    /// No call of the node reaches the store.
    Cut { node: usize },
    /// The store refuses connections.
    Away,
    /// The store takes calls, and does and answers them when it is over.
    Paused,
    /// The store is emptied.
    Emptied,
    /// The store comes back from a power cut without anything.
    Restarted,
    /// The store has lost one channel of so many.
    Lost { every: u64 },
    /// The store comes back with what it had so long ago.
    OldCopy { age: Millis },
    /// A node is killed, and started again at the end.
    Killed { node: usize },
    /// A node does nothing for a while.
    Stopped { node: usize },
}

impl Fault {
    /// Whether what this node says may be late or stale because of it.
    pub fn touches(self, one: usize) -> bool {
        match self {
            Self::Slow { node, .. }
            | Self::Lossy { node, .. }
            | Self::Late { node, .. }
            | Self::Cut { node }
            | Self::Killed { node }
            | Self::Stopped { node } => node == one,
            Self::Away
            | Self::Paused
            | Self::Emptied
            | Self::Restarted
            | Self::Lost { .. }
            | Self::OldCopy { .. } => true,
        }
    }

    /// Whether the store forgets something.
    pub const fn loses(self) -> bool {
        matches!(self, Self::Emptied | Self::Restarted | Self::Lost { .. } | Self::OldCopy { .. })
    }
}

/// Some faults of a kind.
pub fn some(kind: Trouble, random: &mut Random, nodes: usize) -> Vec<Action> {
    let one = |random: &mut Random| {
        let node = random.index(nodes);
        let (fault, lasts) = match kind {
            Trouble::Network if random.chance(50) => {
                (Fault::Slow { node, delay: random.between(100, 1_300) }, random.between(5_000, 60_000))
            }
            Trouble::Network => {
                (Fault::Lossy { node, percent: random.between(5, 60) }, random.between(5_000, 60_000))
            }
            Trouble::Late => {
                (Fault::Late { node, percent: random.between(5, 60) }, random.between(5_000, 60_000))
            }
            Trouble::Cut => (Fault::Cut { node }, random.between(2_000, 30_000)),
            Trouble::Away if random.chance(50) => (Fault::Away, random.between(500, 40_000)),
            Trouble::Away => (Fault::Paused, random.between(100, 15_000)),
            Trouble::Emptied if random.chance(50) => (Fault::Emptied, 0),
            Trouble::Emptied => (Fault::Restarted, 0),
            Trouble::Parts => (Fault::Lost { every: random.between(1, CHANNELS) }, 0),
            Trouble::OldCopy => (Fault::OldCopy { age: random.between(1_000, 60_000) }, 0),
            Trouble::Killed => (Fault::Killed { node }, random.between(1_000, 20_000)),
            _ => (Fault::Stopped { node }, random.between(500, 15_000)),
        };
        Action { at: random.between(10_000, SPAN - lasts), what: What::Fault { fault, lasts } }
    };
    (0..1 + random.below(4)).map(|_| one(random)).collect()
}
