//! What is said in the log, and not a thousand times.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bridge_protocol::TenantId;
use tokio::time::Instant;

/// Of each tenant's troubles one line a minute: all of its messages meet the same.
#[derive(Default)]
pub struct Said(Mutex<HashMap<TenantId, Instant>>);

const SAY_EVERY: Duration = Duration::from_secs(60);
/// Beyond this, tenants whose minute is over are forgotten.
const REMEMBERED: usize = 1024;

impl Said {
    pub fn may_say(&self, tenant: &TenantId, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: &Instant| now.saturating_duration_since(*at) < SAY_EVERY;
        if said.get(tenant).is_some_and(recent) {
            return false;
        }
        if said.len() >= REMEMBERED {
            said.retain(|_, at| recent(at));
        }
        said.len() < REMEMBERED && {
            said.insert(tenant.clone(), now);
            true
        }
    }
}

/// The holds that stopped something within the last minute, for the heartbeat.
#[derive(Default)]
pub struct HoldsMet(Mutex<HashMap<(TenantId, String), Instant>>);

impl HoldsMet {
    pub fn met(&self, tenant: &TenantId, id: &str, now: Instant) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() >= REMEMBERED {
            met.retain(|_, at| now.saturating_duration_since(*at) < SAY_EVERY);
        }
        if met.len() < REMEMBERED {
            met.insert((tenant.clone(), id.to_owned()), now);
        }
    }

    /// At most `limit` of them.
    pub fn list(&self, now: Instant, limit: usize) -> Vec<(TenantId, String)> {
        let met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = met.iter().filter(|(_, at)| now.saturating_duration_since(**at) < SAY_EVERY);
        recent.map(|(which, _)| which.clone()).take(limit).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_for_each_tenant() {
        let (said, now) = (Said::default(), Instant::now());
        let (a, b) = (TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        assert!(said.may_say(&a, now) && said.may_say(&b, now));
        assert!(!said.may_say(&a, now + Duration::from_secs(59)));
        assert!(said.may_say(&a, now + SAY_EVERY));
    }

    #[test]
    fn a_hold_is_named_as_long_as_it_stops_something() {
        let (holds, now) = (HoldsMet::default(), Instant::now());
        let acme = TenantId::parse("acme").unwrap();
        holds.met(&acme, "nightly", now);
        assert_eq!(holds.list(now, 9), [(acme.clone(), "nightly".to_owned())]);
        assert_eq!(holds.list(now + SAY_EVERY, 9), []);
    }
}
