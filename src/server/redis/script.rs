//! Lua scripts, by their text and by the hash by which servers know them.

use std::borrow::Cow;

use redis::{Cmd, cmd};

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
