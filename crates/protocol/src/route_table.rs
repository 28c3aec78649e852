//! Routing: which lane an execution takes, and what its message leads to.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use url::Url;

use crate::{Lane, Mode, OnUnknown, RetryPolicy, Route, RouteEntry, SuccessRule, TenantId, WorkflowId};

const PLACEHOLDER: &str = "{workflow_id}";

/// Where an execution goes, who decided it and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub lane: Lane,
    pub mode: Mode,
    /// `request`, `workflow`, `type` or `default`.
    pub decided_by: &'static str,
    pub reason: String,
}

/// Everything needed to fire.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub url: String,
    pub timeout: Duration,
    pub retry: RetryPolicy,
    pub success: SuccessRule,
    pub on_unknown: OnUnknown,
    pub max_concurrency: Option<u32>,
    /// The name of the tenant's outgoing credential that the request must carry.
    pub credential: Option<String>,
    /// The operator's own default URL: the guard against private addresses lets it pass.
    pub trusted_host: bool,
    /// False: a hold, nothing is fired.
    pub is_active: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error(
        "workflow {workflow} of tenant {tenant} has no route and strict_routes is on; add a route for it or correct workflow_id"
    )]
    Unrouted { tenant: TenantId, workflow: WorkflowId },
}

/// Everything that is wrong with the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTableError {
    pub faults: Vec<String>,
}

impl fmt::Display for RouteTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the routes cannot be used: {}", self.faults.join("; "))
    }
}

impl std::error::Error for RouteTableError {}

/// The routes of every tenant. Replace the whole to reload it.
#[derive(Debug, Clone)]
pub struct RouteTable {
    default_url: String,
    routes: HashMap<TenantId, HashMap<WorkflowId, Route>>,
    queue_enabled: bool,
    strict: bool,
}

impl RouteTable {
    /// `default_url` may hold `{workflow_id}`.
    pub fn new(
        default_url: String,
        routes: Vec<RouteEntry>,
        queue_enabled: bool,
        strict: bool,
    ) -> Result<Self, RouteTableError> {
        let mut faults = Vec::new();
        if let Err(fault) = check_url(&default_url) {
            faults.push(format!("the default webhook URL {fault}"));
        }
        let mut table: HashMap<TenantId, HashMap<WorkflowId, Route>> = HashMap::new();
        for RouteEntry { tenant, workflow, route } in routes {
            let whose = format!("route of workflow {workflow}, tenant {tenant}");
            faults.extend(route_faults(&route).into_iter().map(|fault| format!("{whose}: {fault}")));
            if table.entry(tenant).or_default().insert(workflow, route).is_some() {
                faults.push(format!("{whose}: it is there twice; keep one"));
            }
        }
        if !faults.is_empty() {
            return Err(RouteTableError { faults });
        }
        Ok(Self { default_url, routes: table, queue_enabled, strict })
    }

    /// The request's lane, else the workflow's, else `long`.
    pub fn decide(
        &self,
        tenant: &TenantId,
        workflow: &WorkflowId,
        _ty: Option<&str>,
        lane: Option<Lane>,
    ) -> Result<Decision, RouteError> {
        let route = self.route(tenant, workflow);
        if route.is_none() && self.strict {
            return Err(RouteError::Unrouted { tenant: tenant.clone(), workflow: workflow.clone() });
        }
        let (lane, decided_by, mut reason) = match (lane, route.and_then(|route| route.lane)) {
            (Some(lane), _) => (lane, "request", format!("the request asks for lane {lane}")),
            (None, Some(lane)) => (lane, "workflow", format!("the workflow's route names lane {lane}")),
            (None, None) if route.is_some() => {
                (Lane::Long, "default", "the workflow's route names no lane".to_owned())
            }
            (None, None) => (Lane::Long, "default", "the workflow has no route".to_owned()),
        };
        if !self.queue_enabled {
            reason.push_str("; the queue is switched off, but firing without it is not available yet");
        }
        Ok(Decision { lane, mode: Mode::Pulsar, decided_by, reason })
    }

    pub fn target(&self, tenant: &TenantId, workflow: &WorkflowId, lane: Lane) -> Target {
        let unrouted = Route::default();
        let route = self.route(tenant, workflow).unwrap_or(&unrouted);
        let template = route.webhook_url.as_ref().unwrap_or(&self.default_url);
        Target {
            // Every character of a workflow id may stand in a path as it is.
            url: template.replace(PLACEHOLDER, workflow.as_str()),
            timeout: route.timeout_ms.map_or(lane.webhook_timeout(), Duration::from_millis),
            retry: route.retry,
            success: route.success.clone(),
            on_unknown: route.on_unknown,
            max_concurrency: route.max_concurrency,
            credential: route.credential.clone(),
            trusted_host: route.webhook_url.is_none(),
            is_active: route.is_active,
        }
    }

    fn route(&self, tenant: &TenantId, workflow: &WorkflowId) -> Option<&Route> {
        self.routes.get(tenant)?.get(workflow)
    }
}

fn route_faults(route: &Route) -> Vec<String> {
    let mut faults = route.retry.faults();
    if let Some(Err(fault)) = route.webhook_url.as_deref().map(check_url) {
        faults.push(format!("webhook_url {fault}"));
    }
    if route.mode == Mode::Native {
        faults.push("mode native is not available yet; leave mode out".to_owned());
    }
    if !(1..=3_600_000).contains(&route.timeout_ms.unwrap_or(1)) {
        faults.push("timeout_ms must be 1 to 3600000".to_owned());
    }
    if route.max_concurrency == Some(0) {
        faults
            .push("max_concurrency must be at least 1; to stop a workflow set is_active = false".to_owned());
    }
    if route.credential.as_deref().is_some_and(|name| !is_credential_name(name)) {
        faults.push("credential must be 1 to 64 of a-z, 0-9 and -".to_owned());
    }
    if let SuccessRule::JsonField { pointer, .. } = &route.success
        && !pointer.is_empty()
        && !pointer.starts_with('/')
    {
        faults.push(format!("success pointer {pointer:?} must start with \"/\""));
    }
    faults
}

/// Is this the name of an outgoing credential?
pub fn is_credential_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The workflow's name may choose the path, never the host that is called.
fn check_url(template: &str) -> Result<(), String> {
    let filled = |id: &str| Url::parse(&template.replace(PLACEHOLDER, id));
    let (Ok(one), Ok(other)) = (filled("a"), filled("b")) else {
        return Err("is not a URL".to_owned());
    };
    if !matches!(one.scheme(), "http" | "https") || one.host().is_none() {
        return Err("must start with http:// or https:// and name a host".to_owned());
    }
    if one.origin() != other.origin() {
        return Err(format!("may hold {PLACEHOLDER} in its path and query only"));
    }
    if !one.username().is_empty() || one.password().is_some() {
        return Err("must not hold a user name or a password".to_owned());
    }
    Ok(())
}
