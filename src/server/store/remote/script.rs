//! The scripts, and operations as they take them.

use std::{borrow::Cow, time::Duration};

use redis::{Cmd, cmd};

use crate::domain::{Act, Op};

/// A Lua script. Its file says what its keys, arguments and answer are.
pub struct Script {
    source: Cow<'static, str>,
    hash: String,
}

impl Script {
    /// A script with this source.
    #[must_use]
    pub fn new(source: impl Into<Cow<'static, str>>) -> Self {
        let source = source.into();
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }

    /// Its text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The SHA-1 of its text, by which servers know it.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The command that runs it on a server that has it, which nearly always is the case.
    #[must_use]
    pub fn by_hash(&self, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Cmd {
        call("EVALSHA", &self.hash, keys, args)
    }

    /// The command that runs it on any server, which has it from then on.
    #[must_use]
    pub fn whole(&self, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Cmd {
        call("EVAL", &self.source, keys, args)
    }
}

fn call(name: &str, script: &str, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Cmd {
    let mut command = cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(args);
    command
}

/// Operations as `write.lua` takes them: 37 bytes each.
#[must_use]
pub fn encode(ops: &[Op]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ops.len() * 37);
    for op in ops {
        let (act, duration) = match op.act {
            Act::Join { lease } => (b'J', lease),
            Act::Heartbeat { lease } => (b'H', lease),
            Act::Renew { lease } => (b'N', lease),
            Act::Restore { lease } => (b'R', lease),
            Act::Leave { remember } => (b'L', remember),
        };
        bytes.push(act);
        bytes.extend_from_slice(op.viewer.uuid().as_bytes());
        bytes.extend_from_slice(op.session.uuid().as_bytes());
        bytes.extend_from_slice(&millis(duration).to_be_bytes());
    }
    bytes
}

/// Whole milliseconds; settings keep durations under a day.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
