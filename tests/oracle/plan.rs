//! The plan of a world: a list of actions that a seed generates before the world starts, so that it can be shrunk and
//! repeated.
//!
//! Actions are independent of each other: a plan stays valid when actions are removed.

use uuid::Uuid;

use super::{
    attackers::{self, Flood},
    browsers,
    faults::{self, Fault},
    random::Random,
    rules::Rules,
};

/// Milliseconds since the world began.
pub type Millis = u64;

/// Honest viewers watch the channels below this number. Attackers and churn use new channels above.
pub const CHANNELS: u64 = 4;

/// The nodes and actions of a world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub rules: Rules,
    pub nodes: Vec<NodePlan>,
    /// In chronological order.
    pub actions: Vec<Action>,
}

#[derive(Clone, Debug)]
pub struct NodePlan {
    /// The network delay to the store, in each direction.
    pub delay: Millis,
    /// The node's clock when the world begins, in milliseconds since the Unix epoch.
    pub clock: u64,
}

#[derive(Clone, Debug)]
pub struct Action {
    pub at: Millis,
    pub kind: ActionKind,
}

#[derive(Clone, Debug)]
pub enum ActionKind {
    /// A page calls a node.
    Call(Call),
    /// A page watches a channel.
    Watch { node: usize, channel: u64, lasts: Millis },
    /// Streams are opened on new channels and closed again.
    Churn { node: usize, per_second: u64, lasts: Millis },
    /// An attacker makes many calls.
    Flood(Flood),
    /// A fault begins.
    Fault { fault: Fault, lasts: Millis },
}

/// A call of a page to a node.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub node: usize,
    pub address: u32,
    pub channel: u64,
    pub viewer: u64,
    pub session: u64,
    pub act: Act,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Join { hidden: bool },
    Heartbeat { hidden: bool },
    Leave,
}

/// The name of a channel.
pub fn channel(number: u64) -> String {
    format!("c{number}")
}

/// The id of a viewer or of a session.
pub fn id(number: u64) -> String {
    Uuid::from_u64_pair(number + 1, 0x8000_0000_0000_0000 | (number + 1)).to_string()
}

impl Plan {
    /// Generates the plan of a seed with some of these kinds of trouble.
    pub fn of(seed: u64, rules: Rules, troubles: &[Trouble]) -> Self {
        let mut random = Random::new(seed);
        let count = 2 + random.index(2);
        let nodes: Vec<_> = (0..count)
            .map(|_| NodePlan { delay: random.between(1, 40), clock: random.below(12) * 3_600_000 })
            .collect();
        let mut actions = browsers::crowd(&mut random, &rules, count);
        actions.extend(browsers::watchers(&mut random, &rules, count));
        for trouble in troubles {
            // Most worlds have one or two kinds, which keeps a failing plan easy to understand.
            if troubles.len() == 1 || random.chance(30) {
                actions.extend(trouble.actions(&mut random, &rules, count));
            }
        }
        actions.retain(|action| action.at <= rules.span);
        actions.sort_by_key(|action| action.at);
        Self { seed, rules, nodes, actions }
    }
}

/// A kind of trouble: heavy load, an attack or a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Churn,
    Flood,
    Network,
    Late,
    Cut,
    Away,
    Emptied,
    Parts,
    OldCopy,
    Killed,
    Ended,
    Stopped,
    Disconnected,
    Database,
}

impl Trouble {
    /// The kinds of the simulation.
    pub const SIMULATED: [Self; 12] = [
        Self::Churn,
        Self::Flood,
        Self::Network,
        Self::Late,
        Self::Cut,
        Self::Away,
        Self::Emptied,
        Self::Parts,
        Self::OldCopy,
        Self::Killed,
        Self::Stopped,
        Self::Database,
    ];

    /// The kinds of the stress test on one Redis.
    pub const REAL: [Self; 13] = [
        Self::Churn,
        Self::Flood,
        Self::Network,
        Self::Late,
        Self::Cut,
        Self::Away,
        Self::Emptied,
        Self::Parts,
        Self::OldCopy,
        Self::Killed,
        Self::Ended,
        Self::Stopped,
        Self::Disconnected,
    ];

    /// The kinds of the stress test on a Redis cluster. Nodes connect to its servers directly, without a proxy.
    pub const CLUSTERED: [Self; 8] = [
        Self::Churn,
        Self::Flood,
        Self::Away,
        Self::Emptied,
        Self::Killed,
        Self::Ended,
        Self::Stopped,
        Self::Disconnected,
    ];

    /// The kind with the requested name, or all of these.
    pub fn tried(of: &[Self], asked: Option<&str>) -> Vec<Self> {
        let is_tried = |trouble: &&Self| asked.is_none_or(|asked| asked == format!("{trouble:?}"));
        let tried: Vec<_> = of.iter().filter(is_tried).copied().collect();
        assert!(!tried.is_empty(), "unknown trouble {:?}; known: {of:?}", asked.unwrap_or_default());
        tried
    }

    fn actions(self, random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
        match self {
            Self::Churn => browsers::churn(random, rules, nodes),
            Self::Flood => attackers::floods(random, rules, nodes),
            _ => faults::of_kind(self, random, rules, nodes),
        }
    }
}
