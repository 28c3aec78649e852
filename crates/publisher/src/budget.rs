//! How much may be at work at once: publish requests, and the bytes of their bodies.

use std::sync::Arc;
use std::time::Duration;

use bridge_service::Problem;
use http::StatusCode;
use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in these, because a semaphore counts to 2^32 at most in one step.
const UNIT: usize = 1024;

pub struct Budget {
    requests: Arc<Semaphore>,
    units: Arc<Semaphore>,
    /// How many there are of each.
    most: (usize, usize),
}

/// A request's share; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    _request: OwnedSemaphorePermit,
    units: OwnedSemaphorePermit,
    all_units: Arc<Semaphore>,
}

impl Budget {
    pub fn new(requests: usize, bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT);
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            units: Arc::new(Semaphore::new(units)),
            most: (requests, units),
        }
    }

    /// What is taken of it, and how much there is.
    pub fn show(&self) {
        let (requests, units) = self.most;
        let taken = requests.saturating_sub(self.requests.available_permits());
        gauge!("bridge_inflight_requests").set(taken as f64);
        gauge!("bridge_inflight_requests_max").set(requests as f64);
        let taken = units.saturating_sub(self.units.available_permits());
        gauge!("bridge_inflight_bytes").set((taken * UNIT) as f64);
        gauge!("bridge_inflight_bytes_max").set((units * UNIT) as f64);
    }

    /// A share for a request of (so far) `bytes`.
    pub fn take(&self, bytes: usize) -> Result<Share, Problem> {
        let request = self.requests.clone().try_acquire_owned().map_err(|_| busy("requests"))?;
        let units = acquire(&self.units, bytes)?;
        Ok(Share { _request: request, units, all_units: self.units.clone() })
    }
}

impl Share {
    /// Adds so many bytes to the share.
    pub fn grow_by(&mut self, bytes: usize) -> Result<(), Problem> {
        self.units.merge(acquire(&self.all_units, bytes)?);
        Ok(())
    }

    /// Makes the share large enough for `bytes` in all.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let missing = bytes.div_ceil(UNIT).saturating_sub(self.units.num_permits());
        if missing > 0 {
            self.units.merge(acquire(&self.all_units, missing * UNIT)?);
        }
        Ok(())
    }
}

fn acquire(units: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let number = u32::try_from(bytes.div_ceil(UNIT)).map_err(|_| busy("bytes"))?;
    units.clone().try_acquire_many_owned(number).map_err(|_| busy("bytes"))
}

fn busy(what: &'static str) -> Problem {
    metrics::counter!("bridge_publish_refused_total", "reason" => what).increment(1);
    let detail = "the bridge has as much at work as it may; repeat the request after the Retry-After time";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", detail)
        .retry_after(Duration::from_secs(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_shares_come_back() {
        let budget = Budget::new(2, 10 * UNIT);
        let mut one = budget.take(4 * UNIT).unwrap();
        one.grow_to(3 * UNIT).unwrap();
        one.grow_to(6 * UNIT + 1).unwrap();
        assert_eq!(budget.units.available_permits(), 3);
        assert!(one.grow_to(11 * UNIT).is_err());
        let two = budget.take(UNIT).unwrap();
        assert_eq!(budget.take(0).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop((one, two));
        assert_eq!((budget.units.available_permits(), budget.requests.available_permits()), (10, 2));
    }
}
