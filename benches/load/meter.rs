//! Processor time by who used it, so that a busy tool is not taken for a slow server, nor a busy machine for either.

use crate::{Result, procfs};

/// The processes that are watched.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// The program under test.
    pub app: Vec<u32>,
    /// What it keeps its data in.
    pub store: Vec<u32>,
    /// The load tool's processes beside this one.
    pub helpers: Vec<u32>,
}

/// Where all stood at one moment, in seconds of processor time; or what was used between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub app: f64,
    pub store: f64,
    pub tool: f64,
    pub machine: f64,
}

impl Meter {
    /// Reads the meter.
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
    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            app: self.app - before.app,
            store: self.store - before.store,
            tool: self.tool - before.tool,
            machine: self.machine - before.machine,
        }
    }

    /// What the program and its store have used.
    pub fn served(&self) -> f64 {
        self.app + self.store
    }

    /// What others on this machine have used, and the kernel on nobody's account.
    pub fn others(&self) -> f64 {
        (self.machine - self.app - self.store - self.tool).max(0.0)
    }
}
