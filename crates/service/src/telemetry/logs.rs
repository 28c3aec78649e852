//! One line an event: JSON, or something for a terminal.

use super::TelemetryError;
use super::level::{self, Change};
use crate::config::{LogFormat, Telemetry};
use std::io::IsTerminal;
use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, reload};

/// The layer, and what changes its filter later.
pub(super) fn layer<S>(
    config: &Telemetry,
) -> Result<(Box<dyn Layer<S> + Send + Sync>, Change), TelemetryError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + 'static,
{
    let (filter, handle) = reload::Layer::new(level::filter(config)?);
    // Events name their execution themselves. Were spans shown as well, each would be formatted although
    // nobody reads it.
    let filter = filter.and(filter_fn(|metadata| metadata.is_event()));
    let logs = match config.log_format {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_filter(filter)
            .boxed(),
        LogFormat::Human => tracing_subscriber::fmt::layer()
            .compact()
            .with_ansi(std::io::stdout().is_terminal())
            .with_filter(filter)
            .boxed(),
    };
    Ok((logs, level::change(handle)))
}
