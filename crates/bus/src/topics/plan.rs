//! What differs between the file and one tenant's part of the broker.

use std::collections::HashSet;

use bridge_protocol::{Lane, TenantId, TopicNames};

use super::change::Change;
use super::file::TopicsFile;
use super::rights::Rights;
use crate::admin::{
    Admin, AdminError, AuthPolicies, BacklogQuota, InactiveTopics, NamespacePolicies, NewNamespace, Retention,
};

const MINUTES: i64 = 60;
const BYTES: i64 = 1 << 20;

/// A topic that must be there, and the subscription it must have.
pub(super) struct Wanted {
    pub(super) topic: String,
    pub(super) partitions: u32,
    /// By the consumers. The others are dead letters.
    pub(super) subscribed: bool,
}

/// What cannot be reconciled by creating or raising something.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("asking the broker failed")]
    Admin(#[from] AdminError),
    #[error(
        "{topic} has {from} partitions and the file asks for {to}; the broker cannot take partitions away: raise the number in the file, or delete the topic when it is empty"
    )]
    Partitions { topic: String, from: u32, to: u32 },
}

/// What the tenants are compared with.
pub(super) struct Planner<'a> {
    pub(super) admin: &'a Admin,
    pub(super) file: &'a TopicsFile,
    pub(super) names: &'a TopicNames,
    pub(super) clusters: Vec<String>,
    /// All tenants of the broker, if it was asked.
    pub(super) existing: Option<HashSet<String>>,
}

impl Planner<'_> {
    /// The changes for one tenant, in the order in which they must be made.
    pub(super) async fn plan(&self, tenant: &TenantId) -> Result<Vec<Change>, PlanError> {
        let (admin, file) = (self.admin, self.file);
        let namespace = format!("{tenant}/{}", self.names.namespace);
        let wanted = wanted_topics(file, self.names, tenant);
        let rights = Rights::of(file, &wanted, &namespace, tenant);
        let known = self.existing.as_ref().map(|all| all.contains(tenant.as_str()));
        let policies = if known == Some(false) { None } else { admin.policies(&namespace).await? };
        let Some(policies) = policies else {
            let mut changes = Vec::with_capacity(16);
            let is_there = match known {
                Some(known) => known,
                None => admin.namespaces(tenant.as_str()).await?.is_some(),
            };
            if !is_there {
                let clusters = self.clusters.clone();
                changes.push(Change::CreateTenant { tenant: tenant.to_string(), clusters });
            }
            let new = new_namespace(file, rights.as_policies(), self.clusters.clone());
            changes.push(Change::CreateNamespace { namespace, new: Box::new(new) });
            for wanted in wanted {
                let subscription = wanted.subscribed.then(|| subscribing(file, &wanted.topic));
                changes.extend(topic_change(&wanted, None)?.into_iter().chain(subscription));
            }
            return Ok(changes);
        };
        let mut changes = policy_changes(file, &namespace, &policies);
        changes.extend(self.topic_changes(&namespace, &wanted).await?);
        // Rights on topics need the topics.
        changes.extend(rights.changes(&policies.permissions));
        Ok(changes)
    }

    async fn topic_changes(&self, namespace: &str, wanted: &[Wanted]) -> Result<Vec<Change>, PlanError> {
        let mut changes = Vec::new();
        let plain = self.admin.topics(namespace).await?;
        let all_plain = wanted.iter().all(|one| one.partitions == 0 && plain.contains(&one.topic));
        let partitioned =
            if all_plain { Vec::new() } else { self.admin.partitioned_topics(namespace).await? };
        for wanted in wanted {
            let present = if partitioned.contains(&wanted.topic) {
                self.admin.partitions(&wanted.topic).await?
            } else {
                plain.contains(&wanted.topic).then_some(0)
            };
            changes.extend(topic_change(wanted, present)?);
            if wanted.subscribed {
                let has = match present {
                    // A topic that disappears between two questions is made by the next run.
                    Some(_) => {
                        self.admin.subscriptions(&wanted.topic).await?.contains(&self.file.subscription)
                    }
                    None => false,
                };
                if !has {
                    changes.push(subscribing(self.file, &wanted.topic));
                }
            }
        }
        Ok(changes)
    }
}

fn subscribing(file: &TopicsFile, topic: &str) -> Change {
    Change::CreateSubscription { topic: topic.to_owned(), subscription: file.subscription.clone() }
}

fn wanted_topics(file: &TopicsFile, names: &TopicNames, tenant: &TenantId) -> Vec<Wanted> {
    let lanes = Lane::ALL.iter().map(|lane| Wanted {
        topic: names.topic(tenant, *lane),
        partitions: file.lane(*lane).partitions,
        subscribed: true,
    });
    let dead_letters = Lane::ALL.iter().map(|lane| Wanted {
        topic: names.dead_letter(tenant, *lane),
        partitions: file.dead_letter.partitions,
        subscribed: false,
    });
    lanes.chain(dead_letters).collect()
}

fn topic_change(wanted: &Wanted, present: Option<u32>) -> Result<Option<Change>, PlanError> {
    let (topic, to) = (wanted.topic.clone(), wanted.partitions);
    match present {
        None => Ok(Some(Change::CreateTopic { topic, partitions: to })),
        Some(from) if from == to => Ok(None),
        // A plain topic cannot become a partitioned one either: its messages would be left behind.
        Some(from) if from == 0 || from > to => Err(PlanError::Partitions { topic, from, to }),
        Some(from) => Ok(Some(Change::AddPartitions { topic, from, to })),
    }
}

fn retention(file: &TopicsFile) -> Retention {
    let rules = &file.namespace.retention;
    Retention {
        retention_time_in_minutes: if rules.hours < 0 { -1 } else { rules.hours * MINUTES },
        retention_size_in_mb: rules.megabytes,
    }
}

fn backlog_quota(file: &TopicsFile) -> BacklogQuota {
    let megabytes = file.namespace.backlog_quota.megabytes;
    BacklogQuota {
        limit_size: if megabytes < 0 { -1 } else { megabytes * BYTES },
        limit_time: -1,
        // The other policies throw unacknowledged messages away, or hold the publisher without a word.
        policy: "producer_exception".into(),
    }
}

fn keep_idle() -> InactiveTopics {
    InactiveTopics {
        inactive_topic_delete_mode: "delete_when_no_subscriptions".into(),
        max_inactive_duration_seconds: 86_400,
        delete_while_inactive: false,
    }
}

fn new_namespace(file: &TopicsFile, permissions: AuthPolicies, clusters: Vec<String>) -> NewNamespace {
    NewNamespace {
        retention: retention(file),
        backlog_quota: backlog_quota(file),
        inactive_topics: keep_idle(),
        permissions,
        clusters,
    }
}

fn policy_changes(file: &TopicsFile, namespace: &str, present: &NamespacePolicies) -> Vec<Change> {
    let namespace = namespace.to_owned();
    let mut changes = Vec::new();

    let (retention, quota) = (retention(file), backlog_quota(file));
    let set_retention = (present.retention != Some(retention)).then(|| Change::SetRetention {
        namespace: namespace.clone(),
        from: present.retention,
        to: retention,
    });
    let set_quota = (present.backlog_quota() != Some(&quota)).then(|| Change::SetBacklogQuota {
        namespace: namespace.clone(),
        from: present.backlog_quota().cloned(),
        to: quota,
    });
    // At no moment may the retention be smaller than the quota: what shrinks the quota comes first.
    let old_quota = present.backlog_quota().map_or(0, |quota| quota.limit_size);
    let retention_holds_old_quota = retention.retention_size_in_mb < 0
        || (old_quota >= 0 && old_quota < retention.retention_size_in_mb * BYTES);
    if retention_holds_old_quota {
        changes.extend([set_retention, set_quota].into_iter().flatten());
    } else {
        changes.extend([set_quota, set_retention].into_iter().flatten());
    }

    if let Some(from) = present.message_ttl.filter(|seconds| *seconds != 0) {
        changes.push(Change::RemoveMessageTtl { namespace: namespace.clone(), from });
    }
    // hazard 11: with deduplication, a producer that comes back under a known name loses messages without a word.
    if present.deduplication != Some(false) {
        changes.push(Change::DisableDeduplication { namespace: namespace.clone() });
    }
    if present.inactive_topics.as_ref().is_none_or(|policy| policy.delete_while_inactive) {
        changes.push(Change::KeepInactiveTopics { namespace, to: keep_idle() });
    }
    changes
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn file() -> TopicsFile {
        TopicsFile::parse(include_str!("../../../../pulsar/topics.yml")).unwrap()
    }

    fn policies(retention_mb: i64, quota_bytes: i64) -> NamespacePolicies {
        serde_json::from_value(serde_json::json!({
            "retention_policies": { "retentionTimeInMinutes": 60, "retentionSizeInMB": retention_mb },
            "backlog_quota_map": {
                "destination_storage": { "limitSize": quota_bytes, "limitTime": -1, "policy": "producer_exception" }
            },
        }))
        .unwrap()
    }

    fn order(changes: &[Change]) -> (usize, usize) {
        let retention = changes.iter().position(|c| matches!(c, Change::SetRetention { .. })).unwrap();
        let quota = changes.iter().position(|c| matches!(c, Change::SetBacklogQuota { .. })).unwrap();
        (retention, quota)
    }

    #[test]
    fn retention_and_quota_are_set_in_the_order_the_broker_allows() {
        let growing = policy_changes(&file(), "a/w", &policies(100, 50 * BYTES));
        let (retention, quota) = order(&growing);
        assert!(retention < quota);
        let shrinking = policy_changes(&file(), "a/w", &policies(10_000, 9_000 * BYTES));
        let (retention, quota) = order(&shrinking);
        assert!(quota < retention);
    }

    #[test]
    fn partitions_are_raised_and_never_lowered() {
        let wanted = |partitions| Wanted { topic: "t".into(), partitions, subscribed: true };
        assert_eq!(topic_change(&wanted(3), Some(3)).unwrap(), None);
        assert!(matches!(
            topic_change(&wanted(4), Some(3)),
            Ok(Some(Change::AddPartitions { from: 3, to: 4, .. }))
        ));
        assert!(topic_change(&wanted(2), Some(3)).is_err());
        assert!(topic_change(&wanted(2), Some(0)).is_err());
        assert!(topic_change(&wanted(0), Some(2)).is_err());
    }
}
