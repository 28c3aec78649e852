//! Spans of `tracing` become OpenTelemetry's and leave by OTLP.

use super::TelemetryError;
use super::encode::Sender;
use super::export::{Exporting, Queue};
use super::otlp::Collector;
use crate::config::Telemetry;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

pub(crate) static TRACING_ON: AtomicBool = AtomicBool::new(false);
/// How long an execution's later spans join its first trace.
pub(crate) static TRACE_AGE: OnceLock<Duration> = OnceLock::new();

/// The semantic conventions that the spans' names and attributes follow; docs/observability.md names it too.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.36.0";

/// What makes spans, and what sends them.
pub(super) fn provider(
    config: &Telemetry,
    endpoint: &str,
    service: &'static str,
) -> Result<(SdkTracerProvider, Exporting), TelemetryError> {
    let collector = Collector::new(config, endpoint)?;
    // The builder reads OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME as well.
    let name = KeyValue::new("service.name", service);
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attributes([name, version]).build();
    let queue = Queue::new(config.span_queue);
    let exporting = queue.export(collector, Sender::new(&resource, &scope(service)));
    let mut builder = SdkTracerProvider::builder().with_span_processor(queue).with_resource(resource);
    // Whoever names a sampler by the standard variable gets that one: the SDK has read it.
    if std::env::var_os("OTEL_TRACES_SAMPLER").is_none_or(|named| named.is_empty()) {
        let ratio = Sampler::TraceIdRatioBased(config.sample_ratio);
        builder = builder.with_sampler(Sampler::ParentBased(Box::new(ratio)));
    }
    Ok((builder.build(), exporting))
}

fn scope(service: &'static str) -> InstrumentationScope {
    InstrumentationScope::builder(service)
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA)
        .build()
}

pub(super) fn layer<S>(
    config: &Telemetry,
    provider: &SdkTracerProvider,
    service: &'static str,
) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    // Set once: a process has one telemetry.
    TRACE_AGE.get_or_init(|| config.trace_age_s.get());
    TRACING_ON.store(true, Ordering::Relaxed);
    // Spans of the bridge only: the libraries' own would drown them. And no events: those are the log's.
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("bridge"));
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer_with_scope(scope(service)))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        // Contexts are handed on by their spans; nobody asks the thread for its own.
        .with_context_activation(false)
        .with_filter(ours)
}
