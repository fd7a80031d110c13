//! What breaks: the ways to the store, the store and its data, and nodes.

use super::{
    plan::{Action, CHANNELS, Millis, Trouble, What},
    random::Random,
    rules::Rules,
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
    /// A node is asked to end, and started again at the end.
    Ended { node: usize },
    /// A node does nothing for a while.
    Stopped { node: usize },
    /// Every connection to the store is broken.
    Disconnected,
    /// Something waited for a processor for so long that calls were late.
    Starved,
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
            | Self::Ended { node }
            | Self::Stopped { node } => node == one,
            Self::Away
            | Self::Paused
            | Self::Emptied
            | Self::Restarted
            | Self::Lost { .. }
            | Self::OldCopy { .. }
            | Self::Disconnected
            | Self::Starved => true,
        }
    }

    /// Whether the store forgets something.
    pub const fn loses(self) -> bool {
        matches!(self, Self::Emptied | Self::Restarted | Self::Lost { .. } | Self::OldCopy { .. })
    }
}

/// Some faults of a kind.
pub fn some(kind: Trouble, random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
    let one = |random: &mut Random| {
        let node = random.index(nodes);
        // In a short world they are short.
        let lasting = |random: &mut Random, from: Millis, to: Millis| {
            random.between(from.min(rules.span / 20), to.min(rules.span / 4))
        };
        let (fault, lasts) = match kind {
            Trouble::Network if random.chance(50) => {
                (Fault::Slow { node, delay: random.between(100, 1_300) }, lasting(random, 5_000, 60_000))
            }
            Trouble::Network => {
                (Fault::Lossy { node, percent: random.between(5, 60) }, lasting(random, 5_000, 60_000))
            }
            Trouble::Late => {
                (Fault::Late { node, percent: random.between(5, 60) }, lasting(random, 5_000, 60_000))
            }
            Trouble::Cut => (Fault::Cut { node }, lasting(random, 2_000, 30_000)),
            Trouble::Away if random.chance(50) => (Fault::Away, lasting(random, 500, 40_000)),
            Trouble::Away => (Fault::Paused, lasting(random, 100, 15_000)),
            Trouble::Emptied if random.chance(50) => (Fault::Emptied, 0),
            Trouble::Emptied => (Fault::Restarted, 0),
            Trouble::Parts => (Fault::Lost { every: random.between(1, CHANNELS) }, 0),
            Trouble::OldCopy => (Fault::OldCopy { age: lasting(random, 1_000, 60_000) }, 0),
            Trouble::Killed => (Fault::Killed { node }, lasting(random, 1_000, 20_000)),
            Trouble::Ended => (Fault::Ended { node }, lasting(random, 1_000, 5_000)),
            Trouble::Disconnected => (Fault::Disconnected, 0),
            _ => (Fault::Stopped { node }, lasting(random, 500, 15_000)),
        };
        Action {
            at: random.between(rules.scaled(10_000), rules.span - lasts),
            what: What::Fault { fault, lasts },
        }
    };
    (0..1 + random.below((rules.span / 30_000).clamp(1, 4))).map(|_| one(random)).collect()
}
