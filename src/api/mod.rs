//! The calls that a page makes, as Leptos server functions with stable endpoints.
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
//! The browser half sends its beats and leaves itself, without the clients that Leptos makes for these functions: the
//! readers and writers of JSON in them would be the larger part of what browsers load.
//!
//! The endpoints are written out, so that pages loaded before a deployment go on working after it. On the server a body
//! parses its arguments, makes one call of the service, and lets `?` turn the error into a [`Problem`].

#![warn(missing_docs)]

pub mod follows;
pub mod problem;
pub mod viewers;

pub use follows::{FOLLOW_PATH, Followed, FollowerCount, followers};
pub use problem::{Code, Problem};
pub use viewers::{
    HEARTBEAT_PATH, HeartbeatResponse, JOIN_PATH, JoinResponse, LEAVE_PATH, LeaveResponse, LiveChannels,
    count, heartbeat, join, leave, live,
};
