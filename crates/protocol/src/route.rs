//! A workflow's route: where it is fired and by which rules.

use serde::{Deserialize, Serialize};

use crate::closed_set::closed_set;
use crate::{Lane, RetryPolicy, SuccessRule, TenantId, WorkflowId};

closed_set! {
    /// The way to the webhook.
    pub enum Mode ("mode") {
        /// Through the broker.
        Pulsar = 0 => "pulsar",
        /// Straight from the publisher.
        Native = 1 => "native",
    }
}

closed_set! {
    /// What follows when nobody knows whether the workflow ran.
    pub enum OnUnknown ("on_unknown") {
        /// Run it again; it may run twice.
        Retry = 0 => "retry",
        /// Never run it twice; a person decides.
        DeadLetter = 1 => "dead_letter",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    pub lane: Option<Lane>,
    pub mode: Mode,
    /// May hold `{workflow_id}`. Without it the operator's default URL is used.
    pub webhook_url: Option<String>,
    /// Without it the lane's.
    pub timeout_ms: Option<u64>,
    pub retry: RetryPolicy,
    pub success: SuccessRule,
    pub on_unknown: OnUnknown,
    pub max_concurrency: Option<u32>,
    /// The name of the tenant's outgoing credential that a request logs in with.
    pub credential: Option<String>,
    /// An inactive route is a hold: accepted as ever, not fired.
    pub is_active: bool,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            lane: None,
            mode: Mode::Pulsar,
            webhook_url: None,
            timeout_ms: None,
            retry: RetryPolicy::default(),
            success: SuccessRule::default(),
            on_unknown: OnUnknown::Retry,
            max_concurrency: None,
            credential: None,
            is_active: true,
        }
    }
}

/// A route and whose it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteEntry {
    pub tenant: TenantId,
    pub workflow: WorkflowId,
    #[serde(flatten)]
    pub route: Route,
}
