//! The child processes of a round. They are killed when this program ends or panics.

use std::{collections::BTreeSet, process::Command, sync::Mutex};

static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Adds a process that was started.
pub fn add(pid: u32) {
    RUNNING.lock().unwrap().insert(pid);
}

/// Removes a process that has exited and was waited for. The system may reuse its id.
pub fn remove(pid: u32) {
    RUNNING.lock().unwrap().remove(&pid);
}

/// Sends a signal. Ignores an error, since the process may have exited.
pub fn signal(pid: u32, name: &str) {
    let _exited = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
}

/// Kills all running processes.
pub fn end_all() {
    let running = RUNNING.lock().map(|mut running| std::mem::take(&mut *running)).unwrap_or_default();
    for pid in running {
        signal(pid, "KILL");
    }
}
