//! What is going to happen in a world: made from a seed before it starts, so that it can be shrunk and run again.
//!
//! A plan stays a plan whatever is taken out of it: every action stands for itself.

use crate::{
    attackers::{self, Flood},
    browsers,
    faults::{self, Fault},
    random::Random,
};

/// Milliseconds since the world began.
pub type Millis = u64;

/// How long crowds, attackers and faults are at it. Leases, recoveries and sweeps are waited for after it.
pub const SPAN: Millis = 240_000;

/// The channels that honest viewers watch are the first ones; attackers and churn use ever new ones above.
pub const CHANNELS: u64 = 4;

/// Everything that happens in a world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
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

impl Plan {
    /// The plan of a seed, with these kinds of trouble in it.
    pub fn of(seed: u64, troubles: &[Trouble]) -> Self {
        let mut random = Random::new(seed);
        let count = 2 + random.index(2);
        let nodes: Vec<_> = (0..count)
            .map(|_| NodePlan { delay: random.between(1, 40), clock: random.below(12) * 3_600_000 })
            .collect();
        let mut actions = browsers::crowd(&mut random, count);
        actions.extend(browsers::watchers(&mut random, count));
        for trouble in troubles {
            // Most worlds have one kind or two, so that a plan that fails is easy to understand.
            if troubles.len() == 1 || random.chance(30) {
                actions.extend(trouble.actions(&mut random, count));
            }
        }
        actions.sort_by_key(|action| action.at);
        Self { seed, nodes, actions }
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
    Stopped,
}

impl Trouble {
    pub const ALL: [Self; 11] = [
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

    fn actions(self, random: &mut Random, nodes: usize) -> Vec<Action> {
        match self {
            Self::Churn => browsers::churn(random, nodes),
            Self::Flood => attackers::floods(random, nodes),
            _ => faults::some(self, random, nodes),
        }
    }
}
