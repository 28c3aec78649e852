//! From an accepted execution to its signed message in the tenant's topic. Used by the direct hand-off and the relay.

use std::time::Duration;

use bridge_bus::{MessageId, Outgoing, Producers, PublishError};
use bridge_protocol::{
    Claims, ExecutionId, Lane, PayloadHash, SignError, TenantId, TopicNames, VERSION, WorkflowId,
};
use bridge_service::clock::SharedClock;
use bridge_service::signing_gate::SigningGate;
use bridge_service::steps::STEPS;
use bridge_service::trace;
use tokio::time::Instant;
use tracing::Instrument;

/// What a message says, and what its properties repeat for people.
#[derive(Clone, Debug)]
pub struct Message {
    pub tenant: TenantId,
    pub id: ExecutionId,
    pub workflow: WorkflowId,
    pub lane: Lane,
    pub attempt: u16,
    pub psh: PayloadHash,
    pub traceparent: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("the message could not be signed")]
    Sign(#[from] SignError),
    #[error("the message did not reach its topic")]
    Publish(#[from] PublishError),
}

pub struct Outbound {
    pub producers: Producers,
    pub keys: SigningGate,
    pub names: TopicNames,
    pub issuer: String,
    pub lifetime: Duration,
    pub clock: SharedClock,
}

impl Outbound {
    pub fn topic(&self, message: &Message) -> String {
        self.names.topic(&message.tenant, message.lane)
    }

    /// Returns with the broker's receipt. A failure is not repeated here: the execution's timer is the repetition.
    pub async fn publish(&self, message: &Message) -> Result<MessageId, OutboundError> {
        let topic = self.topic(message);
        let span = tracing::info_span!(
            parent: None,
            "send",
            otel.name = format_args!("send {topic}"),
            otel.kind = "producer",
            messaging.system = "pulsar",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = topic.as_str(),
            messaging.message.id = tracing::field::Empty,
            execution.id = %message.id,
            tenant.id = message.tenant.as_str(),
            workflow.id = message.workflow.as_str(),
            lane = message.lane.as_str(),
            // Unsigned numbers would become texts.
            attempt = i64::from(message.attempt),
            error.type = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        let traceparent = message.traceparent.as_deref();
        let now = self.clock.now();
        trace::Later { tenant: &message.tenant, execution: message.id, traceparent, now }.join(&span);
        let started = Instant::now();
        let outcome = self.send(message, &topic, &span).instrument(span.clone()).await;
        let label = match &outcome {
            Ok(id) => {
                span.record("messaging.message.id", id.as_str());
                tracing::debug!(
                    target: STEPS, step = "published", execution_id = %message.id, tenant_id = message.tenant.as_str(),
                    trace_id = traceparent.and_then(trace::trace_id), workflow_id = message.workflow.as_str(),
                    lane = message.lane.as_str(), attempt = message.attempt, message_id = id.as_str(), "published"
                );
                "ok"
            }
            Err(OutboundError::Sign(_)) => "unsigned",
            Err(OutboundError::Publish(PublishError::TimedOut)) => "timed_out",
            Err(OutboundError::Publish(PublishError::Down)) => "down",
            Err(OutboundError::Publish(_)) => "refused",
        };
        if outcome.is_err() {
            trace::failed(&span, label);
        }
        metrics::counter!("bridge_messages_published_total", "lane" => message.lane.as_str(), "outcome" => label)
            .increment(1);
        metrics::histogram!("bridge_publish_seconds", "lane" => message.lane.as_str())
            .record(started.elapsed().as_secs_f64());
        outcome
    }

    async fn send(
        &self,
        message: &Message,
        topic: &str,
        span: &tracing::Span,
    ) -> Result<MessageId, OutboundError> {
        let now = self.clock.now().timestamp();
        let body = self.keys.sign(&Claims {
            v: VERSION,
            iss: self.issuer.clone(),
            aud: topic.to_owned(),
            sub: message.id,
            tid: message.tenant.clone(),
            iat: now,
            exp: now.saturating_add(self.lifetime.as_secs() as i64),
            // One message an attempt and a second: enough to tell two publishes apart, without drawing randomness.
            jti: format!("{}.{}.{now}", message.id, message.attempt),
            att: message.attempt,
            psh: message.psh,
        })?;
        let mut properties = vec![
            ("execution_id".to_owned(), message.id.to_string()),
            ("tenant_id".to_owned(), message.tenant.to_string()),
            ("workflow_id".to_owned(), message.workflow.to_string()),
            ("lane".to_owned(), message.lane.as_str().to_owned()),
            ("attempt".to_owned(), message.attempt.to_string()),
        ];
        if let Some(traceparent) = trace::inject_span(span).or_else(|| message.traceparent.clone()) {
            properties.push(("traceparent".to_owned(), traceparent));
        }
        Ok(self.producers.publish(topic, Outgoing { body, properties }).await?)
    }
}
