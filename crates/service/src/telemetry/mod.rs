//! Logs, traces and metrics of a daemon.

mod encode;
mod export;
mod level;
mod logs;
mod otlp;
mod recorder;
mod tls;
mod traces;

use crate::config::Telemetry;
use metrics_exporter_prometheus::{BuildError, PrometheusHandle};
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use export::Exporting;
pub use level::Again;
pub use recorder::{detached_metrics, detached_recorder};
pub(crate) use traces::{TRACE_AGE, TRACING_ON};

/// How long the last spans may take to leave at the end.
const SHUTDOWN_BUDGET: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("telemetry.log_level {filter:?} is not a filter; use for example \"info,bridge_bus=debug\"")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error(
        "traces cannot be exported to {endpoint}; check telemetry.otlp_endpoint and the OTEL_EXPORTER_OTLP_* variables"
    )]
    Address { endpoint: String, source: tonic::transport::Error },
    #[error("traces cannot be exported: {variable} holds what is no header: {what}")]
    Header { variable: &'static str, what: String },
    #[error("traces cannot be exported: {} cannot be read; check {variable}", .file.display())]
    Certificate { variable: String, file: PathBuf, source: std::io::Error },
    #[error(
        "traces cannot be exported: no HTTP client can be made for {endpoint}; check the OTEL_EXPORTER_OTLP_*CERTIFICATE files"
    )]
    Client { endpoint: String, source: reqwest::Error },
    #[error("the metrics cannot be set up")]
    Metrics(#[from] BuildError),
    #[error("the log's level could not be changed later: the signals cannot be listened for")]
    Signals(#[source] std::io::Error),
    #[error("logging was set up before")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps telemetry alive; `shutdown` sends what is left.
pub struct TelemetryGuard {
    /// Also what its spans come from: they end with it.
    exporting: Option<(SdkTracerProvider, Exporting)>,
    metrics: PrometheusHandle,
}

/// Sets up logs, metrics and, when configured, traces. Needs a runtime: the exporters connect on it. `again`
/// reads the configuration anew when the log's level is to change.
///
/// # Errors
/// When a setting cannot be used or telemetry was set up before.
pub fn init(
    config: &Telemetry,
    again: Again,
    service: &'static str,
) -> Result<TelemetryGuard, TelemetryError> {
    let metrics = recorder::install()?;
    let (logs, change) = logs::layer(config)?;
    // Without an endpoint there is no layer, and spans cost nothing.
    let exporting = config
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| traces::provider(config, endpoint, service))
        .transpose()?;
    let traces = exporting.as_ref().map(|(provider, _)| traces::layer(config, provider, service));
    tracing_subscriber::registry().with(logs).with(traces).try_init()?;
    level::Levels { change, config: config.clone(), again }.listen().map_err(TelemetryError::Signals)?;
    Ok(TelemetryGuard { exporting, metrics })
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

    /// Sends the last spans, within a budget.
    pub async fn shutdown(self) {
        let Some((provider, exporting)) = self.exporting else { return };
        if tokio::time::timeout(SHUTDOWN_BUDGET, exporting.finish()).await.is_err() {
            tracing::warn!("the last spans took too long to export and are dropped");
        }
        if let Err(error) = provider.shutdown() {
            tracing::warn!(%error, "traces did not end cleanly");
        }
    }
}
