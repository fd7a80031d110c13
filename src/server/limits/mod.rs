//! Limits of one address and of this node. A limit of 0 is off.
//!
//! Limits apply to an IPv6 address twice: to its /64, and [`SITE_FACTOR`] times the limit to its /48.

pub mod address;
mod concurrent;
pub mod connections;
mod crowds;
pub mod rate;
pub mod sessions;
pub mod streams;
mod ticket_checks;
mod under_way;
mod weights;

/// The limit of a /48 as a multiple of the limit of a /64. It leaves room for sites with several networks, and stops a
/// client that uses a new /64 for each request.
pub const SITE_FACTOR: u32 = 8;

/// The number of shards of the maps by address. With a million entries a shard has about 4,000, so a sweep holds the
/// lock of a shard for well under a millisecond.
const SHARDS: usize = 256;

/// The names of all limits: values of the label `limit` in metrics.
pub const NAMES: [&str; 12] = [
    "connections-per-address",
    "follows",
    "joins",
    "new-channels",
    "sessions-per-channel",
    "statistics",
    "streams",
    "streams-per-address",
    TicketChecks::NAME,
    "unauthorized",
    "uncounted",
    "unread-responses",
];

pub use self::{
    address::{Address, Proxies},
    concurrent::{Concurrent, ConcurrentPermit},
    connections::{ConnectionPermit, Connections},
    rate::Rate,
    sessions::{Admission, PerAddress, SessionLimiter},
    streams::{StreamPermit, Streams},
    ticket_checks::TicketChecks,
};
