//! What one address, and all together, may take of the server. A limit of 0 is none.
//!
//! An IPv6 address is held to a limit twice: its /64 to the limit itself, and its /48 to [`SITE_FACTOR`] times as much.

pub mod address;
pub mod connections;
mod crowds;
pub mod rate;
pub mod sessions;
pub mod streams;

/// How many times the limit of a /64 its /48 has: a site with many networks is welcome, one that makes up networks is not.
pub const SITE_FACTOR: u32 = 8;

/// In how many parts the maps by address are locked. With a million entries a part has some thousand, so that cleaning it
/// up holds its lock for well under a millisecond.
const SHARDS: usize = 256;

/// The names of all limits, as metrics tell them.
pub const NAMES: [&str; 8] = [
    "connections-per-address",
    "follows",
    "joins",
    "new-channels",
    "sessions-per-channel",
    "streams",
    "streams-per-address",
    "tries",
];

pub use self::{
    address::{Address, Proxies},
    connections::{Connections, Place},
    rate::Rate,
    sessions::{PerAddress, SessionLimiter},
    streams::{StreamPermit, Streams},
};
