//! Measures how much a busy machine delays a round: how long runnable threads of this program, the nodes and Redis
//! waited for a CPU, how late timers of this program were, and how much CPU time the hypervisor took (steal time).
//!
//! `/proc/…/schedstat` counts only the time that a thread waited for a CPU, so a slow program excuses nothing.

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

/// The interval of the measurements.
const EVERY: Duration = Duration::from_millis(100);
/// The duration of the timer whose lateness is measured.
const TIMER: Duration = Duration::from_millis(10);

/// A smaller step of the system clock, in ms, is a measurement error.
const STEP: i128 = 5;

/// The process ids of the Redis servers and of the nodes. A call waits for one process of each.
pub type Pids = Arc<Mutex<[Vec<u32>; 2]>>;

/// A running measurement.
pub struct LagMeter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Lags>,
}

impl LagMeter {
    /// Measures these processes and this one. Must be called on the runtime whose timers are measured.
    pub fn start(clock: Clock, pids: Pids) -> Self {
        let (stop, timer) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, late) = (Arc::clone(&stop), Arc::clone(&timer));
        tokio::spawn(async move {
            while !stopped.load(Relaxed) {
                let began = Instant::now();
                sleep(TIMER).await;
                // Timers have a resolution of one millisecond.
                let over = began.elapsed().saturating_sub(TIMER + Duration::from_millis(2));
                late.fetch_max(millis(over), Relaxed);
            }
        });
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || measure(clock, &pids, &timer, &stopped));
        Self { stop, thread }
    }

    pub fn stop(self) -> Lags {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

fn measure(clock: Clock, pids: &Pids, timer: &AtomicU64, stop: &AtomicBool) -> Lags {
    let (mut lags, mut before) = (Lags::default(), HashMap::new());
    let (mut from, mut stolen_before, mut offset_before) = (clock.now(), stolen(), offset(clock));
    while !stop.load(Relaxed) {
        thread::sleep(EVERY);
        let here = waited(std::process::id(), &mut before).max(timer.swap(0, Relaxed));
        let processes = pids.lock().clone();
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

/// How long a thread of the process has waited for a CPU since the last measurement. The maximum of all threads.
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

/// The steal time since boot.
fn stolen() -> Millis {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    // A tick is 10 ms on all common systems.
    ticks.unwrap_or(0) * 10
}

/// The offset of the system clock from the clock of the round. The leases in Redis use the system clock.
#[expect(clippy::disallowed_methods, reason = "the system clock itself is measured")]
fn offset(clock: Clock) -> i128 {
    let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::from(millis(system)) - i128::from(clock.now())
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap()
}
