//! The spans that are exported as traces: one for each request, and one in it for each call that waits for the store.
//!
//! They have a target of their own. The log leaves it out, and the exporter takes nothing else: no line of the log becomes
//! a part of a trace, so no viewer and no address can. Without an exporter these spans are disabled where they are made.

use axum::http::{HeaderMap, HeaderName, Method};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of these spans.
pub const TARGET: &str = "aforo::trace";

/// The methods that HTTP's semantic conventions know. Others have one common name, so that clients can't invent names.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// The span of a request, named as the semantic conventions of HTTP say. `route` is the pattern of its path: the path
/// itself may name a channel. If the caller sent a `traceparent`, the span belongs to that trace.
#[must_use]
pub fn request(method: &Method, route: Option<&str>, id: &str, headers: &HeaderMap) -> Span {
    let is_known = METHODS.contains(method);
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = name(if is_known { method.as_str() } else { "HTTP" }, route),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = if is_known { method.as_str() } else { "_OTHER" },
        http.route = route,
        http.response.status_code = field::Empty,
        "error.type" = field::Empty,
        aforo.request_id = id,
    );
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&Headers(headers));
        // Fails if the span is not exported.
        let _not_exported = span.set_parent(parent);
    }
    span
}

fn name(method: &str, route: Option<&str>) -> String {
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

/// Adds the status of the answer to the span of a request.
pub fn answered(span: &Span, status: u16) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status);
    }
}

/// The span of a call of the store, as the present request sees it: it includes the wait for the call before, because
/// calls of many requests are sent as one.
#[must_use]
pub fn store(operation: &'static str) -> Span {
    // What the node does by itself is in no trace. The first check is all that it costs if nothing is exported.
    if !tracing::span_enabled!(target: TARGET, tracing::Level::INFO) || Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        target: TARGET,
        "store",
        otel.name = format!("store {operation}"),
        otel.status_code = field::Empty,
        "error.type" = field::Empty,
    )
}

/// Marks the call of the store as failed.
pub fn store_failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", "store");
}

/// Reads the headers of a trace.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_valid_traceparent_is_taken_over_and_others_start_a_trace() {
        use opentelemetry::trace::TracerProvider;
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let trace_of = |header: &'static str| {
            let headers = HeaderMap::from_iter([("traceparent".parse().unwrap(), header.parse().unwrap())]);
            let span = request(&Method::GET, Some("/{channel}"), "id", &headers);
            span.context().span().span_context().trace_id().to_string()
        };
        let given = "4bf92f3577b34da6a3ce929d0e0e4736";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            assert_eq!(trace_of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), given);
            for wrong in ["", "00-0-0-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
                let own = trace_of(wrong);
                assert!(own != given && own != "0".repeat(32), "{wrong}: {own}");
            }
        });
    }

    #[test]
    fn the_name_is_the_method_and_the_route() {
        assert_eq!(name("GET", Some("/api/viewer/count/{channelId}")), "GET /api/viewer/count/{channelId}");
        assert_eq!(name("HTTP", None), "HTTP");
    }
}
