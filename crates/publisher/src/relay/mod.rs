//! The relay: looks at every due timer, decides by the protocol's pure function, re-arms, and publishes.
//! It runs in every publisher; two of them never get the same timer.

mod backlog;
mod follow_ups;
mod maintenance;
mod notices;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_bus::Admin;
use bridge_protocol::{RouteTable, State, Time, TimerDecision, TimerInput, TimerPolicy, on_timer};
use bridge_service::clock::jitter;
use bridge_store::{Due, Rung, Store};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::in_flight::InFlight;
use crate::outbound::{Message, Outbound, OutboundError};
use backlog::Backlogs;

pub use follow_ups::tell;
pub use maintenance::{expire_results, maintain};
pub use notices::announce;

/// After an error of the database: long enough not to hammer, short enough not to be noticed.
const PAUSE: Duration = Duration::from_secs(1);
const TOPIC_PAUSE: Duration = Duration::from_secs(5);

pub struct RelayLimits {
    pub poll: Duration,
    pub batch: usize,
    pub policy: TimerPolicy,
    pub backlog_max_age: Duration,
    /// Publishes of the relay that may be under way.
    pub publishing: usize,
}

pub struct Relay {
    pub store: Store,
    pub outbound: Arc<Outbound>,
    pub in_flight: InFlight,
    pub routes: Arc<ArcSwap<RouteTable>>,
    pub admin: Admin,
    pub subscription: String,
    pub limits: RelayLimits,
    pub tasks: TaskTracker,
}

/// Topics that refused a message, and until when they are left alone.
type Troubled = Arc<Mutex<HashMap<String, Instant>>>;

impl Relay {
    pub async fn run(self, stop: CancellationToken) {
        let relay = Arc::new(self);
        let backlogs =
            Backlogs::new(relay.admin.clone(), relay.subscription.clone(), relay.limits.backlog_max_age);
        let publishing = Arc::new(Semaphore::new(relay.limits.publishing));
        let troubled = Troubled::default();
        while !stop.is_cancelled() {
            // Without the routes it would decide by attempts and rules that are not theirs.
            let pause = if relay.outbound.producers.is_up() && relay.routes.load().revision() > 0 {
                relay.clone().round(&backlogs, &publishing, &troubled).await
            } else {
                Some(relay.limits.poll)
            };
            if let Some(pause) = pause {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    /// One look at the timers. Returns how long to rest; None when there is more to do.
    async fn round(
        self: Arc<Self>,
        backlogs: &Backlogs,
        publishing: &Arc<Semaphore>,
        troubled: &Troubled,
    ) -> Option<Duration> {
        let started = Instant::now();
        let decider = {
            let (relay, backlogs, troubled) = (self.clone(), backlogs.clone(), troubled.clone());
            move |due: &Due| relay.decide(due, &backlogs, &troubled)
        };
        let rung = match self.store.ring(self.limits.batch, decider).await {
            Ok(rung) => rung,
            Err(error) => {
                tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "the relay could not look at the due timers; it tries again");
                metrics::counter!("bridge_relay_errors_total").increment(1);
                return Some(PAUSE);
            }
        };
        metrics::histogram!("bridge_relay_round_seconds").record(started.elapsed().as_secs_f64());
        count(&rung);
        let more = rung.seen == self.limits.batch && rung.left < rung.seen;
        if !rung.publish.is_empty() {
            bridge_service::failpoint::hit("relay.rearmed");
        }
        for (due, attempt) in rung.publish {
            // The pause of a full broker falls here, outside any transaction.
            let Ok(permit) = publishing.clone().acquire_owned().await else { return Some(PAUSE) };
            let Some(passage) = self.in_flight.enter(due.id) else { continue };
            let (relay, troubled) = (self.clone(), troubled.clone());
            self.tasks.spawn(async move {
                relay.publish(due, attempt, &troubled).await;
                drop((passage, permit));
            });
        }
        let asked = backlogs.refresh().await;
        (!more && !asked).then_some(self.limits.poll)
    }

    fn decide(&self, due: &Due, backlogs: &Backlogs, troubled: &Troubled) -> Option<TimerDecision> {
        let topic = self.outbound.names.topic(&due.tenant, due.lane);
        let target = self.routes.load().target(&due.tenant, &due.workflow, due.lane);
        let published = due.published_at.is_some() && matches!(due.state, State::Accepted | State::Retrying);
        // What waits in the topic matters only for a message that may be there; None puts the decision off.
        let backlog = if published { backlogs.known(&topic)? } else { bridge_protocol::Backlog::Unknown };
        let decision = on_timer(
            &TimerInput {
                state: due.state,
                mode: due.mode,
                attempt: due.attempt,
                max_attempts: target.retry.max_attempts,
                deliver_at: due.deliver_at,
                expires_at: due.expires_at,
                lease_until: due.lease_until,
                last_published_at: due.published_at,
                publishes: due.publishes,
                in_flight_here: self.in_flight.contains(due.id),
                backlog,
                on_unknown: target.on_unknown,
                now: due.now,
                jitter: jitter(),
            },
            &self.limits.policy,
        );
        match decision {
            TimerDecision::Publish { .. } if in_trouble(troubled, &topic) => {
                Some(TimerDecision::Rearm(soon(due.now, TOPIC_PAUSE, jitter())))
            }
            decision => Some(decision),
        }
    }

    async fn publish(&self, due: Due, attempt: u16, troubled: &Troubled) {
        let message = Message {
            tenant: due.tenant,
            id: due.id,
            workflow: due.workflow,
            lane: due.lane,
            attempt,
            psh: due.psh,
            traceparent: due.traceparent,
        };
        match self.outbound.publish(&message).await {
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    execution_id = %message.id, tenant_id = %message.tenant, error = %error, cause = ?std::error::Error::source(&error),
                    "the relay could not publish; the execution's timer is armed and tries again"
                );
                if let OutboundError::Publish(bridge_bus::PublishError::Refused(_)) = error {
                    let topic = self.outbound.topic(&message);
                    lock(troubled).insert(topic, Instant::now() + TOPIC_PAUSE);
                }
            }
        }
    }
}

fn in_trouble(troubled: &Troubled, topic: &str) -> bool {
    let mut troubled = lock(troubled);
    match troubled.get(topic) {
        Some(until) if *until > Instant::now() => true,
        Some(_) => {
            troubled.remove(topic);
            false
        }
        None => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn soon(now: Time, by: Duration, jitter: f64) -> Time {
    now + by.mul_f64(1.0 + jitter)
}

fn count(rung: &Rung) {
    for (decision, number) in [
        ("publish", rung.publish.len()),
        ("rearm", rung.rearmed),
        ("end", rung.ended),
        ("delete", rung.deleted),
        ("leave", rung.left),
    ] {
        metrics::counter!("bridge_relay_timers_total", "decision" => decision).increment(number as u64);
    }
}
