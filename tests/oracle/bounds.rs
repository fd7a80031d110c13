//! Invariants of the limits: how much an attacker may add to the counts, and how much memory a flood may use.

use std::collections::{BTreeMap, BTreeSet};

use aforo::server::limits::PerAddress;

use super::{
    attackers::ADDRESS,
    faults::Fault,
    history::{Answer, Called, Window},
    invariants::{Finding, finding},
    judge::{Judge, lease},
    plan::{Act, CHANNELS, Millis},
};

/// Checks how much each attacker's address has added. Every node applies its own limits, and a restart resets them.
pub fn limits(judge: &Judge<'_>) -> Option<Finding> {
    let limits = &judge.plan.rules.limits;
    let mut addresses = BTreeMap::<(usize, u32), Added>::new();
    let leaves = judge.history.calls.iter().filter(|called| called.call.act == Act::Leave);
    let left: BTreeMap<_, _> =
        leaves.map(|called| ((called.call.channel, called.call.viewer), called.at)).collect();
    judge.history.calls.iter().filter(|called| called.call.address >= ADDRESS).find_map(|called| {
        let call = called.call;
        let Some((answered, Answer::Beat { active: true, .. })) = called.answer else { return None };
        let added = addresses.entry((call.node, call.address)).or_insert_with(|| Added::from(called.at));
        // The earliest end of the lease: the node admits a session no later than the store counts it.
        let ends = called.at + lease(call.act, &judge.plan.rules).unwrap_or(0);
        let viewers = added.viewers.entry(call.channel).or_default();
        let last = viewers.entry(call.viewer).or_insert(ends);
        *last = ends.max(*last);
        added.sessions.insert((call.channel, call.viewer, call.session));
        let node = call.node;
        let is_restart = |w: &&Window| [Fault::Killed { node }, Fault::Ended { node }].contains(&w.fault);
        let restarts = judge.excuses.faults.iter().filter(is_restart);
        let lives = 1 + restarts.filter(|w| w.to >= added.began && w.from <= answered).count();
        let time = answered - added.began;
        let is_there = |(viewer, ends): &(&u64, &Millis)| {
            **ends > called.at && left.get(&(call.channel, **viewer)).is_none_or(|at| *at > answered)
        };
        let of_channel = added.viewers[&call.channel].iter().filter(is_there).count();
        let channels = added.viewers.keys().filter(|channel| **channel >= CHANNELS).count();
        let per_minute = limits.new_channels_per_minute as usize;
        let channels_in = per_minute + per_minute * usize::try_from(time / 60_000 + 1).unwrap();
        let what = if of_channel > lives * limits.sessions_per_channel as usize {
            format!("{of_channel} viewers of one address count")
        } else if added.sessions.len() > lives * joins_in(limits, time) {
            format!("{} sessions of one address were admitted", added.sessions.len())
        } else if channels > lives * channels_in {
            format!("{channels} channels were opened by one address")
        } else {
            return None;
        };
        finding(answered, call.channel, what)
    })
}

/// The sessions that an address has added through one node.
struct Added {
    began: Millis,
    /// By channel: each viewer and the earliest end of its lease.
    viewers: BTreeMap<u64, BTreeMap<u64, Millis>>,
    sessions: BTreeSet<(u64, u64, u64)>,
}

impl From<Millis> for Added {
    fn from(began: Millis) -> Self {
        Self { began, viewers: BTreeMap::new(), sessions: BTreeSet::new() }
    }
}

/// Checks how many sessions and channels the nodes and the store hold.
pub fn kept(judge: &Judge<'_>) -> Option<Finding> {
    let mut calls: Vec<&Called> = judge.history.calls.iter().collect();
    calls.sort_by_key(|called| called.at);
    let mut calls = calls.into_iter().peekable();
    let mut all = Accepted::default();
    let mut by_node = vec![Accepted::default(); judge.plan.nodes.len()];
    judge.history.kept.iter().find_map(|kept| {
        while let Some(called) = calls.next_if(|called| called.at <= kept.at) {
            all.add(called);
            by_node[called.call.node].add(called);
        }
        let accepted = kept.node.map_or(&all, |node| &by_node[node]);
        let nodes = if kept.node.is_some() { 1 } else { by_node.len() };
        let leaves = nodes * accepted.admitted_leaves(&judge.plan.rules.limits, kept.at);
        let (sessions, channels) = (accepted.sessions.len() + leaves, all.channels.len() + leaves);
        let what = if kept.sessions > sessions || kept.admitted > accepted.sessions.len() {
            format!("{kept:?}: at most {sessions} sessions were admitted")
        } else if kept.channels > channels {
            format!("{kept:?}: sessions of at most {channels} channels were admitted")
        } else {
            return None;
        };
        Some(Finding { at: kept.at, channel: None, what })
    })
}

/// The sessions that the limits have admitted so far.
#[derive(Clone, Default)]
struct Accepted {
    sessions: BTreeSet<(u64, u64, u64)>,
    channels: BTreeSet<u64>,
    /// By attacker's address: the time of its first leave and its number of leaves.
    leaves: BTreeMap<u32, (Millis, usize)>,
}

impl Accepted {
    fn add(&mut self, called: &Called) {
        let call = called.call;
        if call.address >= ADDRESS && call.act == Act::Leave {
            self.leaves.entry(call.address).or_insert((called.at, 0)).1 += 1;
        } else if call.address < ADDRESS || !matches!(called.answer, Some((_, Answer::Refused))) {
            self.sessions.insert((call.channel, call.viewer, call.session));
            self.channels.insert(call.channel);
        }
    }

    fn admitted_leaves(&self, limits: &PerAddress, at: Millis) -> usize {
        self.leaves.values().map(|(began, calls)| joins_in(limits, at - began).min(*calls)).sum()
    }
}

/// How many sessions an address may start or end at one node in `time`, at most.
fn joins_in(limits: &PerAddress, time: Millis) -> usize {
    let later = u64::from(limits.joins_per_second) * (time / 1_000 + 2);
    limits.joins_burst as usize + usize::try_from(later).unwrap()
}
