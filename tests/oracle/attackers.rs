//! Generates attackers: each has one address and any number of viewer and session ids.

use super::{
    plan::{Act, Action, ActionKind, CHANNELS, Call, Millis},
    random::Random,
    rules::Rules,
};

/// The first address of an attacker. Addresses of honest viewers are smaller.
pub const ADDRESS: u32 = 1_000_000;
/// The size of the id range of one attacker.
const IDS: u64 = 1_000_000_000;

/// Many calls from one address.
#[derive(Clone, Debug)]
pub struct Flood {
    pub node: usize,
    pub address: u32,
    pub channel: u64,
    pub kind: Kind,
    pub calls: u64,
    pub every: Millis,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Joins of new viewers that all use the same session id.
    OneSession,
    /// Joins of new sessions of one viewer.
    OneViewer,
    /// Heartbeats of new viewers without a join.
    Heartbeats,
    /// Leaves of unknown viewers in unknown channels.
    UnknownLeaves,
    /// Leaves of new sessions of one viewer.
    Leaves,
    /// Joins in new channels.
    NewChannels,
    /// New viewers, each of which joins and then leaves.
    JoinsAndLeaves,
}

const KINDS: [Kind; 7] = [
    Kind::OneSession,
    Kind::OneViewer,
    Kind::Heartbeats,
    Kind::UnknownLeaves,
    Kind::Leaves,
    Kind::NewChannels,
    Kind::JoinsAndLeaves,
];

impl Flood {
    /// The nth call.
    pub fn call(&self, nth: u64) -> Call {
        let base = IDS * u64::from(self.address);
        let (channel, viewer, session, act) = match self.kind {
            Kind::OneSession => (self.channel, nth, 0, Act::Join { hidden: false }),
            Kind::OneViewer => (self.channel, 0, nth, Act::Join { hidden: false }),
            Kind::Heartbeats => (self.channel, nth, nth, Act::Heartbeat { hidden: nth.is_multiple_of(2) }),
            Kind::UnknownLeaves => (CHANNELS + base + nth, nth, nth, Act::Leave),
            Kind::Leaves => (self.channel, 0, nth, Act::Leave),
            Kind::NewChannels => (CHANNELS + base + nth, nth, nth, Act::Join { hidden: false }),
            Kind::JoinsAndLeaves if nth.is_multiple_of(2) => {
                (self.channel, nth, nth, Act::Join { hidden: false })
            }
            Kind::JoinsAndLeaves => (self.channel, nth - 1, nth - 1, Act::Leave),
        };
        let Self { node, address, .. } = *self;
        Call { node, address, channel, viewer: base + viewer, session: base + session, act }
    }
}

/// One to three floods.
pub fn floods(random: &mut Random, rules: &Rules, nodes: usize) -> Vec<Action> {
    let one = |nth: u64, random: &mut Random| {
        let flood = Flood {
            node: random.index(nodes),
            address: ADDRESS + u32::try_from(nth).unwrap(),
            channel: random.below(CHANNELS),
            kind: KINDS[random.index(KINDS.len())],
            calls: random.between(100, 400),
            every: random.between(1, 50),
        };
        Action { at: random.below(rules.span / 2), kind: ActionKind::Flood(flood) }
    };
    (0..1 + random.below(3)).map(|nth| one(nth, random)).collect()
}
