//! Every metric of the bridge, in one table: what `/metrics` says of it, with which value it begins, and its line in
//! docs/reference/metrics.md. A test compares the table with what the sources count.

mod page;
mod table;

pub use page::page;
pub use table::METRICS;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Who exposes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Publisher,
    Consumer,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// All there are.
    Closed(&'static [&'static str]),
    /// What bounds their number.
    Bounded(&'static str),
}

/// A label's name and its values.
pub type Label = (&'static str, Values);

/// What is there before the first event: a series that appears with it hides that event from every rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Every combination of the closed labels, at 0.
    Zero,
    /// Every value of the first label, with these combinations of the others.
    Rest(&'static [&'static [&'static str]]),
    /// Nothing: absence says something, or a label's values are not known before.
    Absent,
}

#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub by: By,
    pub labels: &'static [Label],
    pub start: Start,
    /// One sentence, without its full stop.
    pub about: &'static str,
}

impl Metric {
    pub fn unit(&self) -> Option<Unit> {
        let base = self.name.strip_suffix("_total").unwrap_or(self.name);
        match base.rsplit('_').next() {
            Some("seconds" | "duration") => Some(Unit::Seconds),
            Some("bytes") => Some(Unit::Bytes),
            _ => None,
        }
    }

    /// The label values of each series that is there from the start.
    fn series(&self) -> Vec<Vec<&'static str>> {
        // What a bounded set holds is not known before it comes.
        let closed = |(_, values): &Label| -> Vec<Vec<&'static str>> {
            match values {
                Values::Closed(values) => values.iter().map(|value| vec![*value]).collect(),
                Values::Bounded(_) => Vec::new(),
            }
        };
        match self.start {
            Start::Absent => Vec::new(),
            Start::Zero => {
                self.labels.iter().map(closed).fold(vec![Vec::new()], |all, more| product(&all, &more))
            }
            Start::Rest(rest) => {
                let rest: Vec<_> = rest.iter().map(|values| values.to_vec()).collect();
                self.labels.first().map(closed).map_or_else(Vec::new, |first| product(&first, &rest))
            }
        }
    }

    fn describe(&self) {
        match (self.kind, self.unit()) {
            (Kind::Counter, _) => describe_counter!(self.name, self.about),
            (Kind::Gauge, Some(unit)) => describe_gauge!(self.name, unit, self.about),
            (Kind::Gauge, None) => describe_gauge!(self.name, self.about),
            (Kind::Histogram, Some(unit)) => describe_histogram!(self.name, unit, self.about),
            (Kind::Histogram, None) => describe_histogram!(self.name, self.about),
        }
    }

    fn begin(&self) {
        for values in self.series() {
            let names = self.labels.iter().map(|(name, _)| *name);
            let labels: Vec<metrics::Label> = names
                .zip(values)
                .map(|(name, value)| metrics::Label::from_static_parts(name, value))
                .collect();
            match self.kind {
                Kind::Counter => counter!(self.name, labels).increment(0),
                Kind::Gauge => gauge!(self.name, labels).increment(0.0),
                // Named is enough: it shows its empty buckets.
                Kind::Histogram => drop(histogram!(self.name, labels)),
            }
        }
    }
}

fn product(all: &[Vec<&'static str>], more: &[Vec<&'static str>]) -> Vec<Vec<&'static str>> {
    all.iter().flat_map(|known| more.iter().map(move |next| [&known[..], &next[..]].concat())).collect()
}

/// For a daemon, at its start and before anything is counted.
pub fn register(daemon: By) {
    for metric in METRICS.iter().filter(|metric| metric.by == By::Both || metric.by == daemon) {
        metric.describe();
        metric.begin();
    }
    let name = if daemon == By::Publisher { "publisher" } else { "consumer" };
    gauge!("bridge_info", "version" => env!("CARGO_PKG_VERSION"), "daemon" => name).set(1.0);
}

/// What a metric that is not kept by the recorder says before its series.
pub fn head(name: &str) -> String {
    let about = METRICS.iter().find(|metric| metric.name == name).map_or("", |metric| metric.about);
    format!("# HELP {name} {about}\n# TYPE {name} counter\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use bridge_protocol::{Evidence, Forged, Lane, Reason, Stale, State};
    use std::collections::BTreeSet;

    #[test]
    fn names_are_well_formed_and_stand_once() {
        let mut names = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(names.insert(name), "{name} stands twice");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
            assert!(!metric.about.is_empty() && !metric.about.ends_with('.'), "{name}");
            for series in metric.series() {
                assert_eq!(series.len(), metric.labels.len(), "{name}");
                for (value, (label, values)) in series.iter().zip(metric.labels) {
                    let known = matches!(values, Values::Closed(values) if values.contains(value));
                    assert!(known, "{name}: {label}={value}");
                }
            }
        }
    }

    #[test]
    fn the_closed_sets_are_those_of_the_protocol() {
        for (metric, label, expected) in [
            (
                "bridge_messages_received_total",
                "lane",
                Lane::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>(),
            ),
            ("bridge_messages_forged_total", "reason", Forged::ALL.iter().map(|v| v.as_str()).collect()),
            ("bridge_messages_stale_total", "reason", Stale::ALL.iter().map(|v| v.as_str()).collect()),
            ("bridge_evidence_total", "evidence", Evidence::ALL.iter().map(|v| v.as_str()).collect()),
            ("bridge_dead_letters_total", "reason", Reason::ALL.iter().map(|v| v.as_str()).collect()),
            (
                "bridge_execution_seconds",
                "state",
                State::ALL.iter().filter(|state| state.is_terminal()).map(|v| v.as_str()).collect(),
            ),
            (
                "bridge_live_executions",
                "state",
                State::ALL.iter().filter(|state| !state.is_terminal()).map(|v| v.as_str()).collect(),
            ),
        ] {
            let metric = METRICS.iter().find(|of| of.name == metric).unwrap();
            let (_, values) = metric.labels.iter().find(|(name, _)| *name == label).unwrap();
            // A table holds what lives for ever.
            assert_eq!(*values, Values::Closed(expected.leak()), "{}", metric.name);
        }
    }

    #[test]
    fn what_is_registered_is_there_with_its_sentence() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || register(By::Consumer));
        let text = handle.render();
        for line in [
            "# HELP bridge_global_slots_free ",
            "bridge_fences_lost_total 0",
            "bridge_claims_total{answer=\"claimed\"} 0",
            "bridge_accept_to_fire_seconds_count{lane=\"ai\"} 0",
            "daemon=\"consumer\"",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("bridge_canary"), "the publisher's");
        let without = text.lines().filter(|line| line.starts_with("# TYPE ")).find(|line| {
            let name = line.split(' ').nth(2).unwrap();
            !text.contains(&format!("# HELP {name} "))
        });
        assert_eq!(without, None);
    }
}
