//! Logs. No address of anyone is ever written; viewers and channels only at debug.

use tracing_subscriber::{EnvFilter, fmt};

use super::config::LogFormat;

/// Starts writing logs to standard error. A second call changes nothing.
pub fn init(format: LogFormat, filter: &str) {
    let subscriber = fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
    // It fails when there is a subscriber already, as in tests.
    drop(match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    });
}
