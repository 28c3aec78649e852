//! What was answered, and the accepted ids.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::latency::{Latencies, Summary as Latency};
use crate::record::{Record, Writer};

pub struct Tally {
    ids: Writer,
    latencies: Latencies,
    statuses: BTreeMap<u16, u64>,
    broken: u64,
    first_failure: Option<String>,
}

impl Tally {
    pub fn create(ids: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            ids: Writer::create(ids)?,
            latencies: Latencies::default(),
            statuses: BTreeMap::new(),
            broken: 0,
            first_failure: None,
        })
    }

    pub fn answer(
        &mut self,
        status: StatusCode,
        body: &[u8],
        (due, answered): (u64, u64),
        latency: u64,
    ) -> anyhow::Result<()> {
        *self.statuses.entry(status.as_u16()).or_default() += 1;
        if status != StatusCode::ACCEPTED {
            self.first_failure.get_or_insert_with(|| format!("{status}: {}", String::from_utf8_lossy(body)));
            return Ok(());
        }
        let Some(id) = execution_id(body) else {
            bail!("a 202 without an execution_id: {}", String::from_utf8_lossy(body));
        };
        self.latencies.record(latency);
        self.ids.push(&Record { id, at: due, more: answered }).context("cannot record an accepted id")
    }

    pub fn failure(&mut self, error: &str) {
        self.broken += 1;
        self.first_failure.get_or_insert_with(|| error.to_owned());
    }

    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.ids.flush().context("cannot record accepted ids")
    }

    pub fn summary(&mut self, rate: Option<u32>, took: Duration) -> anyhow::Result<Summary> {
        self.flush()?;
        let accepted = self.statuses.get(&202).copied().unwrap_or(0);
        Ok(Summary {
            accepted,
            seconds: took.as_secs_f64(),
            per_second: accepted as f64 / took.as_secs_f64(),
            rate,
            statuses: self.statuses.clone(),
            broken_connections: self.broken,
            first_failure: self.first_failure.clone(),
            latency_micros: self.latencies.summary(),
        })
    }
}

/// Without parsing: the generator's own processor time is taken from what it measures.
fn execution_id(body: &[u8]) -> Option<Uuid> {
    const KEY: &[u8] = br#""execution_id":"#;
    let at = body.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let value = body[at..].trim_ascii_start().strip_prefix(b"\"")?;
    Uuid::try_parse_ascii(value.get(..36)?).ok()
}

#[derive(Serialize, Deserialize)]
pub struct Summary {
    pub accepted: u64,
    pub seconds: f64,
    pub per_second: f64,
    pub rate: Option<u32>,
    pub statuses: BTreeMap<u16, u64>,
    pub broken_connections: u64,
    pub first_failure: Option<String>,
    /// From the time a request was due to its 202.
    pub latency_micros: Latency,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, seconds, per_second, latency_micros, .. } = self;
        write!(f, "{accepted} accepted in {seconds:.1} s, {per_second:.0}/s; to the 202: {latency_micros}")?;
        for (status, count) in self.statuses.iter().filter(|(status, _)| **status != 202) {
            write!(f, "; {count} answered {status}")?;
        }
        if self.broken_connections > 0 {
            write!(f, "; {} without an answer", self.broken_connections)?;
        }
        match &self.first_failure {
            Some(failure) => write!(f, "; first failure: {failure}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_in_compact_and_spaced_json() {
        let id = Some(Uuid::from_u128(5));
        for body in [
            r#"{"execution_id":"00000000-0000-0000-0000-000000000005","status":"accepted"}"#,
            r#"{"a":1, "execution_id": "00000000-0000-0000-0000-000000000005"}"#,
        ] {
            assert_eq!(execution_id(body.as_bytes()), id);
        }
        assert_eq!(execution_id(br#"{"execution_id":"#), None);
        assert_eq!(execution_id(br#"{"execution_id":"short"}"#), None);
    }
}
