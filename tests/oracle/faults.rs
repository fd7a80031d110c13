//! Generates faults of the network to the store, of the store and its data, and of nodes.

use super::{
    plan::{Action, ActionKind, CHANNELS, Millis, Trouble},
    random::Random,
    rules::Rules,
};

/// The timeout of a node's call to the store, close to the real one.
pub const CALL_LIMIT: Millis = 3_000;

/// How long after its timeout a call may still take effect in the store.
pub const LATE: Millis = 2_000;

/// After this long without a fault, counts must be complete and live again.
pub const RECOVERY: Millis = 10_000;

/// How long after a fault a node may accept operations before it has written those that it accepted during the fault.
pub const REPLAY: Millis = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The calls of a node take `delay` longer in each direction.
    Slow { node: usize, delay: Millis },
    /// `percent` of the calls of a node, or their responses, are lost.
    Lossy { node: usize, percent: u64 },
    /// `percent` of the calls of a node take effect after their timeout, or take effect twice.
    Late { node: usize, percent: u64 },
    /// No call of the node reaches the store.
    Cut { node: usize },
    /// The store refuses connections.
    Away,
    /// The store accepts calls, but executes and answers them only when the pause ends.
    Paused,
    /// The store is emptied.
    Emptied,
    /// The store restarts without any data.
    Restarted,
    /// The store loses one of every `every` channels.
    Lost { every: u64 },
    /// The store restarts with its data of `age` ago.
    OldCopy { age: Millis },
    /// A node is killed and restarted at the end of the fault.
    Killed { node: usize },
    /// A node is shut down (SIGTERM) and restarted at the end of the fault.
    Ended { node: usize },
    /// A node is suspended for a while.
    Stopped { node: usize },
    /// All connections to the store are closed.
    Disconnected,
    /// The database is away. No count depends on it.
    DatabaseAway,
    /// The machine was so busy that calls were late.
    Starved,
}

impl Fault {
    /// Whether responses of the node may be late or stale because of the fault.
    pub fn affects(self, one: usize) -> bool {
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
            Self::DatabaseAway => false,
        }
    }

    /// Whether the store loses data.
    pub const fn loses_data(self) -> bool {
        matches!(self, Self::Emptied | Self::Restarted | Self::Lost { .. } | Self::OldCopy { .. })
    }
}

/// One to four faults of a kind, fewer in a short world.
pub fn of_kind(kind: Trouble, random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
    let one = |random: &mut Random| {
        let node = random.index(nodes);
        // Faults are short in a short world.
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
            Trouble::Database => (Fault::DatabaseAway, lasting(random, 5_000, 60_000)),
            _ => (Fault::Stopped { node }, lasting(random, 500, 15_000)),
        };
        // Nodes may start without their database.
        let is_first = fault == Fault::DatabaseAway && random.chance(30);
        let at = if is_first { 0 } else { random.between(rules.scaled(10_000), rules.span - lasts) };
        Action { at, kind: ActionKind::Fault { fault, lasts } }
    };
    (0..1 + random.below((rules.span / 30_000).clamp(1, 4))).map(|_| one(random)).collect()
}
