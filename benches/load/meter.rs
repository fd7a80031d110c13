//! CPU time by process, to distinguish a slow server from a busy load tool or a busy machine.

use crate::{Result, procfs};

/// The measured processes.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// The program under test.
    pub app: Vec<u32>,
    /// The stores of the program.
    pub store: Vec<u32>,
    /// The helper processes of the load tool.
    pub helpers: Vec<u32>,
}

/// CPU times in seconds: totals at one time, or differences between two times.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub app: f64,
    pub store: f64,
    pub tool: f64,
    pub machine: f64,
}

impl Meter {
    /// Reads the current totals.
    pub fn read(&self) -> Result<Usage> {
        let sum = |pids: &[u32]| pids.iter().map(|pid| procfs::cpu_of(*pid)).sum::<std::io::Result<f64>>();
        Ok(Usage {
            app: sum(&self.app)?,
            store: sum(&self.store)?,
            tool: procfs::cpu_of(std::process::id())? + sum(&self.helpers)?,
            machine: procfs::cpu_of_machine()?,
        })
    }
}

impl Usage {
    /// The CPU time used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            app: self.app - before.app,
            store: self.store - before.store,
            tool: self.tool - before.tool,
            machine: self.machine - before.machine,
        }
    }

    /// The CPU time of the program and its stores.
    pub fn served(&self) -> f64 {
        self.app + self.store
    }

    /// The CPU time of all other processes, and of the kernel outside of processes.
    pub fn others(&self) -> f64 {
        (self.machine - self.app - self.store - self.tool).max(0.0)
    }
}
