//! Where a workflow's executions are fired, and by which rules.

use bridge_protocol::{Lane, RouteTable, Target, TenantId, WorkflowId};
use bridge_webhook::SlotKey;
use url::Url;

#[derive(Debug, Clone)]
pub struct Aim {
    pub workflow: WorkflowId,
    pub lane: Lane,
    pub target: Target,
    pub url: Url,
    /// For the slot.
    pub key: SlotKey,
    /// Of the routes it was read from.
    pub revision: i64,
}

impl Aim {
    /// # Errors
    /// When the route's `webhook_url` is not a URL.
    pub fn of(
        routes: &RouteTable,
        tenant: &TenantId,
        workflow: WorkflowId,
        lane: Lane,
    ) -> Result<Self, url::ParseError> {
        let target = routes.target(tenant, &workflow, lane);
        let url = Url::parse(&target.url)?;
        let key = SlotKey::new(tenant, &workflow, lane, &url);
        Ok(Self { workflow, lane, target, url, key, revision: routes.revision() })
    }
}
