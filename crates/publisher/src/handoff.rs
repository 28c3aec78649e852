//! The direct hand-off: what was just accepted goes to the topic at once, in the background, within a bound.
//! It never delays the 202. Whatever it drops or fails to publish, the execution's timer publishes later.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::in_flight::InFlight;
use crate::outbound::{Message, Outbound};

#[derive(Clone)]
pub struct Handoff {
    outbound: Arc<Outbound>,
    in_flight: InFlight,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// A place in the hand-off, taken before the execution is accepted: without one its timer is due at once.
pub struct Slot {
    handoff: Handoff,
    permit: OwnedSemaphorePermit,
}

impl Handoff {
    pub fn new(outbound: Arc<Outbound>, in_flight: InFlight, capacity: usize, tasks: TaskTracker) -> Self {
        Self { outbound, in_flight, slots: Arc::new(Semaphore::new(capacity)), tasks }
    }

    /// None while the broker is away or the hand-off is full.
    pub fn reserve(&self) -> Option<Slot> {
        let refused = if !self.outbound.producers.is_up() {
            "broker_down"
        } else if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            return Some(Slot { handoff: self.clone(), permit });
        } else {
            "full"
        };
        metrics::counter!("bridge_handoff_refused_total", "reason" => refused).increment(1);
        None
    }
}

impl Slot {
    pub fn send(self, message: Message) {
        let Self { handoff, permit } = self;
        let Some(passage) = handoff.in_flight.enter(message.id) else { return };
        let outbound = handoff.outbound;
        handoff.tasks.spawn(async move {
            if let Err(error) = outbound.publish(&message).await {
                tracing::warn!(
                    execution_id = %message.id, tenant_id = %message.tenant, error = %error, cause = ?std::error::Error::source(&error),
                    "the hand-off did not reach the topic; the execution's timer will publish it"
                );
            }
            drop((passage, permit));
        });
    }
}
