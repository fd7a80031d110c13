//! A simulation of the whole counting system: several nodes (the real service, hub, reader, recovery and limits) over one
//! simulated store, on simulated time, with honest crowds, attackers and faults, all decided by a seed. What every stream
//! and every answer has shown is held to a model that is too simple to be wrong.
//!
//! `cargo test --test sim` plays some seeds; `AFORO_SIM_SEEDS=100000` plays as many; `AFORO_SEED=…` plays one again; with
//! `AFORO_SIM_TROUBLE=Cut` there is no other kind of trouble than that. A seed that fails is shrunk: what is printed is the
//! smallest plan found that fails in the same way. The seed decides everything, hash maps included, so it fails every time.
//!
//! - `plan`: what is going to happen; `browsers`, `attackers`, `faults` make its parts; `random` and `chance` decide.
//! - `world` plays it, with `node`, `store` and its `data`; `history` is what came of it.
//! - `model` says what the counts were; `judge`, `invariants` and `bounds` compare; `shrink` makes plans smaller.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attackers;
mod bounds;
mod browsers;
mod chance;
mod data;
mod faults;
mod history;
mod invariants;
mod judge;
mod model;
mod node;
mod plan;
mod random;
mod shrink;
mod store;
mod world;

use std::fmt::Write;

use invariants::Finding;
use judge::Judge;
use plan::{Plan, Trouble, What};

/// Kinds of trouble in which something is still known to go wrong. Each is to go from here with its fault; until then it
/// is tried only when it is asked for.
const KNOWN: &[Trouble] = &[];

/// How many seeds are played if nothing else is asked for.
const SEEDS: u64 = 12;

/// How many of the calls before a finding are printed.
const LAST: usize = 15;

#[test]
fn without_trouble_every_count_is_right() {
    play(&[], "without_trouble");
}

#[test]
fn in_any_trouble_no_count_is_wrong() {
    let asked = std::env::vars().find(|(name, _)| name == "AFORO_SIM_TROUBLE").map(|(_, asked)| asked);
    let is_tried = |trouble: &Trouble| match &asked {
        Some(asked) => *asked == format!("{trouble:?}"),
        None => !KNOWN.contains(trouble),
    };
    let troubles: Vec<_> = Trouble::ALL.into_iter().filter(is_tried).collect();
    play(&troubles, "in_any_trouble");
}

/// The invariant that a plan breaks first, if it does.
fn broken(plan: &Plan) -> Option<(&'static str, Finding, String)> {
    let history = world::play(plan);
    let judge = Judge::of(plan, &history);
    let all = invariants::ALL.iter().filter_map(|(name, holds)| Some((*name, holds(&judge)?)));
    let (name, finding) = all.min_by_key(|(_, finding)| finding.at)?;
    let story = story(&judge, &finding);
    Some((name, finding, story))
}

fn play(troubles: &[Trouble], test: &str) {
    let variable = |name: &str| {
        let set = std::env::vars().find(|(key, _)| key == name);
        set.map(|(_, value)| value.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let seeds = match variable("AFORO_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("AFORO_SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let plan = Plan::of(seed, troubles);
        if let Some((name, finding, _)) = broken(&plan) {
            println!("AFORO_SEED={seed}: not so: {name}: {finding:?}; looking for a smaller plan");
            let same = |plan: &Plan| broken(plan).is_some_and(|(other, ..)| other == name);
            let plan = shrink::shrink(plan, same);
            panic!(
                "not so: {name}\n{}\nto play it again: {} bash scripts/cargo.sh test --test sim {test}",
                report(&plan),
                again(seed)
            );
        }
    }
}

/// The settings by which a seed is played again.
fn again(seed: u64) -> String {
    let trouble = std::env::vars().find(|(name, _)| name == "AFORO_SIM_TROUBLE");
    let trouble = trouble.map(|(name, asked)| format!(" {name}={asked}"));
    format!("AFORO_SEED={seed}{}", trouble.unwrap_or_default())
}

fn report(plan: &Plan) -> String {
    let (name, finding, story) = broken(plan).expect("what has failed fails again");
    let mut text =
        format!("{name}: at {} ms in channel {:?}: {}\n{story}\n", finding.at, finding.channel, finding.what);
    for node in &plan.nodes {
        writeln!(text, "{node:?}").unwrap();
    }
    for action in plan.actions.iter().filter(|action| !matches!(action.what, What::Call(_))) {
        writeln!(text, "{:>7} {:?}", action.at, action.what).unwrap();
    }
    text
}

/// The last calls before a finding.
fn story(judge: &Judge<'_>, finding: &Finding) -> String {
    let is_of_it = |channel: u64| finding.channel.is_none_or(|it| it == channel);
    let before = |call: &&history::Called| call.at <= finding.at && is_of_it(call.call.channel);
    let mut calls: Vec<_> = judge.history.calls.iter().filter(before).collect();
    calls.sort_by_key(|called| called.at);
    let calls = calls.iter().rev().take(LAST).rev();
    calls.map(|called| format!("{:>7} {:?} -> {:?}\n", called.at, called.call, called.answer)).collect()
}
