//! Logging. Client addresses are never logged; viewers and channels only at `debug`.
//!
//! A thread of its own writes the log, so that a reader which stops reading, such as a full pipe, stops nothing else. Lines that
//! it cannot take in time are lost.

use std::{
    env,
    ffi::OsStr,
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt};

use crate::server::{config::LogFormat, spans, traces::Traces};

/// The most lines that wait to be written.
const MAX_LINES: usize = 4_096;

/// Starts logging to standard error, panics included, and the export of traces, if there is one. A second call has no
/// effect. Lines are written until the guard is dropped, which waits for the last ones, but no longer than about a second.
pub fn init(format: LogFormat, filter: &str, traces: Option<&Traces>) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(MAX_LINES).finish(io::stderr());
    let filter = log_filter(filter);
    let has_colors = has_colors(io::stderr().is_terminal(), env::var_os("NO_COLOR").as_deref());
    // A failed write must not cause a panic. Starting fails if there is already a subscriber, as in tests.
    let is_started = if let Some(traces) = traces {
        let log = fmt::layer().with_writer(writer).log_internal_errors(false);
        let log = match format {
            LogFormat::Text => log.with_ansi(has_colors).boxed(),
            LogFormat::Json => log.json().boxed(),
        };
        registry().with(log.with_filter(filter)).with(traces.layer()).try_init().is_ok()
    } else {
        let log = fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
        match format {
            LogFormat::Text => log.with_ansi(has_colors).try_init().is_ok(),
            LogFormat::Json => log.json().try_init().is_ok(),
        }
    };
    if is_started {
        panic::set_hook(Box::new(log_panic));
    }
    guard
}

/// What the log takes: all that `filter` says, without the spans of traces. Where there is no export, this disables them
/// where they are made. The crate that checks certificates logs them with all of their names, which another server
/// chooses; callers log the reason in short.
fn log_filter(filter: &str) -> EnvFilter {
    let directive = format!("{}=off", spans::TARGET).parse();
    let filter = EnvFilter::new(format!("rustls_platform_verifier=off,{filter}"));
    if let Ok(directive) = directive { filter.add_directive(directive) } else { filter }
}

/// Whether a text log has colors: only on a terminal, and only if `NO_COLOR` is not set or is empty
/// (<https://no-color.org>).
fn has_colors(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

/// Logs a panic in the configured format.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("(no message)");
    tracing::error!(location, message, "[PANIC]");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::{HeaderMap, Method};
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
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

    /// Whether the spans of a request and of a call of the store are made.
    fn makes_spans() -> [bool; 2] {
        let request = spans::request(&Method::GET, Some("/"), "id", &HeaderMap::new());
        // The span of the log, which a request has in any case.
        let _entered = tracing::error_span!("request").entered();
        [!request.is_disabled(), !spans::store("write").is_disabled()]
    }

    #[test]
    fn the_spans_of_traces_are_made_only_for_an_export() {
        for filter in ["info", "trace", "aforo=trace", "aforo::trace=trace"] {
            let log = fmt().with_env_filter(log_filter(filter)).with_writer(io::sink).finish();
            assert_eq!(with_default(log, makes_spans), [false, false], "{filter}");
            let log = fmt::layer().with_writer(io::sink).with_filter(log_filter(filter));
            let tracer = SdkTracerProvider::builder().build().tracer("test");
            let export = tracing_opentelemetry::layer().with_tracer(tracer);
            assert_eq!(
                with_default(registry().with(log).with(export), makes_spans),
                [true, true],
                "{filter}"
            );
        }
    }

    #[test]
    fn a_text_log_has_colors_only_on_a_terminal() {
        for (is_terminal, no_color, expected) in [
            (true, None, true),
            (true, Some(""), true),
            (true, Some("1"), false),
            (true, Some("0"), false),
            (false, None, false),
            (false, Some(""), false),
        ] {
            assert_eq!(has_colors(is_terminal, no_color.map(OsStr::new)), expected, "{no_color:?}");
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
