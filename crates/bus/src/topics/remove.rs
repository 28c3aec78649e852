//! Takes a tenant away from the broker.

use std::time::Duration;

use bridge_protocol::{TenantId, TopicNames};
use futures::StreamExt;
use tokio::time::Instant;

use super::change::Change;
use crate::admin::{Admin, AdminError};

/// Clients that are still connected, and the broker's own work, hold a deletion up for so long at most.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(2)];
const TOPICS_AT_A_TIME: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("{tenant} is not removed from the broker; what was deleted stays so, remove it again to go on")]
    Admin {
        tenant: String,
        #[source]
        source: AdminError,
    },
    #[error(
        "tenant {tenant} stays at the broker without its workflows: it has other namespaces, which are not the \
         bridge's ({}); delete them, then remove it again",
        .namespaces.join(", ")
    )]
    OtherNamespaces { tenant: String, namespaces: Vec<String> },
}

/// Deletes the tenant's topics with their subscriptions and messages, its namespace and itself, and returns what was
/// deleted: nothing when nothing was there.
pub async fn remove(
    admin: &Admin,
    names: &TopicNames,
    tenant: &TenantId,
) -> Result<Vec<Change>, RemoveError> {
    let deadline = Instant::now() + PATIENCE;
    let mut pauses = PAUSES.into_iter().chain(std::iter::repeat(PAUSES[PAUSES.len() - 1]));
    let mut made = Vec::new();
    loop {
        let source = match all(admin, names, tenant, &mut made).await {
            Ok(foreign) if foreign.is_empty() => return Ok(made),
            Ok(namespaces) => {
                return Err(RemoveError::OtherNamespaces { tenant: tenant.to_string(), namespaces });
            }
            Err(error) => error,
        };
        // A consumer that was put out comes back and may make its topic anew, and the broker finishes some deletions
        // later: both look like a conflict for a while.
        let passes = matches!(source.status(), Some(409 | 412 | 500..));
        let pause = pauses.next().unwrap_or_default();
        if !passes || Instant::now() + pause > deadline {
            return Err(RemoveError::Admin { tenant: tenant.to_string(), source });
        }
        tracing::debug!(tenant_id = %tenant, error = %source, "the broker is not ready to delete it");
        tokio::time::sleep(pause).await;
    }
}

/// Once through; the namespaces that are not ours are returned.
async fn all(
    admin: &Admin,
    names: &TopicNames,
    tenant: &TenantId,
    made: &mut Vec<Change>,
) -> Result<Vec<String>, AdminError> {
    let namespace = format!("{tenant}/{}", names.namespace);
    let Some(mut namespaces) = admin.namespaces(tenant.as_str()).await? else { return Ok(Vec::new()) };
    if let Some(ours) = namespaces.iter().position(|one| *one == namespace) {
        namespaces.remove(ours);
        let partitioned = admin.partitioned_topics(&namespace).await?;
        let plain = admin.topics(&namespace).await?;
        let is_part = |topic: &String| {
            let whole = topic.rsplit_once("-partition-").map(|(whole, _)| whole);
            whole.is_some_and(|whole| partitioned.iter().any(|one| one == whole))
        };
        let plain: Vec<_> = plain.iter().filter(|topic| !is_part(topic)).collect();
        let deleting = partitioned.iter().map(|topic| (topic, true)).chain(plain.iter().map(|t| (*t, false)));
        let mut deleted = futures::stream::iter(deleting)
            .map(|(topic, is_partitioned)| async move {
                let done = match is_partitioned {
                    true => admin.delete_partitioned_topic(topic, true).await,
                    false => admin.delete_topic(topic, true).await,
                };
                (topic, gone(done))
            })
            .buffer_unordered(TOPICS_AT_A_TIME);
        let mut trouble = None;
        while let Some((topic, done)) = deleted.next().await {
            match done {
                Ok(true) => note(made, Change::DeleteTopic { topic: topic.clone() }),
                Ok(false) => {}
                Err(error) => trouble = Some(error),
            }
        }
        if let Some(error) = trouble {
            return Err(error);
        }
        if gone(admin.delete_namespace(&namespace, false).await)? {
            note(made, Change::DeleteNamespace { namespace });
        }
    }
    if namespaces.is_empty() && gone(admin.delete_tenant(tenant.as_str()).await)? {
        note(made, Change::DeleteTenant { tenant: tenant.to_string() });
    }
    Ok(namespaces)
}

/// What somebody deleted before us is gone too, but not our change.
fn gone(done: Result<(), AdminError>) -> Result<bool, AdminError> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// A topic that came back is deleted twice and told once.
fn note(made: &mut Vec<Change>, change: Change) {
    if !made.contains(&change) {
        made.push(change);
    }
}
