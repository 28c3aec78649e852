//! Makes the planned changes.

use bridge_protocol::{TenantId, TopicNames};
use futures::StreamExt;

use super::change::Change;
use super::file::TopicsFile;
use super::plan::{PlanError, plan};
use crate::admin::{Admin, AdminError};

/// Tenants that are worked on at the same time; within a tenant one call follows the other.
const TENANTS_AT_A_TIME: usize = 16;

/// Something went wrong on the way. What was done is done; the next run does the rest.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(
        "cannot compare {tenant} with the topics file; {done} changes were made before, apply again to go on"
    )]
    Plan {
        tenant: String,
        done: usize,
        #[source]
        source: PlanError,
    },
    #[error("{tenant}: cannot {change}; {done} changes were made before, apply again to go on")]
    Change {
        tenant: String,
        change: Box<Change>,
        done: usize,
        #[source]
        source: AdminError,
    },
    #[error("cannot ask the broker for its clusters, nothing was changed")]
    Clusters(#[source] AdminError),
}

/// Brings every tenant to what the file says and returns what was changed, in the order of `tenants`. With
/// `dry_run` nothing is changed and the same list is returned.
pub async fn apply(
    admin: &Admin,
    file: &TopicsFile,
    names: &TopicNames,
    tenants: &[TenantId],
    dry_run: bool,
) -> Result<Vec<Change>, ApplyError> {
    let clusters = if file.clusters.is_empty() {
        // The broker lists its inner "global" too, which no tenant can be on.
        let all = admin.clusters().await.map_err(ApplyError::Clusters)?;
        all.into_iter().filter(|name| name != "global").collect()
    } else {
        file.clusters.clone()
    };
    let mut running = futures::stream::iter(tenants)
        .map(|tenant| apply_tenant(admin, file, names, tenant, &clusters, dry_run))
        .buffered(TENANTS_AT_A_TIME);
    let mut changes = Vec::new();
    let mut first_error = None;
    // One tenant's trouble does not keep the others from being provisioned.
    while let Some(result) = running.next().await {
        match result {
            Ok(made) => changes.extend(made),
            Err((made, error)) => {
                changes.extend(made);
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        None => Ok(changes),
        Some(error) => Err(error.with_done(changes.len())),
    }
}

impl ApplyError {
    fn with_done(mut self, total: usize) -> Self {
        if let Self::Plan { done, .. } | Self::Change { done, .. } = &mut self {
            *done = total;
        }
        self
    }
}

async fn apply_tenant(
    admin: &Admin,
    file: &TopicsFile,
    names: &TopicNames,
    tenant: &TenantId,
    clusters: &[String],
    dry_run: bool,
) -> Result<Vec<Change>, (Vec<Change>, ApplyError)> {
    let planned = plan(admin, file, names, tenant, clusters)
        .await
        .map_err(|source| (Vec::new(), ApplyError::Plan { tenant: tenant.to_string(), done: 0, source }))?;
    if dry_run {
        return Ok(planned);
    }
    let mut made = Vec::new();
    for change in planned {
        match make(admin, &change).await {
            Ok(()) => made.push(change),
            // Somebody else made it between our question and our change.
            Err(error) if error.status() == Some(409) && is_creation(&change) => {}
            Err(source) => {
                let (tenant, change) = (tenant.to_string(), Box::new(change));
                return Err((made, ApplyError::Change { tenant, change, done: 0, source }));
            }
        }
    }
    Ok(made)
}

fn is_creation(change: &Change) -> bool {
    matches!(
        change,
        Change::CreateTenant { .. }
            | Change::CreateNamespace { .. }
            | Change::CreateTopic { .. }
            | Change::CreateSubscription { .. }
    )
}

async fn make(admin: &Admin, change: &Change) -> Result<(), AdminError> {
    match change {
        Change::CreateTenant { tenant, clusters } => admin.create_tenant(tenant, clusters).await,
        Change::CreateNamespace { namespace } => admin.create_namespace(namespace).await,
        Change::SetRetention { namespace, to, .. } => admin.set_retention(namespace, to).await,
        Change::SetBacklogQuota { namespace, to, .. } => admin.set_backlog_quota(namespace, to).await,
        Change::RemoveMessageTtl { namespace, .. } => admin.remove_message_ttl(namespace).await,
        Change::DisableDeduplication { namespace } => admin.set_deduplication(namespace, false).await,
        Change::KeepInactiveTopics { namespace, to } => admin.set_inactive_topics(namespace, to).await,
        Change::Grant { namespace, role, actions } => admin.grant(namespace, role, actions).await,
        Change::CreateTopic { topic, partitions: 0 } => admin.create_topic(topic).await,
        Change::CreateTopic { topic, partitions } => admin.create_partitioned_topic(topic, *partitions).await,
        Change::AddPartitions { topic, to, .. } => admin.grow_partitions(topic, *to).await,
        Change::CreateSubscription { topic, subscription } => {
            admin.create_subscription(topic, subscription).await
        }
    }
}
