//! Follows the directory: which topics are received from, and whose parked executions are let go.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bridge_bus::{Subscriptions, TopicPlan};
use bridge_protocol::{Lane, TenantId, TopicNames};
use bridge_service::directory::{Snapshot, Tenant};
use bridge_store::{StoreError, TenantState};
use metrics::{counter, gauge};
use tokio::time::timeout;

use crate::bar::locked;
use crate::works::Works;

/// For letting one tenant's executions go.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);
/// After a release that Postgres did not take.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Until it is dropped.
pub async fn follow(works: Arc<Works>, subscriptions: Arc<Subscriptions>, permits: usize) {
    let mut changes = works.directory.changes();
    let mut before = Arc::<Snapshot>::default();
    let mut waiting = BTreeSet::new();
    loop {
        changes.mark_unchanged();
        let now = works.directory.snapshot_full();
        // An empty directory says that there is no tenant; one that was never loaded says nothing.
        if works.directory.is_loaded() {
            if !same_tenants(&before, &now) {
                tracing::info!(
                    tenants = now.tenants.len(),
                    revision = now.revision,
                    "receiving for these tenants"
                );
                gauge!("bridge_tenants_received").set(now.tenants.len() as f64);
                subscriptions.set_topics(topics(&now, &works.names, permits));
            }
            waiting.extend(freed(&before.tenants, &now.tenants).cloned());
            before = now;
        }
        release(&works, &mut waiting).await;
        if waiting.is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
        } else {
            // Whichever comes first; both lead to another look.
            let _look = timeout(AGAIN_AFTER, changes.changed()).await;
        }
    }
}

fn same_tenants(before: &Snapshot, now: &Snapshot) -> bool {
    before.tenants.len() == now.tenants.len() && before.tenants.keys().all(|id| now.tenants.contains_key(id))
}

/// Every tenant's: the suspended one's messages are parked, and the leaving one's executions run to their end.
fn topics(snapshot: &Snapshot, names: &TopicNames, permits: usize) -> Vec<TopicPlan> {
    let plan = |id: &TenantId, lane: &Lane| TopicPlan { topic: names.topic(id, *lane), permits };
    snapshot.tenants.keys().flat_map(|id| Lane::ALL.iter().map(move |lane| plan(id, lane))).collect()
}

/// Who may be fired for again: no longer suspended, or with a secret, a credential or a key that was not there before.
fn freed<'a>(
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

pub fn is_held(tenant: &Tenant) -> bool {
    tenant.state == TenantState::Suspended
}

/// Makes the parked executions' timers due. Every consumer does so for itself when it sees the change: until then it
/// goes on parking, and the others' release does not see what it parks.
pub async fn release(works: &Works, waiting: &mut BTreeSet<TenantId>) {
    for tenant in std::mem::take(waiting) {
        if works.tenant(&tenant).is_none_or(|tenant| is_held(&tenant)) {
            continue;
        }
        let limit = StoreError::TimedOut { name: "release_tenant", after: RELEASE_LIMIT };
        let released =
            timeout(RELEASE_LIMIT, works.store.release_tenant(&tenant)).await.unwrap_or(Err(limit));
        match released {
            Ok(count) => {
                counter!("bridge_released_total").increment(count);
                tracing::info!(tenant_id = %tenant, count, "the tenant's parked executions are due again");
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error, tenant_id = %tenant,
                    "the tenant's parked executions could not be let go yet; it is tried again"
                );
                waiting.insert(tenant);
            }
        }
    }
}

#[cfg(test)]
#[path = "tenants_tests.rs"]
mod tests;
