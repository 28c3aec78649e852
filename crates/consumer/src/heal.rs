//! Connected but not consuming: seen from our own idle permits against the broker's word on the backlog,
//! and cured by subscribing anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge_bus::{Admin, AdminError, Subscriptions, TopicBacklog, TopicHealth};
use bridge_protocol::Backlog;
use metrics::counter;
use tokio::time::Instant;

/// Subscriptions are looked at this often; the broker is asked about one at most once in `heal_after`.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Questions to the broker in one round: thousands of idle topics are asked about in turn.
const QUESTIONS_A_ROUND: usize = 64;

pub struct Healer {
    subscriptions: Arc<Subscriptions>,
    admin: Admin,
    subscription: String,
    heal_after: Duration,
    watched: Mutex<HashMap<Arc<str>, Watched>>,
}

/// A topic that receives nothing although it could.
struct Watched {
    asked_at: Instant,
    /// Since when messages wait for us and none moves, with the backlog as it was then.
    stuck: Option<(Instant, Waiting)>,
}

/// What the broker says of a topic that we believe to be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    /// That are in nobody's hands.
    messages: u64,
    earliest: Backlog,
    /// The broker knows of no consumer, not even of ours.
    forgotten: bool,
}

impl Waiting {
    fn of(found: &TopicBacklog, in_hand: usize) -> Self {
        let in_hand = in_hand as u64;
        // To the broker, what it sent ahead to a consumer that does not read looks taken. Alone on the
        // topic we know better; beside other consumers it may be theirs.
        let taken = if found.consumers > 1 { found.unacked.max(in_hand) } else { in_hand };
        let messages = found.count.saturating_sub(taken);
        Self { messages, earliest: found.backlog, forgotten: found.consumers == 0 }
    }

    fn is_well(&self) -> bool {
        self.messages == 0 && !self.forgotten
    }
}

impl Healer {
    pub fn new(
        subscriptions: Arc<Subscriptions>,
        admin: Admin,
        subscription: String,
        heal_after: Duration,
    ) -> Self {
        Self { subscriptions, admin, subscription, heal_after, watched: Mutex::default() }
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
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let stuck = watched.iter().filter(|(_, watched)| watched.stuck.is_some());
        stuck.map(|(topic, _)| topic.clone()).collect()
    }

    async fn look(&self) {
        let now = Instant::now();
        let idle: Vec<TopicHealth> = self
            .subscriptions
            .health()
            .into_iter()
            .filter(|health| is_idle(health, now, self.heal_after))
            .collect();
        for health in self.due(&idle, now) {
            let waiting = match self.waiting(&health).await {
                Ok(waiting) => waiting,
                Err(error) => {
                    counter!("bridge_backlog_questions_failed_total").increment(1);
                    tracing::debug!(topic = %health.topic, error = &error as &dyn std::error::Error, "backlog unknown");
                    continue;
                }
            };
            if self.judge(&health.topic, waiting) {
                counter!("bridge_consumer_heals_total").increment(1);
                tracing::warn!(
                    topic = %health.topic,
                    "connected, but messages wait and none arrives: subscribing anew"
                );
                self.subscriptions.rebuild(&health.topic);
            }
        }
    }

    /// Forgets what is busy again, and picks those whose turn it is, longest unasked first.
    fn due(&self, idle: &[TopicHealth], now: Instant) -> Vec<TopicHealth> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|topic, _| idle.iter().any(|health| health.topic == *topic));
        let asked = |health: &TopicHealth| watched.get(&health.topic).map(|watched| watched.asked_at);
        let mut due: Vec<&TopicHealth> =
            idle.iter().filter(|health| asked(health).is_none_or(|at| now - at >= self.heal_after)).collect();
        due.sort_by_key(|health| asked(health));
        due.truncate(QUESTIONS_A_ROUND);
        let due: Vec<TopicHealth> = due.into_iter().cloned().collect();
        for health in &due {
            let entry = watched.entry(health.topic.clone());
            entry.or_insert(Watched { asked_at: now, stuck: None }).asked_at = now;
        }
        due
    }

    /// Stuck for `heal_after`, by two looks at the same backlog?
    fn judge(&self, topic: &Arc<str>, waiting: Waiting) -> bool {
        let now = Instant::now();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watched) = watched.get_mut(topic) else { return false };
        if waiting.is_well() {
            watched.stuck = None;
            return false;
        }
        match &watched.stuck {
            Some((since, before)) if *before == waiting => {
                let rebuild = now.duration_since(*since) >= self.heal_after;
                if rebuild {
                    // It gets as long again before the next attempt.
                    watched.stuck = Some((now, waiting));
                }
                rebuild
            }
            _ => {
                watched.stuck = Some((now, waiting));
                false
            }
        }
    }

    async fn waiting(&self, health: &TopicHealth) -> Result<Waiting, AdminError> {
        let found = self.admin.backlog(&health.topic, &self.subscription).await?;
        Ok(Waiting::of(&found, health.permits_in_use))
    }
}

fn is_idle(health: &TopicHealth, now: Instant, heal_after: Duration) -> bool {
    let last = health.last_receive.into_iter().chain(health.last_ack).fold(health.since, Instant::max);
    health.connected && health.permits_in_use < health.permits && now.duration_since(last) >= heal_after
}
