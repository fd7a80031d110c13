//! The remote store: Lua scripts that keep leases in Redis, a Redis Cluster or Upstash.

mod agreement;
mod encoding;
mod parts;
mod store;

pub use store::RemoteStore;
