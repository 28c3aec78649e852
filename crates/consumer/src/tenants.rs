//! Follows the directory: which topics are received from.

use std::sync::Arc;

use bridge_bus::{Subscriptions, TopicPlan};
use bridge_protocol::{Lane, TenantId, TopicNames};
use bridge_service::directory::Snapshot;
use metrics::gauge;

use crate::works::Works;

/// Until it is dropped.
pub async fn follow(works: Arc<Works>, subscriptions: Arc<Subscriptions>, permits: usize) {
    let mut changes = works.hooks.directory.changes();
    let mut before = Arc::<Snapshot>::default();
    loop {
        changes.mark_unchanged();
        let now = works.hooks.directory.snapshot_full();
        // An empty directory says that there is no tenant; one that was never loaded says nothing.
        if works.hooks.directory.is_loaded() {
            if !same_tenants(&before, &now) {
                tracing::info!(
                    tenants = now.tenants.len(),
                    revision = now.revision,
                    "receiving for these tenants"
                );
                gauge!("bridge_tenants_received").set(now.tenants.len() as f64);
                subscriptions.set_topics(topics(&now, &works.names, permits));
            }
            before = now;
        }
        if changes.changed().await.is_err() {
            return;
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

#[cfg(test)]
#[path = "tenants_tests.rs"]
mod tests;
