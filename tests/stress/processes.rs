//! The processes that a round has started. They end with this program, however it ends.

use std::{collections::BTreeSet, process::Command, sync::Mutex};

static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A process has been started.
pub fn add(pid: u32) {
    RUNNING.lock().unwrap().insert(pid);
}

/// A process has ended and was waited for. Its number may become another's.
pub fn remove(pid: u32) {
    RUNNING.lock().unwrap().remove(&pid);
}

/// Sends a signal. A process that has just ended is no error.
pub fn signal(pid: u32, name: &str) {
    let _ended = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
}

/// Ends all that run.
pub fn end_all() {
    let running = RUNNING.lock().map(|mut running| std::mem::take(&mut *running)).unwrap_or_default();
    for pid in running {
        signal(pid, "KILL");
    }
}
