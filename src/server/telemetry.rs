//! Logging. Client addresses are never logged; viewers and channels only at `debug`.

use std::panic::{self, PanicHookInfo};

use tracing_subscriber::{EnvFilter, fmt};

use crate::server::config::LogFormat;

/// Starts logging to standard error, panics included. A second call has no effect.
pub fn init(format: LogFormat, filter: &str) {
    let subscriber = fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        // A failed write must not cause a panic.
        .log_internal_errors(false);
    // Fails if there is already a subscriber, as in tests.
    let started = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    if started.is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
}

/// Logs a panic in the configured format.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("(no message)");
    tracing::error!(location, message, "[PANIC]");
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use parking_lot::Mutex;
    use serde_json::Value;
    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_in_the_configured_format() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = fmt().json().with_writer(move || writer.clone()).finish();
        panic::set_hook(Box::new(log_panic));
        let result = with_default(subscriber, || panic::catch_unwind(|| panic!("a {}", "fault")));
        drop(panic::take_hook());
        assert!(result.is_err());
        let log = String::from_utf8(buffer.0.lock().clone()).unwrap();
        let line: Value = serde_json::from_str(&log).expect("the log is one JSON object");
        assert_eq!(line["level"], "ERROR");
        assert!(log.contains("a fault") && log.contains("telemetry.rs:"), "{log}");
    }
}
