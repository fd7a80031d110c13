//! What is told of a history in which something does not hold.

use std::fmt::Write;

use super::{
    history::{Called, History},
    invariants::{self, Finding},
    judge::Judge,
    plan::{Plan, What},
};

/// How many of the calls before a finding are told.
const LAST: usize = 15;

/// An invariant that does not hold: its name, where it does not, and what went before.
pub struct Verdict {
    pub name: &'static str,
    pub finding: Finding,
    pub story: String,
}

impl Verdict {
    /// The invariant that a history breaks first, if it does.
    pub fn of(plan: &Plan, history: &History) -> Option<Self> {
        let judge = Judge::of(plan, history);
        let all = invariants::ALL.iter().filter_map(|(name, holds)| Some((*name, holds(&judge)?)));
        let (name, finding) = all.min_by_key(|(_, finding)| finding.at)?;
        let story = story(&judge, &finding);
        Some(Self { name, finding, story })
    }

    /// All that is to be told, in lines.
    pub fn text(&self, plan: &Plan) -> String {
        let Self { name, finding, story } = self;
        let mut text = format!(
            "{name}: at {} ms in channel {:?}: {}\n{story}\n",
            finding.at, finding.channel, finding.what
        );
        for node in &plan.nodes {
            writeln!(text, "{node:?}").unwrap();
        }
        for action in plan.actions.iter().filter(|action| !matches!(action.what, What::Call(_))) {
            writeln!(text, "{:>7} {:?}", action.at, action.what).unwrap();
        }
        text
    }
}

/// The last calls before a finding.
fn story(judge: &Judge<'_>, finding: &Finding) -> String {
    let is_of_it = |channel: u64| finding.channel.is_none_or(|it| it == channel);
    let before = |call: &&Called| call.at <= finding.at && is_of_it(call.call.channel);
    let mut calls: Vec<_> = judge.history.calls.iter().filter(before).collect();
    calls.sort_by_key(|called| called.at);
    let calls = calls.iter().rev().take(LAST).rev();
    calls.map(|called| format!("{:>7} {:?} -> {:?}\n", called.at, called.call, called.answer)).collect()
}
