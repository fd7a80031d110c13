//! Measures how far the machine holds a round up: how long threads of this program, of the nodes and of Redis were ready to
//! run and did not, how late timers were here, and what the machine below took away.
//!
//! `/proc/…/schedstat` tells the time that a thread has waited for a processor, so what a program itself is slow at excuses
//! nothing.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::{
    clock::Clock,
    oracle::{lags::Lags, plan::Millis},
};

/// How often is looked, and how often a timer is tried.
const EVERY: Duration = Duration::from_millis(100);
const TIMER: Duration = Duration::from_millis(10);

/// A clock of the system that moves by less against ours has only been measured imprecisely.
const STEP: i128 = 5;

/// The processes of Redis and of nodes. A call waits for one of each.
pub type Kinds = Arc<Mutex<[Vec<u32>; 2]>>;

/// Measures until it is told to stop.
pub struct Gauge {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Lags>,
}

impl Gauge {
    /// Watches these processes and this one. Has to be called on the runtime whose timers matter.
    pub fn start(clock: Clock, kinds: Kinds) -> Self {
        let (stop, timer) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, late) = (Arc::clone(&stop), Arc::clone(&timer));
        tokio::spawn(async move {
            while !stopped.load(Relaxed) {
                let began = Instant::now();
                sleep(TIMER).await;
                // Timers tick in milliseconds.
                let over = began.elapsed().saturating_sub(TIMER + Duration::from_millis(2));
                late.fetch_max(millis(over), Relaxed);
            }
        });
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || measure(clock, &kinds, &timer, &stopped));
        Self { stop, thread }
    }

    pub fn stop(self) -> Lags {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

fn measure(clock: Clock, kinds: &Kinds, timer: &AtomicU64, stop: &AtomicBool) -> Lags {
    let (mut lags, mut before) = (Lags::default(), HashMap::new());
    let (mut from, mut stolen_before, mut offset_before) = (clock.now(), stolen(), offset(clock));
    while !stop.load(Relaxed) {
        thread::sleep(EVERY);
        let here = waited(std::process::id(), &mut before).max(timer.swap(0, Relaxed));
        let processes = kinds.lock().clone();
        let most = |kind: &Vec<u32>| kind.iter().map(|pid| waited(*pid, &mut before)).max();
        let there: Millis = processes.iter().filter_map(most).sum();
        let (stolen, offset, to) = (stolen(), offset(clock), clock.now());
        let step = (offset - std::mem::replace(&mut offset_before, offset)).abs();
        let step = if step < STEP { 0 } else { u64::try_from(step).unwrap() };
        lags.add(from, to, here + there + (stolen - std::mem::replace(&mut stolen_before, stolen)) + step);
        from = to;
    }
    lags
}

/// How long the thread of a process that waited the longest has waited for a processor since the last look.
fn waited(pid: u32, before: &mut HashMap<(u32, String), u64>) -> Millis {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let waits = threads.flatten().filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos: u64 = stat.split_whitespace().nth(1)?.parse().ok()?;
        let last = before.insert((pid, thread.file_name().into_string().ok()?), nanos);
        Some(nanos.saturating_sub(last.unwrap_or(nanos)) / 1_000_000)
    });
    waits.max().unwrap_or(0)
}

/// For how long the machine below has run others instead of this one, since it started.
fn stolen() -> Millis {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    // A tick is 10 ms on every common system.
    ticks.unwrap_or(0) * 10
}

/// By how much the clock of the system differs from ours. The leases in Redis run by the former.
#[expect(clippy::disallowed_methods, reason = "it is the system's clock itself that is measured")]
fn offset(clock: Clock) -> i128 {
    let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::from(millis(system)) - i128::from(clock.now())
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap()
}
