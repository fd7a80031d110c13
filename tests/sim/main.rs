//! A simulation of the whole counting system: several nodes (the real service, hub, reader, recovery and limits) over one
//! simulated store, on simulated time, with honest crowds, attackers and faults, all decided by a seed. What every stream
//! and every answer has shown is held to a model that is too simple to be wrong.
//!
//! `cargo test --test sim` plays some seeds; `AFORO_SIM_SEEDS=100000` plays as many; `AFORO_SEED=…` plays one again; with
//! `AFORO_SIM_TROUBLE=Cut` there is no other kind of trouble than that. A seed that fails is shrunk: what is printed is the
//! smallest plan found that fails in the same way. The seed decides everything, hash maps included, so it fails every time.
//!
//! - `oracle`: the plan, the model and what must hold, shared with the real world.
//! - `world` plays a plan, with `node`, `store` and its `data`; `chance` makes everything depend on the seed; `shrink` makes
//!   plans smaller.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chance;
mod data;
mod node;
#[path = "../oracle/mod.rs"]
#[allow(dead_code, reason = "the real world uses the rest")]
mod oracle;
mod shrink;
mod store;
mod world;

use aforo::domain::Policy;
use oracle::{
    plan::{Plan, Trouble},
    rules::{LIMITS, Rules},
    verdict::Verdict,
};

/// How many seeds are played if nothing else is asked for.
const SEEDS: u64 = 12;

/// As in production, with limits that are met.
fn rules() -> Rules {
    let span = 240_000;
    Rules {
        policy: Policy::default(),
        limits: LIMITS,
        span,
        watched: span + 90_000,
        over: span + 100_000 + 2 * store::TTL,
        crowd: (8, 30),
        slack: 300,
        quick: 250,
        jitter: 0,
        reconnect: 200,
    }
}

#[test]
fn without_trouble_every_count_is_right() {
    play(&[], "without_trouble");
}

#[test]
fn in_any_trouble_no_count_is_wrong() {
    let asked = std::env::vars().find(|(name, _)| name == "AFORO_SIM_TROUBLE").map(|(_, asked)| asked);
    play(&Trouble::tried(&Trouble::SIMULATED, asked.as_deref()), "in_any_trouble");
}

/// What is broken when a plan is played.
fn broken(plan: &Plan) -> Option<Verdict> {
    Verdict::of(plan, &world::play(plan))
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
        let plan = Plan::of(seed, rules(), troubles);
        if let Some(Verdict { name, finding, .. }) = broken(&plan) {
            println!("AFORO_SEED={seed}: not so: {name}: {finding:?}; looking for a smaller plan");
            let same = |plan: &Plan| broken(plan).is_some_and(|other| other.name == name);
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
    broken(plan).expect("what has failed fails again").text(plan)
}
