//! The calls that a page makes, as Leptos server functions with stable endpoints.
//!
//! | function | call |
//! |---|---|
//! | [`join`] | `POST /api/viewer/join` |
//! | [`heartbeat`] | `POST /api/viewer/heartbeat` |
//! | [`leave`] | `POST /api/viewer/leave` |
//! | [`count`] | `GET /api/viewer/count?channelId=` |
//!
//! The endpoints are written out, so that pages loaded before a deployment go on working after it. On the server a body
//! parses its arguments, makes one call of the service, and lets `?` turn the error into a [`Problem`].

#![warn(missing_docs)]

pub mod problem;
pub mod viewers;

pub use problem::{Code, Problem};
pub use viewers::{Beat, Joined, LEAVE_PATH, Left, count, heartbeat, join, leave};
