//! The relay: looks at every due timer, decides by the protocol's pure function, re-arms, and publishes.
//! It runs in every publisher; two of them never get the same timer.

mod backlog;
mod follow_ups;
mod maintenance;
mod notices;
mod outage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_bus::Admin;
use bridge_protocol::{Reason, RouteTable, State, TimerDecision, TimerInput, TimerPolicy, on_timer};
use bridge_service::clock::jitter;
use bridge_service::steps::STEPS;
use bridge_service::trace;
use bridge_service::trace::Later;
use bridge_store::{Due, Ended, Rung, Store};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::in_flight::InFlight;
use crate::outbound::{Message, Outbound, OutboundError};
use backlog::Backlogs;
use outage::Outage;

pub use follow_ups::tell;
pub use maintenance::{expire_results, maintain};
pub use notices::announce;

/// After an error of the database: long enough not to hammer, short enough not to be noticed.
const PAUSE: Duration = Duration::from_secs(1);
const TOPIC_PAUSE: Duration = Duration::from_secs(5);
/// A broker that is full is waited for so long; then the timers that need none ring.
const FULL: Duration = Duration::from_secs(1);

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
        let mut outage = Outage::default();
        while !stop.is_cancelled() {
            // Without the routes it would decide by attempts and rules that are not theirs.
            let pause = if relay.routes.load().revision() > 0 {
                // Without the broker, too: a lapsed lease, a silent callback and an expiry need none.
                let shut = outage.pause(relay.outbound.producers.is_up(), relay.limits.policy.patience);
                relay.clone().round(&backlogs, &publishing, &troubled, shut).await
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

    /// One look at the timers. With `shut` nothing is published: what would be is looked at again after so long.
    /// Returns how long to rest; None when there is more to do.
    async fn round(
        self: Arc<Self>,
        backlogs: &Backlogs,
        publishing: &Arc<Semaphore>,
        troubled: &Troubled,
        shut: Option<Duration>,
    ) -> Option<Duration> {
        let (limit, shut) = match shut {
            Some(_) => (self.limits.batch, shut),
            None => match self.room(publishing).await {
                0 => (self.limits.batch, Some(FULL)),
                room => (room.min(self.limits.batch), None),
            },
        };
        let started = Instant::now();
        let decider = {
            let (relay, backlogs, troubled) = (self.clone(), backlogs.clone(), troubled.clone());
            move |due: &Due| relay.decide(due, &backlogs, &troubled, shut)
        };
        let rung = match self.store.ring(limit, decider).await {
            Ok(rung) => rung,
            Err(error) => {
                tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "the relay could not look at the due timers; it tries again");
                metrics::counter!("bridge_relay_errors_total").increment(1);
                return Some(PAUSE);
            }
        };
        metrics::histogram!("bridge_relay_round_seconds").record(started.elapsed().as_secs_f64());
        count(&rung);
        rung.ended.iter().for_each(|(due, ended)| tell_end(due, ended));
        let more = rung.seen == limit && rung.left < rung.seen;
        if !rung.publish.is_empty() {
            bridge_service::failpoint::hit("relay.rearmed");
        }
        for (due, attempt) in rung.publish {
            // There is room, and nobody else takes of it.
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

    /// How many messages may be sent now. A full broker is waited for until there is room for half a batch.
    async fn room(&self, publishing: &Semaphore) -> usize {
        let wanted = (self.limits.batch.min(self.limits.publishing) / 2).max(1);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        // Only asked for: whoever is in time gives it back at once.
        let _in_time = tokio::time::timeout(FULL, publishing.acquire_many(wanted)).await.map(drop);
        publishing.available_permits()
    }

    fn decide(
        &self,
        due: &Due,
        backlogs: &Backlogs,
        troubled: &Troubled,
        shut: Option<Duration>,
    ) -> Option<TimerDecision> {
        let topic = self.outbound.names.topic(&due.tenant, due.lane);
        let target = self.routes.load().target(&due.tenant, &due.workflow, due.lane);
        let published = due.published_at.is_some() && matches!(due.state, State::Accepted | State::Retrying);
        let shut_for = shut.or_else(|| in_trouble(troubled, &topic).then_some(TOPIC_PAUSE));
        // What waits in the topic matters only for a message that may be there and that could be sent again; None puts
        // the decision off.
        let backlog = if published && shut_for.is_none() {
            backlogs.known(&topic)?
        } else {
            bridge_protocol::Backlog::Unknown
        };
        Some(on_timer(
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
                shut_for,
                on_unknown: target.on_unknown,
                now: due.now,
                jitter: jitter(),
            },
            &self.limits.policy,
        ))
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

/// Nobody is at work on what a timer ends: its span says when and why.
fn tell_end(due: &Due, ended: &Ended) {
    tracing::warn!(
        target: STEPS, step = "ended", execution_id = %due.id, tenant_id = due.tenant.as_str(),
        trace_id = due.traceparent.as_deref().and_then(trace::trace_id), workflow_id = due.workflow.as_str(),
        lane = due.lane.as_str(), attempt = due.attempt, state = ended.state.as_str(),
        reason = ended.reason.map(Reason::as_str), took_ms = ended.took.as_millis() as u64,
        "execution ended without success: its time was over"
    );
    let span = tracing::info_span!(
        parent: None,
        "end",
        otel.name = format_args!("end {}", ended.state),
        otel.kind = "internal",
        otel.status_code = "ERROR",
        execution.id = %due.id,
        tenant.id = due.tenant.as_str(),
        workflow.id = due.workflow.as_str(),
        lane = due.lane.as_str(),
        attempt = i64::from(due.attempt),
        error.type = ended.reason.map(Reason::as_str),
    );
    let traceparent = due.traceparent.as_deref();
    Later { tenant: &due.tenant, execution: due.id, traceparent, now: due.now }.join(&span);
}

fn count(rung: &Rung) {
    for (decision, number) in [
        ("publish", rung.publish.len()),
        ("rearm", rung.rearmed),
        ("end", rung.ended.len()),
        ("delete", rung.deleted),
        ("leave", rung.left),
    ] {
        metrics::counter!("bridge_relay_timers_total", "decision" => decision).increment(number as u64);
    }
}
