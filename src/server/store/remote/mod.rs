//! The remote store: Lua scripts that keep leases in Redis, a Redis Cluster or Upstash.

mod agreement;
mod answer;
mod cache;
mod encoding;
mod leaves;
mod live_list;
mod parts;
mod renewal_log;
mod store;
mod sweep;
mod unchanged;

pub use store::RemoteStore;
