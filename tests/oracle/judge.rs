//! Applies the model to a history: the events of every session, and the possible counts of every channel over time.

use std::collections::BTreeMap;

use super::{
    attackers::ADDRESS,
    faults::{CALL_LIMIT, Fault, RECOVERY},
    history::{Answer, Called, Excuses, History, Window},
    model::{Channel, Event, Range},
    plan::{Act, CHANNELS, Millis, Plan},
    rules::Rules,
};

/// The tolerance of all comparisons of times.
pub const TOLERANCE: Millis = 50;

/// How long the store remembers a leave.
pub const LEAVE_MEMORY: Millis = 10_000;

pub struct Judge<'a> {
    pub plan: &'a Plan,
    pub history: &'a History,
    pub excuses: Excuses,
    pub channels: BTreeMap<u64, Channel>,
    /// For each watched channel: the instants at which the range of possible counts changes, with the new range.
    counts: Vec<Vec<(Millis, Range)>>,
}

impl<'a> Judge<'a> {
    pub fn of(plan: &'a Plan, history: &'a History) -> Self {
        let excuses = Excuses::of(history, plan.rules.reconnect);
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

    /// The lowest and highest possible count between two instants.
    pub fn between(&self, channel: u64, from: Millis, to: Millis) -> Range {
        let counts = self.slice(channel, from, to);
        let least = counts.iter().map(|(_, range)| range.least).min();
        let most = counts.iter().map(|(_, range)| range.most).max();
        Range { least: least.unwrap_or(0), most: most.unwrap_or(0) }
    }

    /// Whether the count may have been `value` at some instant between these two. Of changes at the same instant, a
    /// reader may see only some.
    pub fn may_have_been(&self, channel: u64, from: Millis, to: Millis, value: u32) -> bool {
        let is_between = |a: &Range, b: &Range| a.least.min(b.least) <= value && value <= a.most.max(b.most);
        let counts = self.slice(channel, from, to);
        let is_first = counts.first().is_some_and(|(_, range)| is_between(range, range));
        is_first || counts.windows(2).any(|pair| is_between(&pair[0].1, &pair[1].1))
    }

    /// The ranges from the one valid at `from` to the one valid at `to`.
    fn slice(&self, channel: u64, from: Millis, to: Millis) -> &[(Millis, Range)] {
        let counts = &self.counts[usize::try_from(channel).unwrap()];
        let end = |instant: Millis| counts.partition_point(|(at, _)| *at <= instant);
        &counts[end(from).saturating_sub(1)..end(to)]
    }

    /// Whether a node may write beats of the channel late between these instants. Another node may know a leave before such a
    /// beat, which the store has forgotten meanwhile. So the channel is stale until every node has checked its journal. After a
    /// long fault this may be any beat that the node knows.
    pub fn may_write_late_beats(&self, channel: u64, from: Millis, to: Millis) -> bool {
        let beats = self
            .history
            .calls
            .iter()
            .filter(|called| called.call.channel == channel && !matches!(called.call.act, Act::Leave));
        let mut faults = self
            .excuses
            .faults
            .iter()
            .filter(|w| !w.fault.loses_data() && w.from <= to && from <= w.to + RECOVERY);
        faults.any(|w| {
            let is_met =
                |called: &Called| called.at <= w.to && called.answer.is_none_or(|(at, _)| at >= w.from);
            let is_long = w.to - w.from + CALL_LIMIT >= LEAVE_MEMORY;
            is_long || beats.clone().any(|called| w.fault.affects(called.call.node) && is_met(called))
        })
    }

    /// Whether a node may write beats of any watched channel late.
    pub fn may_write_any_late_beats(&self, from: Millis, to: Millis) -> bool {
        (0..CHANNELS).any(|channel| self.may_write_late_beats(channel, from, to))
    }

    /// The calls of honest viewers.
    pub fn honest(&self) -> impl Iterator<Item = &'a Called> {
        self.history.calls.iter().filter(|called| called.call.address < ADDRESS)
    }
}

/// The lease that a call grants; `None` for a leave.
pub fn lease(act: Act, rules: &Rules) -> Option<Millis> {
    match act {
        Act::Leave => None,
        Act::Join { hidden } | Act::Heartbeat { hidden } => Some(rules.lease(hidden)),
    }
}

/// The effect of a call on its session, whose earlier events are `before`.
fn event(called: &Called, before: &[Event], rules: &Rules, excuses: &Excuses) -> Option<Event> {
    let (node, at) = (called.call.node, called.at);
    let lease = lease(called.call.act, rules);
    let known = called.answer.filter(|(_, answer)| *answer != Answer::Unavailable);
    let Some((answered, answer)) = known else {
        let latest = excuses.latest(node, at, at + RECOVERY);
        return Some(Event { at, latest, settled: Millis::MAX, forgotten: Millis::MAX, lease });
    };
    if matches!(answer, Answer::Refused | Answer::Beat { active: false, .. }) {
        return None;
    }
    let ends = || {
        let is_end = |w: &&Window| [Fault::Killed { node }, Fault::Ended { node }].contains(&w.fault);
        excuses.faults.iter().filter(is_end).filter(|w| w.from >= at)
    };
    // A node that shuts down writes its pending operations first, unless it cannot reach the store.
    let mut kills = ends().filter(|w| w.fault == Fault::Killed { node } || excuses.has_other_fault(node, w));
    // The response to a beat says whether the store has it.
    let is_pending = match answer {
        Answer::Beat { shown, .. } => shown.stale,
        _ => true,
    };
    let mut settled = excuses.settled(node, at, answered, is_pending);
    // Whether a heartbeat takes effect is uncertain while only some nodes know of a leave of the session. The same is
    // true after the store has lost the leave, until a node replays it.
    let is_forgotten = |leave: &Event| {
        excuses.faults.iter().any(|w| w.fault.loses_data() && leave.at <= w.from && w.from <= answered)
    };
    let is_uncertain = |leave: &Event| {
        leave.lease.is_none()
            && leave.latest + LEAVE_MEMORY + 1_000 >= at
            && (leave.settled > at || settled > answered || is_forgotten(leave))
    };
    if matches!(called.call.act, Act::Heartbeat { .. }) && before.iter().any(is_uncertain)
        || kills.any(|kill| kill.from <= settled)
    {
        settled = Millis::MAX;
    }
    // The event is lost for good if the store loses it and its node cannot replay it: the node has ended or ends, or it
    // is cut off for longer than the other nodes wait for it.
    let losses =
        excuses.faults.iter().filter(|w| w.fault.loses_data() && w.from + RECOVERY >= at).map(|w| w.from);
    let is_lost =
        |loss: Millis| ends().any(|end| end.from <= loss + RECOVERY) || excuses.is_cut_off(node, loss);
    let forgotten = losses.filter(|loss| is_lost(*loss)).min();
    let latest = excuses.latest(node, at, answered);
    Some(Event { at, latest, settled, forgotten: forgotten.unwrap_or(Millis::MAX), lease })
}
