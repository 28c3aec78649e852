//! What a tenant may use: its rate, and its quotas of open executions and of payload bytes a day.
//! Deciding takes neither a lock that is held for long nor a look at the database; [`upkeep`] keeps the figures fresh.

mod account;
mod bucket;
mod standing;
mod upkeep;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bridge_protocol::{TenantId, Time};
use bridge_service::Problem;
use bridge_service::directory::Tenant;
use chrono::{Days, NaiveTime};
use http::StatusCode;
use tokio::time::Instant;

use account::Account;
pub use account::Charge;
pub use bucket::Throttle;
use bucket::{Rate, nanos_since};
pub use standing::{Metered, Refusal, Standing};
pub use upkeep::keep;

pub struct Allowances {
    started: Instant,
    /// Of the directory's tenants only.
    accounts: RwLock<HashMap<TenantId, Arc<Account>>>,
    /// Publishers alive: each lets its share of a tenant's rate pass.
    publishers: AtomicU32,
}

impl Default for Allowances {
    fn default() -> Self {
        Self { started: Instant::now(), accounts: RwLock::default(), publishers: AtomicU32::new(1) }
    }
}

impl Allowances {
    /// Takes so many requests of the tenant's rate.
    pub fn pass(&self, tenant: &Tenant, requests: u64) -> Result<Metered, Refusal> {
        let Some(rate) = self.rate(tenant) else { return Ok(Metered(None)) };
        let account = self.account(&tenant.id);
        let quota = rate.burst();
        let standing = |left, full_in| {
            let per_second = tenant.limits.requests_per_second.unwrap_or(1.0) / f64::from(self.publishers());
            let window = Duration::try_from_secs_f64(quota as f64 / per_second).unwrap_or(Duration::MAX);
            Metered(Some(Standing { quota, window, left, full_in }))
        };
        match account.bucket.take(rate, requests, nanos_since(self.started)) {
            Ok(level) => Ok(standing(level.left, level.full_in)),
            Err(wait) => {
                metrics::counter!("bridge_publish_refused_total", "reason" => "rate").increment(1);
                Err(Refusal { metered: standing(0, wait), problem: too_fast(&tenant.id, wait) })
            }
        }
    }

    /// For a request that passed and was then refused as a whole.
    pub fn give_back(&self, tenant: &Tenant, requests: u64) {
        if let Some(rate) = self.rate(tenant) {
            self.account(&tenant.id).bucket.give_back(rate, requests);
        }
    }

    /// Counts an execution against the tenant's quotas.
    pub fn charge(&self, tenant: &Tenant, bytes: usize, now: Time) -> Result<Charge, Problem> {
        let (charge, used) = self.account(&tenant.id).charge(bytes);
        let over = |limit: Option<u64>, used: i64| {
            limit.filter(|limit| u64::try_from(used).is_ok_and(|used| used > *limit))
        };
        if let Some(limit) = over(tenant.limits.open_executions, used.open) {
            let end = "it ends as soon as some of them have ended";
            return Err(exhausted(&tenant.id, "open_executions", format!("{limit} open executions"), end));
        }
        if let Some(limit) = over(tenant.limits.payload_bytes_per_day, used.bytes_today) {
            let end = format!("it ends at {}", midnight(now).format("%Y-%m-%dT%H:%M:%SZ"));
            return Err(exhausted(&tenant.id, "payload_bytes_per_day", format!("{limit} bytes a day"), &end));
        }
        Ok(charge)
    }

    fn publishers(&self) -> u32 {
        self.publishers.load(Relaxed).max(1)
    }

    /// This process's share.
    fn rate(&self, tenant: &Tenant) -> Option<Rate> {
        let per_second = tenant.limits.requests_per_second?;
        let burst = tenant.limits.burst.map_or(per_second.ceil(), f64::from);
        let share = f64::from(self.publishers());
        Some(Rate::new(per_second / share, (burst / share).ceil() as u64))
    }

    fn account(&self, tenant: &TenantId) -> Arc<Account> {
        let known = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned();
        known.unwrap_or_else(|| {
            let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
            accounts.entry(tenant.clone()).or_default().clone()
        })
    }
}

fn too_fast(tenant: &TenantId, wait: Duration) -> Problem {
    let detail = format!(
        "tenant {tenant} sends more requests than its limit allows; repeat the request after the Retry-After time, or \
         have the limit raised"
    );
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests", detail).retry_after(wait)
}

fn exhausted(tenant: &TenantId, quota: &'static str, value: String, end: &str) -> Problem {
    metrics::counter!("bridge_publish_refused_total", "reason" => quota).increment(1);
    let detail = format!(
        "tenant {tenant} goes beyond its quota {quota} of {value} with this request; {end}, or have it raised"
    );
    Problem::new(StatusCode::FORBIDDEN, "quota-exceeded", "Quota exceeded", detail)
}

/// Days are UTC.
fn midnight(now: Time) -> Time {
    let tomorrow = now.date_naive().checked_add_days(Days::new(1)).unwrap_or(now.date_naive());
    tomorrow.and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
