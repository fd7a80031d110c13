//! The export of traces to an OpenTelemetry collector, as OTLP over HTTP (protobuf).
//!
//! - Spans wait in a bounded queue and are sent in batches by a thread of their own. No request waits for it; what does
//!   not fit into the queue is dropped.
//! - A collector that is away, slow or hangs costs nothing but those spans. The log has one warning for each outage.
//! - The end of the server waits for the last batch no longer than [`END_LIMIT`].
//!
//! The variables of the OpenTelemetry specification apply: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` and `OTEL_BSP_*`.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use reqwest::redirect;
use tokio::{runtime::Handle, task::spawn_blocking};
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use super::spans::TARGET;

/// How long the end of the server waits for the last batch.
pub const END_LIMIT: Duration = Duration::from_millis(1_500);

/// How long the collector may take for a batch.
const BATCH_LIMIT: Duration = Duration::from_secs(5);

/// The longest answer of the collector that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// The path of traces below the address of a collector.
const PATH: &str = "v1/traces";

/// The name of the service if `OTEL_SERVICE_NAME` is not set.
const SERVICE: &str = "aforo";

/// The export of traces. Cloning is cheap; clones are the same export.
#[derive(Clone)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the export to the collector at this address. Batches are sent on `runtime`.
    ///
    /// # Errors
    /// When the address or one of the variables cannot be used. The text does not contain the address.
    pub fn start(collector: &str, runtime: Handle) -> Result<Self, String> {
        let client = Client::new(runtime)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/{PATH}", collector.trim_end_matches('/')))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(BATCH_LIMIT)
            .with_http_client(client)
            .build()
            .map_err(|_| "not usable as the address of a collector".to_owned())?;
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
        Ok(Self(provider))
    }

    /// The layer that takes the spans of [`TARGET`], and nothing else.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET))
    }

    /// Sends what waits, for [`END_LIMIT`] at most, and ends the export.
    pub async fn end(self) {
        // It waits for the thread that sends.
        let ended = spawn_blocking(move || self.0.shutdown_with_timeout(END_LIMIT)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last traces were not exported");
        }
    }
}

/// What all spans have in common.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let name = given.get(&"service.name".into()).map(|name| name.to_string()).unwrap_or_default();
    let builder =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    // The name that the library gives to services without one.
    if name.is_empty() || name.starts_with("unknown_service") {
        builder.with_service_name(SERVICE).build()
    } else {
        builder.build()
    }
}

/// Sends batches with the HTTP client of this program, on its runtime.
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    outage: Outage,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    fn new(runtime: Handle) -> Result<Self, String> {
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().timeout(BATCH_LIMIT).redirect(redirect::Policy::none());
        let http = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { http, runtime, outage: Outage::default() })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        // The thread that exports is not one of the runtime.
        let sent = self.runtime.spawn(send(self.http.clone(), request)).await;
        // Canceled: the program ends.
        let sent = sent.map_err(|_canceled| Failure::Canceled).flatten();
        match &sent {
            Ok(response) if response.status().is_success() => self.outage.ended(),
            Ok(response) => self.outage.is_on(&format!("status {}", response.status().as_u16())),
            Err(Failure::Canceled) => {}
            Err(failure) => self.outage.is_on(&failure.to_string()),
        }
        Ok(sent?)
    }
}

/// Why the collector has not answered. The messages of the library contain its address, and so a password.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Failure {
    #[error("no answer in time")]
    Timeout,
    #[error("no connection")]
    NoConnection,
    #[error("the connection broke")]
    Broken,
    #[error("its answer is too long")]
    TooLong,
    #[error("canceled")]
    Canceled,
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::NoConnection
        } else {
            Self::Broken
        }
    }
}

async fn send(http: reqwest::Client, request: reqwest::Request) -> Result<Response<Bytes>, Failure> {
    let mut answer = http.execute(request).await?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// Whether the collector takes traces. Changes are logged, so that an outage is one warning.
#[derive(Default)]
struct Outage(AtomicBool);

impl Outage {
    fn is_on(&self, reason: &str) {
        if !self.0.swap(true, Relaxed) {
            tracing::warn!(
                reason,
                "the collector takes no traces; trying again, and dropping what does not fit"
            );
        }
    }

    fn ended(&self) {
        if self.0.swap(false, Relaxed) {
            tracing::info!("the collector takes traces again");
        }
    }
}
