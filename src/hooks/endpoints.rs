//! The paths of the server's API, on the origin of the page.

/// Starts a session.
pub(super) const JOIN: &str = "/api/viewer/join";

/// Keeps a session counted.
pub(super) const HEARTBEAT: &str = "/api/viewer/heartbeat";

/// Ends a session.
pub(super) const LEAVE: &str = "/api/viewer/leave";

/// Checks that the server answers. The server reads and counts nothing for it.
pub(super) const PING: &str = "/api/viewer/ping";

/// The counts of channels, for pages without a stream. Append the channels, separated by commas.
pub(super) const COUNTS: &str = "/api/viewer/counts?channels=";

/// The stream of one channel. Append the channel.
pub(super) const STREAM: &str = "/api/viewer/sse/";

/// The stream of several channels. Append the channels, separated by commas.
pub(super) const STREAMS: &str = "/api/viewer/sse?channels=";
