//! Traces of requests, as an OpenTelemetry collector gets them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use reqwest::StatusCode as HttpStatus;
use serde_json::json;
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::support::{PATIENCE, Program, RedisServer, free_port, viewer};

/// A stand-in for a collector. Dropping it ends it.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>,
    task: JoinHandle<()>,
}

impl Collector {
    async fn start() -> Self {
        Self::at(&format!("127.0.0.1:{}", free_port())).await
    }

    async fn at(addr: &str) -> Self {
        let received = Arc::<Mutex<Vec<_>>>::default();
        let listener = TcpListener::bind(addr).await.unwrap();
        let own = Arc::clone(&received);
        let take = async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            own.lock().unwrap().push((headers, ExportTraceServiceRequest::decode(body).unwrap()));
            ExportTraceServiceResponse::default().encode_to_vec()
        };
        let app = Router::new().route("/v1/traces", post(take));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url: format!("http://{addr}"), received, task }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|(_, request)| &request.resource_spans);
        resources.flat_map(|it| &it.scope_spans).flat_map(|it| it.spans.clone()).collect()
    }

    /// Waits for a span with this name.
    async fn span(&self, name: &str) -> Span {
        let arrived = async {
            loop {
                if let Some(span) = self.spans().into_iter().find(|span| span.name == name) {
                    return span;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let arrived = timeout(PATIENCE, arrived).await;
        arrived.unwrap_or_else(|_| panic!("{name} in {:#?}", self.spans()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a server that sends its traces to this address every 50 ms.
async fn server(collector: &str, settings: &[(&str, &str)]) -> Program {
    let own = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    Program::start(&[&own[..], settings].concat()).await
}

/// Attributes as text.
fn attributes(of: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: &KeyValue| pair.value.as_ref().and_then(|it| it.value.as_ref()).map(text);
    of.iter().map(|pair| (pair.key.clone(), value(pair).unwrap_or_default())).collect()
}

#[tokio::test]
async fn a_request_is_a_span_with_its_call_of_the_store_in_it() {
    let (redis, collector) = (RedisServer::start().await, Collector::start().await);
    let settings = [
        ("REDIS_URL", &*redis.url()),
        ("RUST_LOG", "debug"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer abc"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let server = server(&collector.url, &settings).await;
    let one = viewer();
    let request = server.client.post(format!("{}/api/viewer/join", server.base));
    let request = request
        .header("x-request-id", "my-join")
        .header("x-forwarded-for", "203.0.113.9")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .json(&json!({"channelId": "ana", "viewerId": one}));
    assert_eq!(request.send().await.unwrap().status(), HttpStatus::OK);

    let span = collector.span("POST /api/viewer/join").await;
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    let expected = [
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("http.route", "/api/viewer/join"),
        ("aforo.request_id", "my-join"),
    ];
    let found = attributes(&span.attributes);
    for (name, value) in expected {
        assert_eq!(found.get(name).map(String::as_str), Some(value), "{name} in {found:?}");
    }
    let store = collector.span("store write").await;
    assert_eq!((store.trace_id, store.parent_span_id), (span.trace_id, span.span_id));
    assert!(store.start_time_unix_nano >= span.start_time_unix_nano);
    assert!(store.end_time_unix_nano <= span.end_time_unix_nano);

    // Another call is a trace of its own, and knows the counts by a read.
    assert_eq!(server.count("ana").await, 1);
    let count = collector.span("GET /api/viewer/count/{channelId}").await;
    assert!(
        count.trace_id != hex_bytes("4bf92f3577b34da6a3ce929d0e0e4736") && count.parent_span_id.is_empty()
    );
    assert_eq!(collector.span("store read").await.trace_id, count.trace_id);

    let received = collector.received.lock().unwrap();
    assert_eq!(received[0].0["authorization"], "Bearer abc");
    let resource = received[0].1.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(attributes(&resource.attributes)["service.name"], "aforo");
    // No lines of the log, no viewers, no channels, no addresses.
    let all = format!("{:?}", received.iter().map(|(_, request)| request).collect::<Vec<_>>());
    assert!(
        received
            .iter()
            .flat_map(|(_, it)| &it.resource_spans)
            .flat_map(|it| &it.scope_spans)
            .flat_map(|it| &it.spans)
            .all(|span| span.events.is_empty())
    );
    for secret in [&*one.to_string(), "\"ana\"", "203.0.113", "127.0.0.1"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    drop(received);
    // The log is as it is without traces.
    let log = server.log();
    let line = log.lines().find(|line| line.contains("[VIEWER] join")).unwrap();
    assert!(line.contains("request{id=\"my-join\"}: ") && !line.contains("otel"), "{line}");
}

#[tokio::test]
async fn the_variables_of_the_specification_apply() {
    let collector = Collector::start().await;
    let settings = [("OTEL_SERVICE_NAME", "counter"), ("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
    let server = server(&format!("{}/", collector.url), &settings).await;
    server.get("/healthz").await;
    let sampled = server.client.get(format!("{}/api/none", server.base));
    let sampled = sampled.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(sampled.send().await.unwrap().status(), HttpStatus::NOT_FOUND);
    collector.span("GET").await;
    assert_eq!(collector.spans().len(), 1, "the others are not sampled");
    let received = collector.received.lock().unwrap();
    let resource = received[0].1.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(attributes(&resource.attributes)["service.name"], "counter");
}

#[tokio::test]
async fn a_failed_call_is_marked() {
    let (mut redis, collector) = (RedisServer::start().await, Collector::start().await);
    let server = server(&collector.url, &[("REDIS_URL", &*redis.url())]).await;
    server.join("ana", viewer()).await;
    redis.kill();
    let failed = async {
        loop {
            server.join("ana", viewer()).await;
            let is_error = |span: &Span| {
                span.name == "store write"
                    && span.status.as_ref().is_some_and(|it| it.code() == StatusCode::Error)
            };
            if collector.spans().iter().any(is_error) {
                return;
            }
        }
    };
    timeout(PATIENCE, failed).await.expect("a failed write");
}

#[tokio::test]
async fn the_last_spans_are_exported_at_the_end() {
    let collector = Collector::start().await;
    let late = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let mut server = Program::start(&late).await;
    server.get("/healthz").await;
    server.signal("TERM");
    assert!(server.wait_for_exit().await.success());
    assert!(collector.spans().iter().any(|span| span.name == "GET /healthz"));
}

#[tokio::test]
async fn a_collector_that_is_away_is_one_warning_and_taken_up_when_it_comes() {
    let addr = format!("127.0.0.1:{}", free_port());
    let url = format!("http://ops:hunter2@{addr}");
    let server = server(&url, &[]).await;
    server.get("/healthz").await;
    server.wait_for_log("the collector takes no traces").await;
    // Long enough for several attempts.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        server.get("/healthz").await;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.log().matches("the collector takes no traces").count(), 1, "{}", server.log());
    let collector = Collector::at(&addr).await;
    let again = async {
        while collector.spans().is_empty() {
            server.get("/healthz").await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("the collector gets traces");
    server.wait_for_log("the collector takes traces again").await;
    assert!(!server.log().contains("hunter2"), "{}", server.log());
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_neither_requests_nor_the_end() {
    // It accepts connections and answers nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hanging = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
        }
    });
    let mut server =
        server(&url, &[("OTEL_BSP_MAX_QUEUE_SIZE", "16"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")]).await;
    let called = async {
        // Far more than the queue holds.
        for _ in 0..500 {
            assert_eq!(server.get("/healthz").await.status(), HttpStatus::OK);
        }
    };
    timeout(PATIENCE, called).await.expect("requests are answered");
    let start = Instant::now();
    server.signal("TERM");
    assert!(server.wait_for_exit().await.success());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // It has given up, and did not wait for the time that a batch may take.
    assert!(server.log().contains("the last traces were not exported"), "{}", server.log());
    hanging.abort();
}

/// `server::telemetry` has the test that no spans are made.
#[tokio::test]
async fn without_the_setting_there_is_no_export() {
    let exports = |server: &Program| server.threads().iter().any(|name| name.starts_with("OpenTelemetry"));
    let collector = Collector::start().await;
    // What says how to export does not turn it on.
    let settings = [("OTEL_SERVICE_NAME", "counter"), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let without = Program::start(&settings).await;
    let with = server(&collector.url, &settings).await;
    for server in [&without, &with] {
        server.join("ana", viewer()).await;
    }
    collector.span("POST /api/viewer/join").await;
    assert!(exports(&with), "{:?}", with.threads());
    assert!(!exports(&without), "{:?}", without.threads());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hex_bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
