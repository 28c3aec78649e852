//! Logs, traces and metrics of a daemon.

use crate::config::{LogFormat, Telemetry};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use opentelemetry_sdk::{Resource, trace::SpanExporter as ExportSpans};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How long the last spans may take to leave at the end.
const SHUTDOWN_BUDGET: Duration = Duration::from_secs(5);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Histograms are kept small by folding them this often.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

pub(crate) static TRACING_ON: AtomicBool = AtomicBool::new(false);

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("telemetry.log_level {filter:?} is not a filter; use for example \"info,bridge_bus=debug\"")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("traces cannot be exported to {endpoint}; check telemetry.otlp_endpoint")]
    Exporter { endpoint: String, source: ExporterBuildError },
    #[error("the metrics cannot be set up")]
    Metrics(#[from] BuildError),
    #[error("logging was set up before")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps telemetry alive; `shutdown` sends what is left.
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
    metrics: PrometheusHandle,
}

/// Sets up logs, metrics and, when configured, traces. Needs a runtime: the exporter connects on it.
///
/// # Errors
/// When a setting cannot be used or telemetry was set up before.
pub fn init(config: &Telemetry, service: &'static str) -> Result<TelemetryGuard, TelemetryError> {
    let metrics = prometheus()?.install_recorder()?;
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    let filter = EnvFilter::try_new(&config.log_level)
        .map_err(|source| TelemetryError::Filter { filter: config.log_level.clone(), source })?;
    // Events name their execution themselves. Were spans shown as well, each would be formatted although
    // nobody reads it.
    let events = tracing_subscriber::filter::filter_fn(|metadata| metadata.is_event());
    let logs = match config.log_format {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_filter(filter.and(events))
            .boxed(),
        LogFormat::Human => tracing_subscriber::fmt::layer()
            .compact()
            .with_ansi(std::io::stdout().is_terminal())
            .with_filter(filter.and(events))
            .boxed(),
    };
    // Without an endpoint there is no layer, and spans cost nothing.
    let provider =
        config.otlp_endpoint.as_deref().map(|endpoint| tracer_provider(endpoint, service)).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        TRACING_ON.store(true, Ordering::Relaxed);
        // Spans of the bridge only: the libraries' own spans would drown them.
        let ours = tracing_subscriber::filter::filter_fn(|metadata| metadata.target().starts_with("bridge"));
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service))
            .with_location(false)
            .with_threads(false)
            .with_filter(ours)
    });
    tracing_subscriber::registry().with(logs).with(traces).try_init()?;
    Ok(TelemetryGuard { provider, metrics })
}

impl TelemetryGuard {
    /// What `/metrics` answers with.
    pub fn metrics(&self) -> PrometheusHandle {
        self.metrics.clone()
    }

    /// The metrics as text.
    pub fn render(&self) -> String {
        self.metrics.render()
    }

    /// Sends the last spans, within a budget, off the runtime's threads: the exporter blocks.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        let work = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(SHUTDOWN_BUDGET));
        match tokio::time::timeout(SHUTDOWN_BUDGET, work).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last spans could not be exported"),
            Ok(Err(error)) => tracing::warn!(%error, "the export of the last spans failed"),
            Err(_) => tracing::warn!("the last spans took too long to export and are dropped"),
        }
    }
}

fn prometheus() -> Result<PrometheusBuilder, BuildError> {
    const SECONDS: [f64; 16] =
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
    const BYTES: [f64; 8] = [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 16_777_216.0];
    const COUNTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_duration".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
        .set_buckets_for_metric(Matcher::Suffix("_rows".to_owned()), &COUNTS)
}

/// A recorder for tests of a daemon's `/metrics`: not the process's own.
pub fn detached_metrics() -> Result<PrometheusHandle, BuildError> {
    Ok(prometheus()?.build_recorder().handle())
}

fn tracer_provider(endpoint: &str, service: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|source| TelemetryError::Exporter { endpoint: endpoint.to_owned(), source })?;
    for outcome in ["exported", "dropped"] {
        metrics::counter!("bridge_spans_total", "outcome" => outcome).absolute(0);
    }
    // The builder reads OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME as well.
    let name = KeyValue::new("service.name", service);
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attributes([name, version]).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(Counted(exporter)).with_resource(resource).build())
}

/// Counts what is exported and what is lost: the SDK says so only once, at the end.
#[derive(Debug)]
struct Counted<E>(E);

impl<E: ExportSpans> ExportSpans for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.0.export(batch).await;
        let outcome = if result.is_ok() { "exported" } else { "dropped" };
        metrics::counter!("bridge_spans_total", "outcome" => outcome).increment(spans);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}
