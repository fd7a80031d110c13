//! The store that is made of Lua scripts, which keep leases in Redis, a Redis Cluster or Upstash.

mod encoding;
mod store;

pub use store::RemoteStore;
