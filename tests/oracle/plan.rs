//! What is going to happen in a world: made from a seed before it starts, so that it can be shrunk and run again.
//!
//! A plan stays a plan whatever is taken out of it: every action stands for itself.

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

/// The channels that honest viewers watch are the first ones; attackers and churn use ever new ones above.
pub const CHANNELS: u64 = 4;

/// Everything that happens in a world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub rules: Rules,
    pub nodes: Vec<NodePlan>,
    /// In the order in which they happen.
    pub actions: Vec<Action>,
}

#[derive(Clone, Debug)]
pub struct NodePlan {
    /// How long a call takes to the store, and how long the answer takes back.
    pub delay: Millis,
    /// What its clock shows when the world begins, in milliseconds since the epoch.
    pub clock: u64,
}

#[derive(Clone, Debug)]
pub struct Action {
    pub at: Millis,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// A page calls.
    Call(Call),
    /// A page watches a channel.
    Watch { node: usize, channel: u64, lasts: Millis },
    /// Streams are opened on ever new channels and closed again.
    Churn { node: usize, per_second: u64, lasts: Millis },
    /// Somebody means ill.
    Flood(Flood),
    /// Something breaks.
    Fault { fault: Fault, lasts: Millis },
}

/// A call of a page: who, through which node, and what for.
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
    Beat { hidden: bool },
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
    /// The plan of a seed, with these kinds of trouble in it.
    pub fn of(seed: u64, rules: Rules, troubles: &[Trouble]) -> Self {
        let mut random = Random::new(seed);
        let count = 2 + random.index(2);
        let nodes: Vec<_> = (0..count)
            .map(|_| NodePlan { delay: random.between(1, 40), clock: random.below(12) * 3_600_000 })
            .collect();
        let mut actions = browsers::crowd(&mut random, &rules, count);
        actions.extend(browsers::watchers(&mut random, &rules, count));
        for trouble in troubles {
            // Most worlds have one kind or two, so that a plan that fails is easy to understand.
            if troubles.len() == 1 || random.chance(30) {
                actions.extend(trouble.actions(&mut random, &rules, count));
            }
        }
        actions.retain(|action| action.at <= rules.span);
        actions.sort_by_key(|action| action.at);
        Self { seed, rules, nodes, actions }
    }
}

/// A kind of trouble.
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
}

impl Trouble {
    /// Those of the simulated world.
    pub const SIMULATED: [Self; 11] = [
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
    ];

    /// Those of the real world.
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

    /// Those of the real world over a cluster, whose servers each node reaches directly.
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

    /// The kind that is asked for by its name, or all of these.
    pub fn tried(of: &[Self], asked: Option<&str>) -> Vec<Self> {
        let is_tried = |trouble: &&Self| asked.is_none_or(|asked| asked == format!("{trouble:?}"));
        let tried: Vec<_> = of.iter().filter(is_tried).copied().collect();
        assert!(!tried.is_empty(), "there is no trouble {}; there are: {of:?}", asked.unwrap_or_default());
        tried
    }

    fn actions(self, random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
        match self {
            Self::Churn => browsers::churn(random, rules, nodes),
            Self::Flood => attackers::floods(random, rules, nodes),
            _ => faults::some(self, random, rules, nodes),
        }
    }
}
