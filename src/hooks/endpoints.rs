//! Where the server's calls are, on the origin of the page.

/// Starts a session.
pub(super) const JOIN: &str = "/api/viewer/join";

/// Keeps a session counted.
pub(super) const HEARTBEAT: &str = "/api/viewer/heartbeat";

/// Ends a session.
pub(super) const LEAVE: &str = "/api/viewer/leave";

/// Says whether the server is there. Nothing is read or counted for it.
pub(super) const PING: &str = "/api/viewer/ping";

/// Tells counts to those who have no stream; channels follow, with commas between.
pub(super) const COUNTS: &str = "/api/viewer/counts?channels=";

/// The stream of one channel, which follows.
pub(super) const STREAM: &str = "/api/viewer/sse/";

/// The stream of many channels, which follow with commas between.
pub(super) const STREAMS: &str = "/api/viewer/sse?channels=";
