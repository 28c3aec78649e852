//! The bookkeeping between the two files.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::lookup::Found;
use super::summary::Summary;
use crate::latency::Latencies;
use crate::record::Record;

const LISTED: usize = 20;

#[derive(Default)]
pub struct Account {
    entries: HashMap<Uuid, Entry>,
    missing: u64,
    unknown_arrivals: u64,
    twice_accepted: u64,
}

struct Entry {
    due: u64,
    accepted: u64,
    arrived: Option<u64>,
    times: u32,
}

impl Account {
    pub fn accept(&mut self, records: &[Record]) {
        for record in records {
            let entry = Entry { due: record.at, accepted: record.more, arrived: None, times: 0 };
            if self.entries.insert(record.id, entry).is_some() {
                self.twice_accepted += 1;
            } else {
                self.missing += 1;
            }
        }
    }

    pub fn deliver(&mut self, records: &[Record]) {
        for record in records {
            let Some(entry) = self.entries.get_mut(&record.id) else {
                self.unknown_arrivals += 1;
                continue;
            };
            if entry.times == 0 {
                self.missing -= 1;
            }
            entry.times += 1;
            entry.arrived = Some(entry.arrived.map_or(record.at, |first| first.min(record.at)));
        }
    }

    pub fn missing(&self) -> u64 {
        self.missing
    }

    pub fn undelivered(&self) -> Vec<Uuid> {
        let undelivered = self.entries.iter().filter(|(_, entry)| entry.times == 0);
        let mut ids: Vec<_> = undelivered.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    pub fn summary(&self, found: Vec<(Uuid, Found)>) -> Summary {
        let (mut from_due, mut from_accepted) = (Latencies::default(), Latencies::default());
        let mut delivered_times = BTreeMap::new();
        for entry in self.entries.values() {
            *delivered_times.entry(entry.times).or_insert(0) += 1;
            if let Some(arrived) = entry.arrived {
                from_due.record(arrived.saturating_sub(entry.due));
                from_accepted.record(arrived.saturating_sub(entry.accepted));
            }
        }
        let undelivered = delivered_times.remove(&0).unwrap_or(0);
        let mut states = BTreeMap::new();
        let (mut unaccounted, mut listed) = (0, Vec::new());
        for (id, answer) in found {
            let (text, missing) = match answer {
                // A success was recorded for a call that the endpoint never got.
                Found::State(state) if state == "succeeded" => ("succeeded, never arrived".to_owned(), true),
                Found::State(state) => (state, false),
                Found::Nothing(why) => (why, true),
            };
            unaccounted += u64::from(missing);
            if listed.len() < LISTED {
                listed.push(format!("{id}: {text}"));
            }
            *states.entry(text).or_insert(0) += 1;
        }
        let (seconds_to_last_delivery, seconds_of_deliveries) = self.spans();
        Summary {
            accepted: self.entries.len() as u64,
            delivered_times,
            undelivered,
            undelivered_states: states,
            unaccounted,
            listed,
            unknown_arrivals: self.unknown_arrivals,
            twice_accepted: self.twice_accepted,
            seconds_to_last_delivery,
            seconds_of_deliveries,
            request_to_fire_micros: from_due.summary(),
            accepted_to_fire_micros: from_accepted.summary(),
        }
    }

    /// From the first request, and from the first arrival, to the last id's first arrival.
    fn spans(&self) -> (f64, f64) {
        let arrivals = || self.entries.values().filter_map(|entry| entry.arrived);
        let requested = self.entries.values().map(|entry| entry.due).min().unwrap_or(0);
        let last = arrivals().max().unwrap_or(requested);
        let first = arrivals().min().unwrap_or(last);
        let seconds = |from: u64| last.saturating_sub(from) as f64 / 1e6;
        (seconds(requested), seconds(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u128, at: u64, more: u64) -> Record {
        Record { id: Uuid::from_u128(id), at, more }
    }

    #[test]
    fn every_id_falls_into_one_account() {
        let mut account = Account::default();
        account.accept(&[record(1, 100, 200), record(2, 100, 200), record(3, 100, 200), record(4, 100, 200)]);
        account.deliver(&[record(1, 300, 1), record(2, 300, 1), record(2, 400, 2), record(9, 300, 1)]);
        assert_eq!(account.missing(), 2);
        let undelivered = account.undelivered();
        assert_eq!(undelivered, [Uuid::from_u128(3), Uuid::from_u128(4)]);
        let answers = [Found::State("retrying".into()), Found::State("succeeded".into())];
        let summary = account.summary(undelivered.into_iter().zip(answers).collect());
        assert_eq!((summary.delivered(), summary.duplicates(), summary.unaccounted), (2, 1, 1));
        insta::assert_snapshot!(summary, @"
        4 accepted: 1 delivered 1 x, 1 delivered 2 x, 2 not delivered, 1 unaccounted for
          not delivered, retrying: 1
          not delivered, succeeded, never arrived: 1
          00000000-0000-0000-0000-000000000003: retrying
          00000000-0000-0000-0000-000000000004: succeeded, never arrived
        1 arrivals belong to no accepted id of these files
        request to fire: p50 0.20 ms, p99 0.20 ms, max 0.20 ms
        202 to fire: p50 0.10 ms, p99 0.10 ms, max 0.10 ms
        ");
    }
}
