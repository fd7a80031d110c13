//! The remote store: Lua scripts that keep leases in Redis, a Redis Cluster or Upstash.

mod encoding;
mod store;

pub use store::RemoteStore;
