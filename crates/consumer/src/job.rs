//! What is known of an execution before its claim.

use bridge_bus::Delivery;
use bridge_protocol::{Claims, ExecutionId, Lane, PayloadHash, TenantId, WorkflowId, logical_topic};

/// How a delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Whatever must survive is committed: ack.
    Settled,
    /// Postgres did not say that it is: the broker brings the message again.
    Unrecorded,
    /// The process is stopping and nothing was claimed: another consumer gets the message.
    Leaving,
}

/// A verified message.
#[derive(Debug, Clone)]
pub struct Job {
    pub tenant: TenantId,
    pub id: ExecutionId,
    /// The attempt the message was published for.
    pub attempt: u16,
    pub psh: PayloadHash,
    pub lane: Lane,
    pub topic: String,
    pub message_id: String,
    /// A property that nobody signed: good enough to choose a queue by, never believed.
    pub hint: Option<WorkflowId>,
    pub traceparent: Option<String>,
}

impl Job {
    /// `lane` is the topic's, which the signature binds.
    pub fn new(claims: Claims, lane: Lane, delivery: &Delivery) -> Self {
        let property = |name: &str| delivery.properties.get(name);
        Self {
            tenant: claims.tid,
            id: claims.sub,
            attempt: claims.att,
            psh: claims.psh,
            lane,
            topic: logical_topic(&delivery.topic).to_owned(),
            message_id: delivery.message_id.to_string(),
            hint: property("workflow_id").and_then(|id| WorkflowId::parse(id).ok()),
            traceparent: property("traceparent").cloned(),
        }
    }
}
