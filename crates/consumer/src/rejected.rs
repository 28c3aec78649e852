//! Messages that are not believed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bridge_bus::Delivery;
use bridge_protocol::Rejection;
use bridge_store::Rejected;
use metrics::counter;
use tokio::time::Instant;

use crate::job::End;
use crate::works::Works;

/// What of a forged message is kept for people.
const HEAD: usize = 256;

/// Counted always; a forged one is recorded and announced too, as far as the cap allows: a flood must
/// not fill Postgres or the dead-letter topic. Either way it is acknowledged, so that the good message
/// behind it is delivered.
pub async fn settle(works: &Works, delivery: &Delivery, rejection: Rejection) -> End {
    let (reason, message_id) = (rejection.reason(), &delivery.message_id);
    let Some(address) = works.names.parse(&delivery.topic) else { return End::Settled };
    works.tally.add("message", address.tenant.as_str(), reason);
    if !rejection.is_forged() {
        counter!("bridge_messages_stale_total", "reason" => reason).increment(1);
        tracing::debug!(topic = %delivery.topic, %message_id, reason, "stale message; its timer publishes it again if it still lives");
        return End::Settled;
    }
    counter!("bridge_messages_forged_total", "reason" => reason).increment(1);
    if !works.rejected.admit(Instant::now()) {
        counter!("bridge_messages_forged_unrecorded_total", "why" => "cap").increment(1);
        return End::Settled;
    }
    tracing::warn!(
        topic = %delivery.topic, tenant_id = %address.tenant, %message_id, reason,
        "forged message: not delivered; find out who may publish to this topic"
    );
    let rejected = Rejected {
        tenant: address.tenant,
        lane: address.lane,
        topic: delivery.topic.to_string(),
        message_id: message_id.to_string(),
        reason,
        head: delivery.body[..delivery.body.len().min(HEAD)].to_vec(),
    };
    if let Err(error) = works.store.record_rejected(&rejected).await {
        counter!("bridge_messages_forged_unrecorded_total", "why" => "store").increment(1);
        tracing::error!(
            error = &error as &dyn std::error::Error, topic = %delivery.topic, %message_id, reason,
            "the forged message could not be recorded; this line is its only record"
        );
    }
    End::Settled
}

/// So many per minute, counted in fixed minutes.
pub struct PerMinute {
    most: u32,
    window: Mutex<Option<(Instant, u32)>>,
}

impl PerMinute {
    pub fn new(most: u32) -> Self {
        Self { most, window: Mutex::new(None) }
    }

    fn admit(&self, now: Instant) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, used) = match *window {
            Some((begun, used)) if now.duration_since(begun) < Duration::from_secs(60) => (begun, used),
            _ => (now, 0),
        };
        let admitted = used < self.most;
        *window = Some((begun, used + u32::from(admitted)));
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_its_share() {
        let cap = PerMinute::new(2);
        let now = Instant::now();
        assert!(cap.admit(now) && cap.admit(now));
        assert!(!cap.admit(now + Duration::from_secs(59)));
        assert!(cap.admit(now + Duration::from_secs(60)));
    }
}
