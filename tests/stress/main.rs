//! Real programs over a real Redis, with crowds, attackers and faults, in real time: the simulation's plans, model and
//! invariants (`tests/oracle`) without the simulation.
//!
//! `make stress` plays rounds for two minutes, `make stress MINUTES=60` for an hour, `make stress SEED=…` one again; with
//! `TROUBLE=Killed` there is no other kind of trouble than that, and with `STORE=redis` or `STORE=cluster` no other store.
//! A round takes one or two minutes. The plan is decided by the seed alone; the order in which things meet is not, so a
//! seed that failed may hold another time.
//!
//! The machine may be busy: what was ready to run and had to wait is measured, and allowed for. How much that was is told.
//!
//! - `world` plays a plan, with `stage`, `node`, `pages` and `proxy`; `operator` breaks things; `lag` measures.
//! - `processes` sees to it that nothing outlives this program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clock;
mod lag;
mod node;
mod operator;
#[path = "../oracle/mod.rs"]
#[allow(dead_code, reason = "the simulated world uses the rest")]
mod oracle;
mod pages;
mod processes;
mod proxy;
mod stage;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "other tests use the rest")]
mod support;
mod world;

use std::{
    collections::hash_map::RandomState,
    env, fs,
    hash::BuildHasher,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use aforo::domain::Policy;
use oracle::{
    plan::{Plan, Trouble, ActionKind},
    rules::{LIMITS, Rules},
    verdict::Verdict,
};
use tempfile::TempDir;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

/// For how many minutes rounds are begun if nothing else is asked for.
const MINUTES: f64 = 2.0;

/// Leases are short, so that a round is; the update interval is as in production, since it is part of the promise.
fn rules() -> Rules {
    let span = 60_000;
    let policy = Policy {
        heartbeat_interval: Duration::from_secs(4),
        timeout: Duration::from_secs(8),
        hidden_timeout: Duration::from_secs(40),
        cleanup_interval: Duration::from_secs(5),
        ..Policy::default()
    };
    Rules {
        policy,
        limits: LIMITS,
        span,
        watched: span + 45_000,
        over: span + 120_000,
        crowd: (20, 60),
        slack: 300,
        quick: 250,
        jitter: 300,
        reconnect: 700,
    }
}

/// What is asked for by the environment.
struct Asked {
    seed: Option<u64>,
    minutes: f64,
    trouble: Option<String>,
    store: Option<String>,
    program: PathBuf,
}

impl Asked {
    fn read() -> Self {
        // make hands over what was not asked for as nothing.
        let variable = |name: &str| {
            let set = env::vars().find(|(key, value)| key == name && !value.is_empty());
            set.map(|(_, value)| value)
        };
        let number = |name: &str| {
            let parse = |text: String| text.parse::<f64>().unwrap_or_else(|_| panic!("{name} is a number"));
            variable(name).map(parse)
        };
        let seed = variable("SEED").map(|text| text.parse().expect("SEED is a number"));
        Self {
            seed,
            minutes: number("MINUTES").unwrap_or(MINUTES),
            trouble: variable("TROUBLE"),
            store: variable("STORE"),
            program: variable("AFORO_PROGRAM")
                .map_or_else(|| env!("CARGO_BIN_EXE_aforo").into(), PathBuf::from),
        }
    }

    /// Whether a round is played over a cluster. A third of all seeds are, unless something else is asked for.
    fn is_cluster(&self, seed: u64) -> bool {
        let has_trouble = |asked: &String| Trouble::CLUSTERED.iter().any(|one| *asked == format!("{one:?}"));
        match self.store.as_deref() {
            None => seed % 3 == 2 && self.trouble.as_ref().is_none_or(has_trouble),
            Some("redis") => false,
            Some("cluster") => true,
            Some(other) => panic!("STORE is redis or cluster, and not {other:?}"),
        }
    }
}

fn main() -> ExitCode {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        processes::end_all();
        std::process::exit(101);
    }));
    let asked = Asked::read();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(async {
        let (mut int, mut term) =
            (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
        tokio::select! {
            code = rounds(&asked) => code,
            _ = int.recv() => ExitCode::from(130),
            _ = term.recv() => ExitCode::from(143),
        }
    });
    processes::end_all();
    code
}

async fn rounds(asked: &Asked) -> ExitCode {
    let began = Instant::now();
    let mut seed = asked.seed.unwrap_or_else(|| RandomState::new().hash_one("seed") % 1_000_000_000);
    let (mut played, mut findings) = (0, 0);
    loop {
        findings += u32::from(!round(asked, seed).await);
        played += 1;
        seed += 1;
        if asked.seed.is_some() || began.elapsed().as_secs_f64() > asked.minutes * 60.0 {
            break;
        }
    }
    println!(
        "{played} rounds in {:.1} minutes, {findings} with a finding",
        began.elapsed().as_secs_f64() / 60.0
    );
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays a round. Whether everything held.
async fn round(asked: &Asked, seed: u64) -> bool {
    let is_cluster = asked.is_cluster(seed);
    let of: &[Trouble] = if is_cluster { &Trouble::CLUSTERED } else { &Trouble::REAL };
    let plan = Plan::of(seed, rules(), &Trouble::tried(of, asked.trouble.as_deref()));
    let store = if is_cluster { "a cluster" } else { "one Redis" };
    println!("SEED={seed}: {} nodes over {store}; {}", plan.nodes.len(), told(&plan));
    let folder = TempDir::new().unwrap();
    let history = world::play(&plan, is_cluster, &asked.program, folder.path()).await;
    println!(
        "  {} calls, {} streams with {} counts, {} counts of Redis; {} ms were waited for the machine, {} ms of them excuse calls",
        history.calls.len(),
        history.streams.len(),
        history.streams.iter().map(|stream| stream.seen.len()).sum::<usize>(),
        history.counts.len(),
        history.lags.total(),
        history.lags.starved().iter().map(|(from, to)| to - from).sum::<u64>(),
    );
    let Some(verdict) = Verdict::of(&plan, &history) else { return true };
    let mut text = format!("not so: {}", verdict.text(&plan));
    for window in &history.faults {
        text += &format!("{:>7} to {:>7} {:?}\n", window.from, window.to, window.fault);
    }
    fs::write(folder.path().join("report"), &text).unwrap();
    let kept = stage::keep(folder.path(), &seed.to_string());
    println!("{text}again: make stress SEED={seed}; logs: {}", kept.display());
    false
}

/// What a plan has beside the crowd, in words.
fn told(plan: &Plan) -> String {
    let word = |what: &ActionKind| match what {
        ActionKind::Call(_) | ActionKind::Watch { .. } => None,
        ActionKind::Churn { per_second, .. } => Some(format!("churn of {per_second} a second")),
        ActionKind::Flood(flood) => Some(format!("flood of {:?}", flood.kind)),
        ActionKind::Fault { fault, .. } => Some(format!("{fault:?}")),
    };
    let words: Vec<_> = plan.actions.iter().filter_map(|action| word(&action.what)).collect();
    if words.is_empty() { "no trouble".to_owned() } else { words.join(", ") }
}
