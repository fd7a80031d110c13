//! The API that pages call: Leptos server functions with stable endpoints.
//!
//! | function | call |
//! |---|---|
//! | [`join`] | `POST /api/viewer/join` |
//! | [`heartbeat`] | `POST /api/viewer/heartbeat` |
//! | [`leave`] | `POST /api/viewer/leave` |
//! | [`count`] | `GET /api/viewer/count?channelId=` |
//! | [`live`] | `GET /api/viewer/live?limit=` |
//! | [`followers`] | `GET /api/channel/followers?channelId=` |
//!
//! The browser half sends joins, heartbeats and leaves without the clients that Leptos generates, because their JSON
//! code would be the larger part of the WebAssembly.
//!
//! The endpoints are explicit, so that pages loaded before a deployment keep working after it. On the server, the body
//! of a function parses its arguments, calls the service, and returns errors as a [`Problem`].

pub mod follows;
pub mod problem;
pub mod viewers;

pub use follows::{FOLLOW_PATH, Followed, FollowerCount, followers};
pub use problem::{Code, Problem};
pub use viewers::{
    HeartbeatResponse, JoinResponse, LeaveResponse, LiveChannels, count, heartbeat, join, leave, live,
};
