//! Lua scripts with their source and SHA-1 hash.

use std::borrow::Cow;

use redis::{Cmd, cmd};

/// A Lua script. The header of its file describes its keys, arguments and return value.
pub struct Script {
    source: Cow<'static, str>,
    hash: String,
}

impl Script {
    /// Creates a script from its source.
    #[must_use]
    pub fn new(source: impl Into<Cow<'static, str>>) -> Self {
        let source = source.into();
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }

    /// The source of the script.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The SHA-1 of the source, which `EVALSHA` takes.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The command that runs the script by its hash. It fails on a server that has not loaded the script.
    #[must_use]
    pub fn by_hash(&self, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Cmd {
        command("EVALSHA", &self.hash, keys, args)
    }

    /// The command that runs the script by its source. The server keeps the script loaded afterwards.
    #[must_use]
    pub fn by_source(&self, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Cmd {
        command("EVAL", &self.source, keys, args)
    }
}

fn command(name: &str, script: &str, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Cmd {
    let mut command = cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(args);
    command
}
