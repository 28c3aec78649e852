//! Connected but not consuming: seen from our own idle permits against the broker's word on the backlog,
//! and cured by subscribing anew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bridge_bus::{Admin, Subscriptions};
use metrics::counter;
use tokio::time::Instant;

use crate::watch::{Waiting, Watch};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Questions to the broker in one round: thousands of idle topics are asked about in turn.
const QUESTIONS_A_ROUND: usize = 64;

pub struct Healer {
    subscriptions: Arc<Subscriptions>,
    admin: Admin,
    subscription: String,
    watch: Mutex<Watch>,
}

impl Healer {
    pub fn new(
        subscriptions: Arc<Subscriptions>,
        admin: Admin,
        subscription: String,
        heal_after: Duration,
    ) -> Self {
        Self { subscriptions, admin, subscription, watch: Mutex::new(Watch::new(heal_after)) }
    }

    pub async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    /// Topics where messages wait and nothing moves, for readiness.
    pub fn stuck(&self) -> Vec<Arc<str>> {
        self.watch().stuck()
    }

    async fn look(&self) {
        let due = self.watch().due(self.subscriptions.health(), Instant::now(), QUESTIONS_A_ROUND);
        for topic in due {
            let found = match self.admin.backlog(&topic.topic, &self.subscription).await {
                Ok(found) => found,
                Err(error) => {
                    counter!("bridge_backlog_questions_failed_total").increment(1);
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(topic = %topic.topic, error, "the broker does not say what waits");
                    continue;
                }
            };
            let waiting = Waiting::of(&found, topic.permits_in_use);
            if self.watch().judge(&topic.topic, waiting, Instant::now()) {
                counter!("bridge_consumer_heals_total").increment(1);
                tracing::warn!(
                    topic = %topic.topic, backlog = found.count, consumers = found.consumers,
                    "connected, but messages wait and none arrives: subscribing anew"
                );
                self.subscriptions.rebuild(&topic.topic);
            }
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
