//! Where executions go: every tenant's routes and holds, as of one revision.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::tenant_routes::TenantRoutes;
use crate::web_url::{check_webhook_url, fill};
use crate::{
    BodyShape, Hold, Lane, Mode, OnUnknown, RetryPolicy, Route, RouteName, SuccessRule, TenantId, WorkflowId,
};

/// Everything needed to fire.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub url: String,
    pub timeout: Duration,
    /// How long the workflow may take to report, once it has begun.
    pub callback_timeout: Duration,
    pub retry: RetryPolicy,
    pub success: SuccessRule,
    pub on_unknown: OnUnknown,
    pub max_concurrency: Option<u32>,
    /// The name of the tenant's outgoing credential that the request must carry.
    pub credential: Option<String>,
    pub body: BodyShape,
    /// Among those that wait for a slot: 9 goes first.
    pub priority: u8,
    /// False: a hold, nothing is fired.
    pub is_active: bool,
}

/// What the operator's configuration says; the same for every tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// May hold `{workflow_id}`; empty when there is none.
    pub default_url: String,
    /// Of n8n, whose webhooks are at `{base}/webhook/{workflow_id}`.
    pub n8n_base_url: Option<String>,
    /// URLs of single workflows, by [`override_name`].
    pub overrides: HashMap<String, String>,
    /// False: what has no other rule is fired without the broker.
    pub queue_enabled: bool,
    /// A workflow without a route is refused.
    pub strict: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            default_url: String::new(),
            n8n_base_url: None,
            overrides: HashMap::new(),
            queue_enabled: true,
            strict: false,
        }
    }
}

/// A workflow's id as it stands in the name of an environment variable: upper case, all but letters and digits as `_`.
pub fn override_name(workflow: &str) -> String {
    let one = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    workflow.chars().map(one).collect()
}

/// Everything that is wrong with the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTableError {
    pub faults: Vec<String>,
}

impl fmt::Display for RouteTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the default route cannot be used: {}", self.faults.join("; "))
    }
}

impl std::error::Error for RouteTableError {}

/// Who named the URL.
#[derive(Clone, Copy)]
enum Named {
    /// The workflow's own route.
    Route,
    /// The operator, for this workflow alone.
    Override,
    /// The tenant's default route.
    Tenant,
    /// The operator, for all that has no other.
    Operator,
}

/// The routes of every tenant. A newer table shares with the one before what did not change.
#[derive(Debug, Clone)]
pub struct RouteTable {
    pub(crate) defaults: Arc<Defaults>,
    /// As a template.
    base_url: Option<String>,
    revision: i64,
    pub(crate) tenants: HashMap<TenantId, Arc<TenantRoutes>>,
    pub(crate) holds: HashMap<TenantId, Vec<Hold>>,
}

impl RouteTable {
    /// A table without routes and holds, at revision 0.
    pub fn new(defaults: Defaults) -> Result<Self, RouteTableError> {
        let mut faults = Vec::new();
        let base_url = defaults
            .n8n_base_url
            .as_ref()
            .map(|base| format!("{}/webhook/{{workflow_id}}", base.trim_end_matches('/')));
        let default = (!defaults.default_url.is_empty()).then_some(&defaults.default_url);
        let overrides =
            defaults.overrides.iter().map(|(name, url)| (format!("the webhook URL of {name}"), url));
        let all = [("the default webhook URL", default), ("the URL of n8n", base_url.as_ref())];
        let all = all.into_iter().filter_map(|(what, url)| Some((what.to_owned(), url?)));
        for (what, url) in all.chain(overrides) {
            if let Err(fault) = check_webhook_url(url) {
                faults.push(format!("{what} {fault}"));
            }
        }
        if default.is_none() && base_url.is_none() {
            faults
                .push("there is neither a default webhook URL nor a URL of n8n; give one of them".to_owned());
        }
        if !faults.is_empty() {
            faults.sort();
            return Err(RouteTableError { faults });
        }
        let (tenants, holds) = (HashMap::new(), HashMap::new());
        Ok(Self { defaults: Arc::new(defaults), base_url, revision: 0, tenants, holds })
    }

    /// The table at `revision`: with what changed since this one, and with exactly these holds. A route that is `None`
    /// was deleted.
    #[must_use]
    pub fn with(
        &self,
        revision: i64,
        changed: Vec<(TenantId, RouteName, Option<Route>)>,
        holds: Vec<Hold>,
    ) -> Self {
        let mut table = Self { revision, holds: HashMap::new(), ..self.clone() };
        let mut by_tenant: HashMap<TenantId, Vec<(RouteName, Option<Route>)>> = HashMap::new();
        for (tenant, name, route) in changed {
            by_tenant.entry(tenant).or_default().push((name, route));
        }
        for (tenant, changes) in by_tenant {
            let mut routes =
                table.tenants.get(&tenant).map_or_else(TenantRoutes::default, |old| (**old).clone());
            changes.into_iter().for_each(|(name, route)| routes.put(name, route));
            routes.find_shared_names(&self.defaults.overrides);
            if routes.is_empty() {
                table.tenants.remove(&tenant);
            } else {
                table.tenants.insert(tenant, Arc::new(routes));
            }
        }
        for hold in holds {
            table.holds.entry(hold.tenant.clone()).or_default().push(hold);
        }
        table
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// How many routes there are, of all tenants.
    pub fn len(&self) -> usize {
        self.tenants.values().map(|routes| routes.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// The route of that very name, whatever else decides.
    pub fn route(&self, tenant: &TenantId, name: &RouteName) -> Option<&Route> {
        self.routes(tenant)?.route(name)
    }

    /// The hold that stops this work. `host` is its webhook's, as `host:port`.
    pub fn hold(
        &self,
        tenant: &TenantId,
        workflow: &WorkflowId,
        lane: Lane,
        host: Option<&str>,
    ) -> Option<&Hold> {
        self.holds.get(tenant)?.iter().find(|hold| hold.fits(workflow, lane, host))
    }

    /// A workflow's own route replaces the tenant's default one, but what it leaves open is the default's.
    pub fn target(&self, tenant: &TenantId, workflow: &WorkflowId, lane: Lane) -> Target {
        let unrouted = Route::default();
        let routes = self.routes(tenant);
        let own = routes.and_then(|routes| routes.workflow(workflow));
        let default = routes.and_then(|routes| routes.tenant_default());
        let route = own.or(default).unwrap_or(&unrouted);
        let (template, named) = self.template(own, default, workflow);
        let left_open = default.filter(|_| own.is_some());
        // The default route's login goes only where it was meant to go.
        let shared_login = default.filter(|default| match named {
            Named::Route => false,
            Named::Override => default.webhook_url.is_none(),
            Named::Tenant | Named::Operator => true,
        });
        let own_login = own.and_then(|own| own.credential.as_ref());
        let login = own_login.or(shared_login.and_then(|default| default.credential.as_ref()));
        let timeout = route.timeout_ms.or(left_open.and_then(|default| default.timeout_ms));
        Target {
            url: fill(template, workflow.as_str()),
            timeout: timeout.map_or(lane.webhook_timeout(), Duration::from_millis),
            callback_timeout: route.callback_timeout(),
            retry: route.retry,
            success: route.success.clone(),
            on_unknown: route.on_unknown,
            max_concurrency: route.max_concurrency.or(left_open.and_then(|default| default.max_concurrency)),
            credential: login.cloned(),
            body: route.body,
            priority: route.priority,
            is_active: route.is_active,
        }
    }

    /// The longest time-out of the routes that say native, or that leave it open where the queue is switched off.
    pub fn longest_native(&self) -> Option<Duration> {
        let otherwise = if self.defaults.queue_enabled { Mode::Pulsar } else { Mode::Native };
        let timeout = |route: &Route| {
            let lane = || route.lane.unwrap_or(Lane::Long).webhook_timeout();
            route.timeout_ms.map_or_else(lane, Duration::from_millis)
        };
        let routes = self.tenants.values().flat_map(|routes| routes.all());
        let native = routes.filter(|route| route.mode.unwrap_or(otherwise) == Mode::Native).map(timeout);
        let unrouted = (otherwise == Mode::Native).then_some(Lane::Long.webhook_timeout());
        native.chain(unrouted).max()
    }

    /// The URL with its placeholder, and who named it.
    fn template<'a>(
        &'a self,
        own: Option<&'a Route>,
        default: Option<&'a Route>,
        workflow: &WorkflowId,
    ) -> (&'a str, Named) {
        if let Some(url) = own.and_then(|route| route.webhook_url.as_deref()) {
            return (url, Named::Route);
        }
        if let Some(url) = self.override_of(workflow) {
            return (url, Named::Override);
        }
        if let Some(url) = default.and_then(|route| route.webhook_url.as_deref()) {
            return (url, Named::Tenant);
        }
        let of_n8n = self.base_url.as_deref().filter(|_| self.defaults.default_url.is_empty());
        (of_n8n.unwrap_or(&self.defaults.default_url), Named::Operator)
    }

    /// The operator's URL for this workflow alone.
    pub(crate) fn override_of(&self, workflow: &WorkflowId) -> Option<&str> {
        // Most installations have none: then no name is made.
        let overrides = &self.defaults.overrides;
        if overrides.is_empty() {
            return None;
        }
        overrides.get(&override_name(workflow.as_str())).map(String::as_str)
    }

    /// The tenant's workflows that would get an operator's override if they had a route without a URL of their own: those
    /// of `ids` whose names come to the same. The first of them, and each other beside it.
    pub fn overridden_alike<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a WorkflowId>,
    ) -> Vec<(&'a WorkflowId, &'a WorkflowId)> {
        let mut firsts: HashMap<String, &WorkflowId> = HashMap::new();
        let overridden = ids.into_iter().filter(|id| self.override_of(id).is_some());
        let pair = |id: &'a WorkflowId| match firsts.entry(override_name(id.as_str())) {
            Entry::Occupied(first) => Some((*first.get(), id)),
            Entry::Vacant(place) => {
                place.insert(id);
                None
            }
        };
        overridden.filter_map(pair).collect()
    }

    /// The tenant's workflows with a route that leaves its URL to others.
    pub fn without_own_url(&self, tenant: &TenantId) -> impl Iterator<Item = &WorkflowId> {
        self.routes(tenant).into_iter().flat_map(TenantRoutes::without_own_url)
    }

    pub(crate) fn routes(&self, tenant: &TenantId) -> Option<&TenantRoutes> {
        self.tenants.get(tenant).map(|routes| &**routes)
    }
}
