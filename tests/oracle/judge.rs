//! What the model says of a history: the events of every session, and each channel's count over time.

use std::collections::BTreeMap;

use super::{
    attackers::ADDRESS,
    faults::{Fault, RECOVERY},
    history::{Answer, Called, Excuses, History, Window},
    model::{Channel, Event, Range},
    plan::{Act, CHANNELS, Millis, Plan},
    rules::Rules,
};

/// Instants are told apart no better than this: an answer and what it tells of may be so far apart.
pub const GRID: Millis = 50;

/// How long a leave is remembered.
pub const LEAVE_MEMORY: Millis = 10_000;

pub struct Judge<'a> {
    pub plan: &'a Plan,
    pub history: &'a History,
    pub excuses: Excuses,
    pub channels: BTreeMap<u64, Channel>,
    /// For each of the first channels, the range from each instant on at which it changes.
    counts: Vec<Vec<(Millis, Range)>>,
}

impl<'a> Judge<'a> {
    pub fn of(plan: &'a Plan, history: &'a History) -> Self {
        let excuses = Excuses::of(history, plan.rules.mend);
        let mut calls: Vec<&Called> = history.calls.iter().collect();
        calls.sort_by_key(|called| called.at);
        let mut channels = BTreeMap::<u64, Channel>::new();
        for called in calls {
            let of_channel = channels.entry(called.call.channel).or_default();
            let sessions = of_channel.0.entry(called.call.viewer).or_default();
            let events = sessions.entry(called.call.session).or_default();
            events.extend(event(called, events, &plan.rules, &excuses));
        }
        let nobody = Channel::default();
        let over = |number: u64| {
            let channel = channels.get(&number).unwrap_or(&nobody);
            channel.changes().into_iter().map(|at| (at, channel.count(at))).collect()
        };
        let counts = (0..CHANNELS).map(over).collect();
        Self { plan, history, excuses, channels, counts }
    }

    /// What may have been counted at some instant in between.
    pub fn between(&self, channel: u64, from: Millis, to: Millis) -> Range {
        let counts = self.slice(channel, from, to);
        let least = counts.iter().map(|(_, range)| range.least).min();
        let most = counts.iter().map(|(_, range)| range.most).max();
        Range { least: least.unwrap_or(0), most: most.unwrap_or(0) }
    }

    /// Whether the count was this at some instant in between. What happens at the same instant may be seen in part.
    pub fn was(&self, channel: u64, from: Millis, to: Millis, value: u32) -> bool {
        let is_between = |a: &Range, b: &Range| a.least.min(b.least) <= value && value <= a.most.max(b.most);
        let counts = self.slice(channel, from, to);
        let is_first = counts.first().is_some_and(|(_, range)| is_between(range, range));
        is_first || counts.windows(2).any(|pair| is_between(&pair[0].1, &pair[1].1))
    }

    /// The ranges from the one that holds at `from` to the one that holds at `to`.
    fn slice(&self, channel: u64, from: Millis, to: Millis) -> &[(Millis, Range)] {
        let counts = &self.counts[usize::try_from(channel).unwrap()];
        let end = |instant: Millis| counts.partition_point(|(at, _)| *at <= instant);
        &counts[end(from).saturating_sub(1)..end(to)]
    }

    /// The calls of honest viewers in the channels that are watched.
    pub fn honest(&self) -> impl Iterator<Item = &'a Called> {
        self.history.calls.iter().filter(|called| called.call.address < ADDRESS)
    }
}

/// The lease that a call gives; `None` for a leave.
pub fn lease(act: Act, rules: &Rules) -> Option<Millis> {
    match act {
        Act::Leave => None,
        Act::Join { hidden } | Act::Beat { hidden } => Some(rules.lease(hidden)),
    }
}

/// What a call has done to its session, of which `before` is known.
fn event(called: &Called, before: &[Event], rules: &Rules, excuses: &Excuses) -> Option<Event> {
    let (node, at) = (called.call.node, called.at);
    let lease = lease(called.call.act, rules);
    let Some((answered, answer)) = called.answer else {
        let latest = excuses.latest(node, at, at + RECOVERY);
        return Some(Event { at, latest, settled: Millis::MAX, forgotten: Millis::MAX, lease });
    };
    if matches!(answer, Answer::Refused | Answer::Beaten { active: false, .. }) {
        return None;
    }
    let ends = || {
        let is_end = |w: &&Window| [Fault::Killed { node }, Fault::Ended { node }].contains(&w.fault);
        excuses.faults.iter().filter(is_end).filter(|w| w.from >= at)
    };
    // A node that is asked to end writes what it has accepted, unless something is wrong with the store.
    let mut kills =
        ends().filter(|w| w.fault == Fault::Killed { node } || excuses.is_doubly_troubled(node, w));
    let mut settled = excuses.settled(node, at, answered);
    // A heartbeat that came while a leave was remembered by some and not yet known to others may have been taken or not.
    // So may one that came after a loss in which the store has forgotten the leave, until it is written again.
    let is_forgotten = |leave: &Event| {
        excuses.faults.iter().any(|w| w.fault.loses() && leave.at <= w.from && w.from <= answered)
    };
    let is_unclear = |leave: &Event| {
        leave.lease.is_none()
            && leave.latest + LEAVE_MEMORY + 1_000 >= at
            && (leave.settled > at || settled > answered || is_forgotten(leave))
    };
    if matches!(called.call.act, Act::Beat { .. }) && before.iter().any(is_unclear)
        || kills.any(|kill| kill.from <= settled)
    {
        settled = Millis::MAX;
    }
    // What the store loses, and the node that could say it again is dead or dies, or is cut off for longer than others wait
    // for it.
    let losses = excuses.faults.iter().filter(|w| w.fault.loses() && w.from + RECOVERY >= at).map(|w| w.from);
    let is_mute =
        |loss: Millis| ends().any(|end| end.from <= loss + RECOVERY) || excuses.is_cut_off(node, loss);
    let forgotten = losses.filter(|loss| is_mute(*loss)).min();
    let latest = excuses.latest(node, at, answered);
    Some(Event { at, latest, settled, forgotten: forgotten.unwrap_or(Millis::MAX), lease })
}
