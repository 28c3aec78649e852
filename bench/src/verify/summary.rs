//! What a verification found, for people and for the report.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::latency::Summary as Latency;

#[derive(Debug, Serialize, Deserialize)]
pub struct Summary {
    pub accepted: u64,
    /// How many ids arrived once, twice, ...
    pub delivered_times: BTreeMap<u32, u64>,
    pub undelivered: u64,
    pub undelivered_states: BTreeMap<String, u64>,
    pub unaccounted: u64,
    /// The first undelivered ids and what the bridge says of them.
    pub listed: Vec<String>,
    /// Arrivals of ids that are in none of the accepted files.
    pub unknown_arrivals: u64,
    pub twice_accepted: u64,
    /// From the first request to the last id's first arrival.
    pub seconds_to_last_delivery: f64,
    /// From the first arrival to the last.
    pub seconds_of_deliveries: f64,
    /// From the time the request was due.
    pub request_to_fire_micros: Latency,
    /// From the time its 202 was read; an arrival may come before that, and counts as 0 then.
    pub accepted_to_fire_micros: Latency,
}

impl Summary {
    pub fn delivered(&self) -> u64 {
        self.delivered_times.values().sum()
    }

    pub fn duplicates(&self) -> u64 {
        self.delivered_times.iter().map(|(times, ids)| u64::from(times - 1) * ids).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} accepted: ", self.accepted)?;
        for (times, ids) in &self.delivered_times {
            write!(f, "{ids} delivered {times} x, ")?;
        }
        write!(f, "{} not delivered, {} unaccounted for", self.undelivered, self.unaccounted)?;
        for (state, ids) in &self.undelivered_states {
            write!(f, "\n  not delivered, {state}: {ids}")?;
        }
        for line in &self.listed {
            write!(f, "\n  {line}")?;
        }
        if self.unknown_arrivals > 0 {
            write!(f, "\n{} arrivals belong to no accepted id of these files", self.unknown_arrivals)?;
        }
        if self.twice_accepted > 0 {
            write!(f, "\n{} ids were answered 202 more than once", self.twice_accepted)?;
        }
        write!(f, "\nrequest to fire: {}", self.request_to_fire_micros)?;
        write!(f, "\n202 to fire: {}", self.accepted_to_fire_micros)
    }
}
