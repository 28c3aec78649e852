//! Makes the planned changes.

use std::sync::atomic::{AtomicBool, Ordering};

use bridge_protocol::{TenantId, TopicNames};
use futures::StreamExt;

use super::change::Change;
use super::file::TopicsFile;
use super::plan::{PlanError, Planner};
use crate::admin::{Admin, AdminError};

/// Tenants that are worked on at the same time, and calls for each of them.
const TENANTS_AT_A_TIME: usize = 16;
const CALLS_AT_A_TIME: usize = 4;
/// From so many tenants on, one list of all that exist is less work than a question for each.
const MANY: usize = 8;

/// Something went wrong on the way. What was done is done; the next run does the rest.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(
        "cannot compare {tenant} with the topics file; {done} changes were made{}, apply again to go on",
        others(*.failed)
    )]
    Plan {
        tenant: String,
        done: usize,
        /// Tenants that are not done, this one included.
        failed: usize,
        #[source]
        source: PlanError,
    },
    #[error("{tenant}: cannot {change}; {done} changes were made{}, apply again to go on", others(*.failed))]
    Change {
        tenant: String,
        change: Box<Change>,
        done: usize,
        failed: usize,
        #[source]
        source: AdminError,
    },
    #[error("cannot ask the broker for its clusters, nothing was changed")]
    Clusters(#[source] AdminError),
    #[error("cannot ask the broker for its tenants, nothing was changed")]
    Tenants(#[source] AdminError),
}

fn others(failed: usize) -> String {
    match failed {
        0 | 1 => String::new(),
        n => format!(", {n} tenants are not done"),
    }
}

/// As [`apply_each`], without being told on the way.
pub async fn apply(
    admin: &Admin,
    file: &TopicsFile,
    names: &TopicNames,
    tenants: &[TenantId],
    dry_run: bool,
) -> Result<Vec<Change>, ApplyError> {
    apply_each(admin, file, names, tenants, dry_run, |_, _| ()).await
}

/// Brings every tenant to what the file says and returns what was changed, in the order of `tenants`. With
/// `dry_run` nothing is changed and the same list is returned. `on_done` hears of each tenant when it is finished.
pub async fn apply_each(
    admin: &Admin,
    file: &TopicsFile,
    names: &TopicNames,
    tenants: &[TenantId],
    dry_run: bool,
    on_done: impl Fn(&TenantId, &[Change]),
) -> Result<Vec<Change>, ApplyError> {
    let clusters = if file.clusters.is_empty() {
        // The broker lists its inner "global" too, which no tenant can be on.
        let all = admin.clusters().await.map_err(ApplyError::Clusters)?;
        all.into_iter().filter(|name| name != "global").collect()
    } else {
        file.clusters.clone()
    };
    let existing = match tenants.len() {
        MANY.. => Some(admin.tenants().await.map_err(ApplyError::Tenants)?.into_iter().collect()),
        _ => None,
    };
    let planner = Planner { admin, file, names, clusters, existing };
    // What the broker refuses for one tenant it refuses for all.
    let refused = AtomicBool::new(false);
    let mut running = futures::stream::iter(tenants.iter().enumerate())
        .map(|(index, tenant)| {
            let (planner, refused) = (&planner, &refused);
            async move {
                if refused.load(Ordering::Relaxed) {
                    return (index, tenant, None);
                }
                (index, tenant, Some(apply_tenant(planner, tenant, dry_run).await))
            }
        })
        .buffer_unordered(TENANTS_AT_A_TIME);
    let mut done: Vec<(usize, Vec<Change>)> = Vec::with_capacity(tenants.len());
    let (mut first_error, mut failed) = (None, 0);
    // One tenant's trouble does not keep the others from being provisioned.
    while let Some((index, tenant, result)) = running.next().await {
        let (made, error) = match result {
            Some(Ok(made)) => {
                on_done(tenant, &made);
                (made, None)
            }
            Some(Err((made, error))) => (made, Some(error)),
            None => {
                failed += 1;
                continue;
            }
        };
        done.push((index, made));
        if let Some(error) = error {
            failed += 1;
            refused.fetch_or(error.is_refusal(), Ordering::Relaxed);
            first_error.get_or_insert(error);
        }
    }
    done.sort_by_key(|(index, _)| *index);
    let changes: Vec<Change> = done.into_iter().flat_map(|(_, made)| made).collect();
    match first_error {
        None => Ok(changes),
        Some(error) => Err(error.counted(changes.len(), failed)),
    }
}

impl ApplyError {
    fn counted(mut self, changes: usize, tenants: usize) -> Self {
        if let Self::Plan { done, failed, .. } | Self::Change { done, failed, .. } = &mut self {
            (*done, *failed) = (changes, tenants);
        }
        self
    }

    fn is_refusal(&self) -> bool {
        match self {
            Self::Plan { source: PlanError::Admin(error), .. } => error.is_refusal(),
            Self::Plan { .. } => false,
            Self::Change { source, .. } | Self::Clusters(source) | Self::Tenants(source) => {
                source.is_refusal()
            }
        }
    }
}

async fn apply_tenant(
    planner: &Planner<'_>,
    tenant: &TenantId,
    dry_run: bool,
) -> Result<Vec<Change>, (Vec<Change>, ApplyError)> {
    let planned = planner.plan(tenant).await.map_err(|source| {
        (Vec::new(), ApplyError::Plan { tenant: tenant.to_string(), done: 0, failed: 0, source })
    })?;
    let mut made = Vec::with_capacity(planned.len());
    let stages = stages(planned);
    if dry_run {
        // In the order in which they would be made.
        return Ok(stages.into_iter().flatten().collect());
    }
    for stage in stages {
        let mut steps = futures::stream::iter(stage)
            .map(|change| step(planner.admin, tenant, change))
            .buffered(CALLS_AT_A_TIME);
        let mut failed = None;
        // What runs beside a failed call is waited for, so that the list of what was made is whole.
        while let Some(result) = steps.next().await {
            match result {
                Ok(change) => made.extend(change),
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        if let Some(error) = failed {
            return Err((made, error));
        }
    }
    Ok(made)
}

/// Topics do not need each other, nor do subscriptions; everything else is made in order.
fn stages(planned: Vec<Change>) -> Vec<Vec<Change>> {
    let (mut before, mut topics, mut subscriptions, mut after) = (vec![], vec![], vec![], vec![]);
    for change in planned {
        match change {
            Change::CreateTopic { .. } | Change::AddPartitions { .. } => topics.push(change),
            Change::CreateSubscription { .. } => subscriptions.push(change),
            // Rights on a topic need it.
            _ if topics.is_empty() && subscriptions.is_empty() => before.push(vec![change]),
            _ => after.push(vec![change]),
        }
    }
    before.into_iter().chain([topics, subscriptions]).chain(after).collect()
}

/// The change, unless somebody else made it.
async fn step(admin: &Admin, tenant: &TenantId, change: Change) -> Result<Option<Change>, ApplyError> {
    match make(admin, &change).await {
        Ok(()) => Ok(Some(change)),
        // Somebody else made it between our question and our change.
        Err(error) if error.status() == Some(409) && is_creation(&change) => Ok(None),
        Err(source) => {
            let (tenant, change) = (tenant.to_string(), Box::new(change));
            Err(ApplyError::Change { tenant, change, done: 0, failed: 0, source })
        }
    }
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
        Change::CreateNamespace { namespace, new } => admin.create_namespace_with(namespace, new).await,
        Change::SetRetention { namespace, to, .. } => admin.set_retention(namespace, to).await,
        Change::SetBacklogQuota { namespace, to, .. } => admin.set_backlog_quota(namespace, to).await,
        Change::RemoveMessageTtl { namespace, .. } => admin.remove_message_ttl(namespace).await,
        Change::DisableDeduplication { namespace } => admin.set_deduplication(namespace, false).await,
        Change::KeepInactiveTopics { namespace, to } => admin.set_inactive_topics(namespace, to).await,
        Change::Grant { on, role, actions } => admin.grant(on, role, actions).await,
        Change::Revoke { on, role } => admin.revoke(on, role).await,
        Change::CreateTopic { topic, partitions: 0 } => admin.create_topic(topic).await,
        Change::CreateTopic { topic, partitions } => admin.create_partitioned_topic(topic, *partitions).await,
        Change::AddPartitions { topic, to, .. } => admin.grow_partitions(topic, *to).await,
        Change::CreateSubscription { topic, subscription } => {
            admin.create_subscription(topic, subscription).await
        }
        // Planned by nobody here: these are reported by `remove`, which makes them itself.
        Change::DeleteTopic { .. } | Change::DeleteNamespace { .. } | Change::DeleteTenant { .. } => Ok(()),
    }
}
