//! Reports the first violated invariant of a history.

use std::fmt::Write;

use super::{
    history::{Called, History},
    invariants::{self, Finding},
    judge::Judge,
    plan::{ActionKind, Plan},
};

/// The number of calls before a finding in the report.
const LAST: usize = 15;

/// A violated invariant: its name, the finding and the calls before it.
pub struct Verdict {
    pub name: &'static str,
    pub finding: Finding,
    pub story: String,
}

impl Verdict {
    /// The violated invariant with the earliest finding, if any.
    pub fn of(plan: &Plan, history: &History) -> Option<Self> {
        let judge = Judge::of(plan, history);
        let all = invariants::ALL.iter().filter_map(|(name, check)| Some((*name, check(&judge)?)));
        let (name, finding) = all.min_by_key(|(_, finding)| finding.at)?;
        let story = story(&judge, &finding);
        Some(Self { name, finding, story })
    }

    /// The report: the finding, the last calls before it, the nodes, and the actions other than calls.
    pub fn text(&self, plan: &Plan) -> String {
        let Self { name, finding, story } = self;
        let mut text = format!(
            "{name}: at {} ms in channel {:?}: {}\n{story}\n",
            finding.at, finding.channel, finding.what
        );
        for node in &plan.nodes {
            writeln!(text, "{node:?}").unwrap();
        }
        for action in plan.actions.iter().filter(|action| !matches!(action.kind, ActionKind::Call(_))) {
            writeln!(text, "{:>7} {:?}", action.at, action.kind).unwrap();
        }
        text
    }
}

/// The last calls before a finding.
fn story(judge: &Judge<'_>, finding: &Finding) -> String {
    let is_affected = |channel: u64| finding.channel.is_none_or(|affected| affected == channel);
    let before = |call: &&Called| call.at <= finding.at && is_affected(call.call.channel);
    let mut calls: Vec<_> = judge.history.calls.iter().filter(before).collect();
    calls.sort_by_key(|called| called.at);
    let calls = calls.iter().rev().take(LAST).rev();
    calls.map(|called| format!("{:>7} {:?} -> {:?}\n", called.at, called.call, called.answer)).collect()
}
