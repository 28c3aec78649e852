//! Follows the directory and the routes: whose parked executions are let go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bridge_fire::{is_held, locked};
use bridge_protocol::{Lane, RouteName, RouteTable, TenantId, WorkflowId};
use bridge_service::directory::{Snapshot, Tenant};
use bridge_store::StoreError;
use metrics::counter;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::works::Works;

/// For letting one tenant's executions go.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);
/// After a release that Postgres did not take.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// More of one tenant's at once are let go together: each release walks all that its tenant has parked.
const AT_ONCE: usize = 16;

/// What may be fired again: `None` is all of the tenant's workflows, or lanes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Freed {
    pub tenant: TenantId,
    pub workflow: Option<WorkflowId>,
    pub lane: Option<Lane>,
}

impl Freed {
    fn all(tenant: &TenantId) -> Self {
        Self { tenant: tenant.clone(), workflow: None, lane: None }
    }
}

/// Until it is dropped. `routed`: the revision of the routes.
pub async fn follow(works: Arc<Works>, mut routed: watch::Receiver<i64>) {
    let mut changes = works.hooks.directory.changes();
    let mut tenants = Arc::<Snapshot>::default();
    let mut routes = works.hooks.routes.load_full();
    let mut waiting = BTreeSet::new();
    loop {
        changes.mark_unchanged();
        routed.mark_unchanged();
        let now = works.hooks.directory.snapshot_full();
        waiting.extend(equipped(&tenants.tenants, &now.tenants).map(Freed::all));
        tenants = now;
        let now = works.hooks.routes.load_full();
        // Of a table that was never loaded nobody can say what it held.
        if routes.revision() > 0 {
            waiting.extend(rerouted(&routes, &now));
        }
        routes = now;
        waiting = together(waiting);
        release(&works, &mut waiting).await;
        let again = async {
            if waiting.is_empty() {
                std::future::pending().await
            } else {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        };
        let gone = tokio::select! {
            changed = changes.changed() => changed.is_err(),
            changed = routed.changed() => changed.is_err(),
            () = again => false,
        };
        if gone {
            return;
        }
    }
}

/// Who may be fired for again: no longer suspended, or with a secret, a credential or a key that was not there before.
fn equipped<'a>(
    before: &'a HashMap<TenantId, Arc<Tenant>>,
    now: &'a HashMap<TenantId, Arc<Tenant>>,
) -> impl Iterator<Item = &'a TenantId> {
    now.values().filter_map(|tenant| {
        let known = before.get(&tenant.id)?;
        let resumed = is_held(known) && !is_held(tenant);
        let equipped = tenant.credentials.keys().any(|name| !known.credentials.contains_key(name));
        let signs = known.webhook_secrets.is_empty() && !tenant.webhook_secrets.is_empty();
        let opens = locked(known).is_some() && locked(tenant).is_none();
        (resumed || equipped || signs || opens).then_some(&tenant.id)
    })
}

/// What a lifted hold or another route lets go.
fn rerouted(before: &RouteTable, now: &RouteTable) -> Vec<Freed> {
    let mut freed: Vec<Freed> = now
        .lifted_since(before)
        .map(|hold| Freed { tenant: hold.tenant.clone(), workflow: hold.workflow.clone(), lane: hold.lane })
        .collect();
    for (tenant, name) in now.changed_since(before) {
        match name {
            RouteName::Workflow(workflow) if may_go(before, now, &tenant, &workflow) => {
                freed.push(Freed { workflow: Some(workflow), ..Freed::all(&tenant) });
            }
            RouteName::Default => freed.push(Freed::all(&tenant)),
            // A type decides when an execution is accepted, and nothing later.
            RouteName::Workflow(_) | RouteName::Type(_) => {}
        }
    }
    freed
}

/// Whether it was parked for a reason that the new route may have ended. The lane plays no part in that.
fn may_go(before: &RouteTable, now: &RouteTable, tenant: &TenantId, workflow: &WorkflowId) -> bool {
    let [old, new] = [before, now].map(|table| table.target(tenant, workflow, Lane::Long));
    let other = !old.is_active
        || old.url != new.url
        || old.credential != new.credential
        || old.max_concurrency != new.max_concurrency;
    new.is_active && other
}

fn together(freed: BTreeSet<Freed>) -> BTreeSet<Freed> {
    let mut by_tenant: BTreeMap<TenantId, Vec<Freed>> = BTreeMap::new();
    for one in freed {
        by_tenant.entry(one.tenant.clone()).or_default().push(one);
    }
    by_tenant
        .into_iter()
        .flat_map(|(tenant, freed)| {
            let whole = Freed::all(&tenant);
            if freed.len() > AT_ONCE || freed.contains(&whole) { vec![whole] } else { freed }
        })
        .collect()
}

/// Makes the parked executions' timers due. Every consumer does so for itself when it sees the change: until then it
/// goes on parking, and the others' release does not see what it parks.
pub async fn release(works: &Works, waiting: &mut BTreeSet<Freed>) {
    for freed in std::mem::take(waiting) {
        let Freed { tenant, workflow, lane } = &freed;
        if works.tenant(tenant).is_none_or(|tenant| is_held(&tenant)) {
            continue;
        }
        let limit = StoreError::TimedOut { name: "release_held", after: RELEASE_LIMIT };
        let releasing = works.store.release_held(tenant, workflow.as_ref(), *lane);
        match timeout(RELEASE_LIMIT, releasing).await.unwrap_or(Err(limit)) {
            Ok(count) => {
                counter!("bridge_released_total").increment(count);
                tracing::info!(
                    tenant_id = %tenant, workflow_id = workflow.as_ref().map(tracing::field::display), lane = lane.map(Lane::as_str), count,
                    "parked executions are due again"
                );
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error, tenant_id = %tenant,
                    "the tenant's parked executions could not be let go yet; it is tried again"
                );
                waiting.insert(freed);
            }
        }
    }
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
