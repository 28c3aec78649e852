//! One breaker per endpoint: after a run of failures nothing is sent there for a while, then a single
//! probe decides. Only endpoints in trouble have an entry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::slots::Endpoint;

#[derive(Debug, Clone, Copy)]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The first pause; each failed probe doubles it.
    pub open: Duration,
    pub max_open: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 20, open: Duration::from_secs(10), max_open: Duration::from_secs(300) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

/// One line of the listing: an endpoint in trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerListing {
    pub endpoint: Endpoint,
    pub state: BreakerState,
    pub failures: u32,
    /// Until a probe may pass.
    pub retry_after: Duration,
}

#[derive(Debug, Clone)]
pub struct Breakers {
    config: BreakerConfig,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Endpoint, Entry>,
    /// Forgotten entries are swept when the table has grown to this.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    failures: u32,
    state: State,
    touched: Instant,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One probe is out.
    HalfOpen {
        pause: Duration,
    },
}

const FIRST_SWEEP: usize = 1024;

impl Breakers {
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, table: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code in this file panics while it holds the lock; its data is valid in any case.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// May anything go there now? `Err`: how long until a probe may.
    pub fn look(&self, endpoint: &Endpoint) -> Result<(), Duration> {
        let now = Instant::now();
        match self.lock().entries.get(endpoint).map(|entry| entry.state) {
            Some(State::Open { until, .. }) if until > now => Err(until - now),
            Some(State::HalfOpen { pause }) => Err(pause),
            _ => Ok(()),
        }
    }

    /// Takes the right to send; after a pause the first to come is the probe, the others wait for it.
    pub fn admit(&self, endpoint: &Endpoint) -> Result<Pass, Duration> {
        let now = Instant::now();
        let mut probe = false;
        if let Some(entry) = self.lock().entries.get_mut(endpoint) {
            match entry.state {
                State::Closed => {}
                State::Open { until, .. } if until > now => return Err(until - now),
                State::HalfOpen { pause } => return Err(pause),
                State::Open { pause, .. } => {
                    entry.state = State::HalfOpen { pause };
                    entry.touched = now;
                    probe = true;
                }
            }
        }
        Ok(Pass { breakers: self.clone(), endpoint: endpoint.clone(), probe, told: false })
    }

    fn report(&self, endpoint: &Endpoint, well: bool, probe: bool) {
        let now = Instant::now();
        let mut table = self.lock();
        if well {
            // A late success does not close what newer failures opened: the probe does.
            if probe || matches!(table.entries.get(endpoint), Some(Entry { state: State::Closed, .. })) {
                table.entries.remove(endpoint);
            }
            return;
        }
        table.sweep(now, self.config.max_open);
        let entry = table.entries.entry(endpoint.clone()).or_insert_with(|| Entry::new(now));
        entry.touched = now;
        entry.failures = entry.failures.saturating_add(1);
        let pause = match entry.state {
            State::Closed if entry.failures >= self.config.failures => self.config.open,
            State::HalfOpen { pause } if probe => (pause * 2).min(self.config.max_open),
            _ => return,
        };
        entry.state = State::Open { until: now + pause, pause };
        metrics::counter!("bridge_breaker_opened_total").increment(1);
        tracing::warn!(
            endpoint = %endpoint, failures = entry.failures, pause_s = pause.as_secs(),
            "breaker open: nothing is sent to this endpoint until a probe succeeds"
        );
    }

    /// The probe was never sent: the next to come may be it.
    fn give_back(&self, endpoint: &Endpoint) {
        if let Some(entry) = self.lock().entries.get_mut(endpoint)
            && let State::HalfOpen { pause } = entry.state
        {
            entry.state = State::Open { until: Instant::now(), pause };
        }
    }

    /// Every endpoint in trouble, for readiness and heartbeats.
    pub fn list(&self) -> Vec<BreakerListing> {
        let now = Instant::now();
        let table = self.lock();
        table.entries.iter().map(|(endpoint, entry)| entry.listing(endpoint, now)).collect()
    }

    /// How many endpoints are paused.
    pub fn open_count(&self) -> usize {
        self.lock().entries.values().filter(|entry| !matches!(entry.state, State::Closed)).count()
    }
}

impl Table {
    fn sweep(&mut self, now: Instant, forget_after: Duration) {
        if self.entries.len() < self.sweep_at.max(FIRST_SWEEP) {
            return;
        }
        self.entries.retain(|_, entry| match entry.state {
            State::HalfOpen { .. } => true,
            State::Closed => now.duration_since(entry.touched) < forget_after,
            State::Open { until, .. } => now < until + forget_after,
        });
        self.sweep_at = self.entries.len() * 2;
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self { failures: 0, state: State::Closed, touched: now }
    }

    fn listing(&self, endpoint: &Endpoint, now: Instant) -> BreakerListing {
        let (state, retry_after) = match self.state {
            State::Closed => (BreakerState::Closed, Duration::ZERO),
            State::Open { until, .. } => (BreakerState::Open, until.saturating_duration_since(now)),
            State::HalfOpen { pause } => (BreakerState::HalfOpen, pause),
        };
        BreakerListing { endpoint: endpoint.clone(), state, failures: self.failures, retry_after }
    }
}

/// The right to send one request. Whoever holds it reports how the endpoint did; dropping it
/// unreported (nothing was sent) says nothing about the endpoint.
#[derive(Debug)]
pub struct Pass {
    breakers: Breakers,
    endpoint: Endpoint,
    probe: bool,
    told: bool,
}

impl Pass {
    pub fn report(&mut self, well: bool) {
        if !std::mem::replace(&mut self.told, true) {
            self.breakers.report(&self.endpoint, well, self.probe);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe && !self.told {
            self.breakers.give_back(&self.endpoint);
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
