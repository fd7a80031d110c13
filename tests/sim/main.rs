//! A simulation of the whole counting system in simulated time: several nodes (the real service, hub, reader, recovery,
//! limits, recorder and writer) over one simulated store and one database, with honest viewers, attackers and faults,
//! all generated from a seed. The counts of all streams and responses, and what is recorded, are compared with a simple
//! model.
//!
//! `cargo test --test sim` runs some seeds, `AFORO_SIM_SEEDS=100000` that many, and `AFORO_SEED=…` one seed again.
//! `AFORO_SIM_TROUBLE=Cut` restricts the kinds of trouble to one. When a seed fails, the test shrinks its plan and
//! prints the smallest plan found that violates the same invariant. The seed decides everything, even the order of hash
//! maps, so a failure is reproducible.
//!
//! - `oracle` has the plans, the model and the invariants; the stress test shares it.
//! - `world` runs a plan with `node`, `store` and `data`. `chance` seeds all randomness. `shrink` makes plans smaller.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod chance;
mod data;
mod node;
#[path = "../oracle/mod.rs"]
#[allow(dead_code, reason = "the stress test uses the rest")]
mod oracle;
mod shares;
mod shrink;
mod store;
mod world;

use aforo::domain::Policy;
use oracle::{
    plan::{Plan, Trouble},
    rules::{LIMITS, Rules},
    verdict::Verdict,
};

/// The default number of seeds.
const SEEDS: u64 = 12;

/// The intervals of production, with limits that floods reach.
fn rules() -> Rules {
    let span = 240_000;
    Rules {
        policy: Policy::default(),
        limits: LIMITS,
        span,
        watched: span + 90_000,
        end: span + 100_000 + 2 * store::TTL,
        crowd: (8, 30),
        slack: 300,
        quick: 250,
        jitter: 0,
        reconnect: 200,
        needs_tickets: false,
    }
}

#[test]
fn without_trouble_every_count_is_correct() {
    run(&[], rules(), "without_trouble");
}

#[test]
fn with_trouble_no_count_is_wrong() {
    run(&troubles(), rules(), "with_trouble");
}

#[test]
fn viewers_with_tickets_are_counted_as_exactly() {
    run(&troubles(), Rules { needs_tickets: true, ..rules() }, "viewers_with_tickets");
}

/// All kinds of trouble, or the kind that the environment asks for.
fn troubles() -> Vec<Trouble> {
    let asked = std::env::vars().find(|(name, _)| name == "AFORO_SIM_TROUBLE").map(|(_, asked)| asked);
    Trouble::tried(&Trouble::SIMULATED, asked.as_deref())
}

/// Runs a plan and returns the violated invariant, if any.
fn violated(plan: &Plan) -> Option<Verdict> {
    Verdict::of(plan, &world::run(plan))
}

fn run(troubles: &[Trouble], rules: Rules, test: &str) {
    let variable = |name: &str| {
        let set = std::env::vars().find(|(key, _)| key == name);
        set.map(|(_, value)| value.parse::<u64>().unwrap_or_else(|_| panic!("{name} must be a number")))
    };
    let seeds = match variable("AFORO_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("AFORO_SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let plan = Plan::of(seed, rules, troubles);
        if let Some(Verdict { name, finding, .. }) = violated(&plan) {
            // `scripts/mutants.mjs` parses this line.
            println!("AFORO_SEED={seed}: violated: {name}: {finding:?}; looking for a smaller plan");
            let same = |plan: &Plan| violated(plan).is_some_and(|other| other.name == name);
            let plan = shrink::shrink(plan, same);
            panic!(
                "violated: {name}\n{}\nto repeat: {} bash scripts/cargo.sh test --test sim {test}",
                report(&plan),
                variables(seed)
            );
        }
    }
}

/// The environment variables that repeat a seed.
fn variables(seed: u64) -> String {
    let trouble = std::env::vars().find(|(name, _)| name == "AFORO_SIM_TROUBLE");
    let trouble = trouble.map(|(name, asked)| format!(" {name}={asked}"));
    format!("AFORO_SEED={seed}{}", trouble.unwrap_or_default())
}

fn report(plan: &Plan) -> String {
    violated(plan).expect("a failed plan fails again").text(plan)
}
