//! The stress test: runs the real program over a real Redis in real time, with honest viewers, attackers and faults.
//! Plans, model and invariants are those of the simulation (`tests/oracle`).
//!
//! `make stress` starts rounds for two minutes, `make stress MINUTES=60` for an hour, and `make stress SEED=…` repeats
//! one round. `TROUBLE=Killed` restricts the kinds of trouble to one, and `STORE=redis` or `STORE=cluster` chooses the
//! store. A round takes one to two minutes. The seed decides the plan, but not the order of concurrent operations, so a
//! failure may not repeat.
//!
//! On a busy machine, threads wait for a CPU. The test measures these delays, extends its deadlines by them, and prints
//! them.
//!
//! - `world` runs a plan with `stage`, `node`, `pages` and `proxy`. `operator` causes the faults. `lag` measures
//!   delays.
//! - `processes` ends all child processes with this program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clock;
mod lag;
mod node;
mod operator;
#[path = "../oracle/mod.rs"]
#[allow(dead_code, reason = "the simulation uses the rest")]
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
    plan::{ActionKind, Plan, Trouble},
    rules::{LIMITS, Rules},
    verdict::Verdict,
};
use tempfile::TempDir;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

/// For how many minutes new rounds begin, by default.
const MINUTES: f64 = 2.0;

/// Leases are short, so that a round is short. The update interval is the default, since the invariants depend on it.
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
        end: span + 120_000,
        crowd: (20, 60),
        slack: 300,
        quick: 250,
        jitter: 300,
        reconnect: 700,
        needs_tickets: false,
    }
}

/// The options in the environment variables.
struct Options {
    seed: Option<u64>,
    minutes: f64,
    trouble: Option<String>,
    store: Option<String>,
    program: PathBuf,
}

impl Options {
    fn read() -> Self {
        // make passes an empty string for a variable that is not set.
        let variable = |name: &str| {
            let set = env::vars().find(|(key, value)| key == name && !value.is_empty());
            set.map(|(_, value)| value)
        };
        let number = |name: &str| {
            let parse =
                |text: String| text.parse::<f64>().unwrap_or_else(|_| panic!("{name} must be a number"));
            variable(name).map(parse)
        };
        let seed = variable("SEED").map(|text| text.parse().expect("SEED must be a number"));
        Self {
            seed,
            minutes: number("MINUTES").unwrap_or(MINUTES),
            trouble: variable("TROUBLE"),
            store: variable("STORE"),
            program: variable("AFORO_PROGRAM")
                .map_or_else(|| env!("CARGO_BIN_EXE_aforo").into(), PathBuf::from),
        }
    }

    /// Whether a round uses a cluster. By default, a third of all seeds do.
    fn is_cluster(&self, seed: u64) -> bool {
        let is_clustered = |name: &String| Trouble::CLUSTERED.iter().any(|one| *name == format!("{one:?}"));
        match self.store.as_deref() {
            None => seed % 3 == 2 && self.trouble.as_ref().is_none_or(is_clustered),
            Some("redis") => false,
            Some("cluster") => true,
            Some(other) => panic!("STORE must be redis or cluster, not {other:?}"),
        }
    }
}

fn main() -> ExitCode {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default_hook(panic);
        processes::end_all();
        std::process::exit(101);
    }));
    let options = Options::read();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(async {
        let (mut int, mut term) =
            (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
        tokio::select! {
            code = rounds(&options) => code,
            _ = int.recv() => ExitCode::from(130),
            _ = term.recv() => ExitCode::from(143),
        }
    });
    processes::end_all();
    code
}

async fn rounds(options: &Options) -> ExitCode {
    let began = Instant::now();
    let mut seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one("seed") % 1_000_000_000);
    let (mut rounds, mut findings) = (0, 0);
    loop {
        findings += u32::from(!round(options, seed).await);
        rounds += 1;
        seed += 1;
        if options.seed.is_some() || began.elapsed().as_secs_f64() > options.minutes * 60.0 {
            break;
        }
    }
    println!(
        "{rounds} rounds in {:.1} minutes, {findings} with a finding",
        began.elapsed().as_secs_f64() / 60.0
    );
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a round. Returns whether all invariants held.
async fn round(options: &Options, seed: u64) -> bool {
    let is_cluster = options.is_cluster(seed);
    let of: &[Trouble] = if is_cluster { &Trouble::CLUSTERED } else { &Trouble::REAL };
    let plan = Plan::of(seed, rules(), &Trouble::tried(of, options.trouble.as_deref()));
    let store = if is_cluster { "a cluster" } else { "one Redis" };
    println!("SEED={seed}: {} nodes over {store}; {}", plan.nodes.len(), summary(&plan));
    let folder = TempDir::new().unwrap();
    let history = world::run(&plan, is_cluster, &options.program, folder.path()).await;
    println!(
        "  {} calls, {} streams with {} counts, {} samples of Redis; {} ms of CPU wait, {} ms of them excuse late calls",
        history.calls.len(),
        history.streams.len(),
        history.streams.iter().map(|stream| stream.seen.len()).sum::<usize>(),
        history.counts.len(),
        history.lags.total(),
        history.lags.starved().iter().map(|(from, to)| to - from).sum::<u64>(),
    );
    let Some(verdict) = Verdict::of(&plan, &history) else { return true };
    let mut text = format!("violated: {}", verdict.text(&plan));
    for window in &history.faults {
        text += &format!("{:>7} to {:>7} {:?}\n", window.from, window.to, window.fault);
    }
    fs::write(folder.path().join("report"), &text).unwrap();
    let kept = stage::keep(folder.path(), &seed.to_string());
    println!("{text}to repeat: make stress SEED={seed}; logs: {}", kept.display());
    false
}

/// A summary of the trouble in a plan.
fn summary(plan: &Plan) -> String {
    let word = |kind: &ActionKind| match kind {
        ActionKind::Call(_) | ActionKind::Watch { .. } => None,
        ActionKind::Churn { per_second, .. } => Some(format!("churn of {per_second} a second")),
        ActionKind::Flood(flood) => Some(format!("flood of {:?}", flood.kind)),
        ActionKind::Fault { fault, .. } => Some(format!("{fault:?}")),
    };
    let words: Vec<_> = plan.actions.iter().filter_map(|action| word(&action.kind)).collect();
    if words.is_empty() { "no trouble".to_owned() } else { words.join(", ") }
}
