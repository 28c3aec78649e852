//! docs/reference/metrics.md.

use super::{By, Kind, METRICS, Metric, Values};
use metrics::Unit;
use std::fmt::Write as _;

/// The page, made from the table.
pub fn page() -> String {
    let mut page = String::from(
        "<!-- Made by `bridge-publisher reference docs/reference`; do not edit. -->\n# Metrics\n\nWhat `/metrics` of the \
         daemons shows. Series without labels, and those whose label values are all known, are there from the start, at \
         0; the others appear with their first event. A counter starts anew with its process: ask for `rate` or \
         `increase`. What to look at first is in [observability.md](../observability.md).\n",
    );
    for (by, title) in [
        (By::Both, "Both daemons"),
        (By::Publisher, "The publisher (port 8000)"),
        (By::Consumer, "The consumer (port 8001)"),
    ] {
        // Writing into a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n| metric | kind | unit | labels | |\n|---|---|---|---|---|\n");
        for metric in METRICS.iter().filter(|metric| metric.by == by) {
            let _ = writeln!(page, "{}", row(metric));
        }
    }
    page
}

fn row(metric: &Metric) -> String {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let unit = match metric.unit() {
        Some(Unit::Seconds) => "s",
        Some(Unit::Bytes) => "bytes",
        _ => "",
    };
    let labels: Vec<String> = metric
        .labels
        .iter()
        .map(|(name, values)| match values {
            Values::Closed(values) => format!("`{name}`: {}", values.join(", ")),
            Values::Bounded(by) => format!("`{name}`: {by}"),
        })
        .collect();
    format!("| `{}` | {kind} | {unit} | {} | {} |", metric.name, labels.join("<br>"), metric.about)
}
