//! The decision that an execution carries: its lane, its way and its end, who decided and why.

use crate::{Completion, Lane, Mode, Route, RouteTable, TenantId, WorkflowId};

/// What the request itself asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    pub lane: Option<Lane>,
    pub completion: Option<Completion>,
    pub delayed: bool,
    pub batch: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub lane: Lane,
    pub mode: Mode,
    pub completion: Completion,
    /// The workflow that is told of a bad end.
    pub on_failure: Option<WorkflowId>,
    /// `request`, `workflow`, `type`, `tenant` or `default`: the most particular one that had a say in lane or mode.
    pub decided_by: &'static str,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error(
        "workflow {workflow} of tenant {tenant} has no route and strict_routes is on; add a route for it or correct workflow_id"
    )]
    Unrouted { tenant: TenantId, workflow: WorkflowId },
    #[error(
        "workflow {workflow} of tenant {tenant} shares the name of its N8N_WEBHOOK_ override with another routed \
         workflow, so nobody knows which one is meant; give their routes a webhook_url"
    )]
    SharedOverride { tenant: TenantId, workflow: WorkflowId },
}

/// Who may decide, the most particular first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Request,
    Workflow,
    Type,
    Tenant,
    Default,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Workflow => "workflow",
            Self::Type => "type",
            Self::Tenant => "tenant",
            Self::Default => "default",
        }
    }
}

/// Types every installation knows; a tenant's rule of the same name replaces them.
fn built_in(ty: &str) -> Option<Mode> {
    match ty {
        "crm_sync" | "webhook_reply" | "ui_update" => Some(Mode::Native),
        "ai_enrichment" | "data_pipeline" | "batch" => Some(Mode::Pulsar),
        _ => None,
    }
}

/// The three routes that may apply, each with who speaks by it.
struct Voices<'a> {
    workflow: Option<&'a Route>,
    ty: Option<(&'a str, Option<&'a Route>)>,
    tenant: Option<&'a Route>,
}

impl Voices<'_> {
    /// The first of them that says something of it.
    fn first<T>(&self, say: impl Fn(&Route) -> Option<T>) -> Option<(T, By)> {
        let by = |route: Option<&Route>, by| route.and_then(&say).map(|said| (said, by));
        by(self.workflow, By::Workflow)
            .or_else(|| by(self.ty.and_then(|(_, rule)| rule), By::Type))
            .or_else(|| by(self.tenant, By::Tenant))
    }

    fn named(&self, by: By) -> String {
        match by {
            By::Request => "the request".to_owned(),
            By::Workflow => "the workflow's route".to_owned(),
            By::Type => format!("the rule for type {}", self.ty.map_or("", |(name, _)| name)),
            By::Tenant => "the tenant's default route".to_owned(),
            By::Default => "the built-in default".to_owned(),
        }
    }
}

impl RouteTable {
    /// Lane: the request's, the workflow's, the type's, the tenant's, `long`. Mode: the same without the request, and
    /// with the built-in types. Completion: as the lane, else the webhook's answer.
    pub fn decide(
        &self,
        tenant: &TenantId,
        workflow: &WorkflowId,
        ty: Option<&str>,
        asked: Asked,
    ) -> Result<Decision, RouteError> {
        let routes = self.routes(tenant);
        let own = routes.and_then(|routes| routes.workflow(workflow));
        let voices = Voices {
            workflow: own,
            ty: ty.map(|ty| (ty, routes.and_then(|routes| routes.of_type(ty)))),
            tenant: routes.and_then(|routes| routes.tenant_default()),
        };
        let overridden = self.override_of(workflow).is_some();
        if self.defaults.strict && own.is_none() && !overridden {
            return Err(RouteError::Unrouted { tenant: tenant.clone(), workflow: workflow.clone() });
        }
        let own_url = own.is_some_and(|route| route.webhook_url.is_some());
        if overridden && !own_url && routes.is_some_and(|routes| routes.is_shared(workflow)) {
            return Err(RouteError::SharedOverride { tenant: tenant.clone(), workflow: workflow.clone() });
        }
        let (lane, lane_by) = asked
            .lane
            .map(|lane| (lane, By::Request))
            .or_else(|| voices.first(|route| route.lane))
            .unwrap_or((Lane::Long, By::Default));
        let (completion, completion_by) = asked
            .completion
            .map(|completion| (completion, By::Request))
            .or_else(|| voices.first(|route| route.completion))
            .unwrap_or((Completion::Response, By::Default));
        let on_failure = voices.first(|route| route.on_failure.clone()).map(|(told, _)| told.workflow_id);
        let (wanted, wanted_by) = self.mode(&voices);
        let lane_reason = match lane_by {
            By::Default if own.is_some() => format!("lane {lane}: no route names another"),
            By::Default => format!("lane {lane}: the workflow has no route and nothing else names another"),
            by => format!("lane {lane}: {} names it", voices.named(by)),
        };
        let forbidden = never_native(&asked).map(|why| (why, By::Request)).or_else(|| {
            (completion == Completion::Callback).then_some(("its result comes by callback", completion_by))
        });
        let (mode, mode_by, mode_reason) = match (wanted, forbidden) {
            (Mode::Native, Some((why, by))) => (Mode::Pulsar, by, format!("pulsar instead of native: {why}")),
            (mode, _) if wanted_by != By::Default => {
                (mode, wanted_by, format!("{mode}: {} says so", voices.named(wanted_by)))
            }
            (Mode::Native, _) => (Mode::Native, By::Default, "native: the queue is switched off".to_owned()),
            (Mode::Pulsar, _) => (Mode::Pulsar, By::Default, String::new()),
        };
        let reason =
            if mode_reason.is_empty() { lane_reason } else { format!("{lane_reason}; {mode_reason}") };
        Ok(Decision { lane, mode, completion, on_failure, decided_by: lane_by.min(mode_by).as_str(), reason })
    }

    fn mode(&self, voices: &Voices) -> (Mode, By) {
        let workflow = voices.workflow.and_then(|route| route.mode).map(|mode| (mode, By::Workflow));
        let of_type = || {
            let (name, rule) = voices.ty?;
            // A rule of the tenant's that leaves the mode open leaves it to the next, not to the built-in type.
            rule.map_or_else(|| built_in(name), |rule| rule.mode).map(|mode| (mode, By::Type))
        };
        let tenant = || voices.tenant.and_then(|route| route.mode).map(|mode| (mode, By::Tenant));
        let default = if self.defaults.queue_enabled { Mode::Pulsar } else { Mode::Native };
        workflow.or_else(of_type).or_else(tenant).unwrap_or((default, By::Default))
    }
}

/// Why the request must go through the broker, whatever the routes say.
fn never_native(asked: &Asked) -> Option<&'static str> {
    if asked.delayed {
        Some("it is delayed")
    } else if asked.batch {
        Some("it is one of a batch")
    } else if asked.lane.is_some() {
        Some("the request names a lane")
    } else {
        None
    }
}
