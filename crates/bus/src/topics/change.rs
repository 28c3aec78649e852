//! One thing that is, or would be, changed at the broker.

use std::collections::BTreeSet;
use std::fmt;

use crate::admin::{BacklogQuota, InactiveTopics, NewNamespace, Retention};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    CreateTenant {
        tenant: String,
        clusters: Vec<String>,
    },
    /// With all that the file asks for.
    CreateNamespace {
        namespace: String,
        new: Box<NewNamespace>,
    },
    SetRetention {
        namespace: String,
        from: Option<Retention>,
        to: Retention,
    },
    SetBacklogQuota {
        namespace: String,
        from: Option<BacklogQuota>,
        to: BacklogQuota,
    },
    RemoveMessageTtl {
        namespace: String,
        from: i64,
    },
    DisableDeduplication {
        namespace: String,
    },
    KeepInactiveTopics {
        namespace: String,
        to: InactiveTopics,
    },
    /// `on` is a namespace or a topic.
    Grant {
        on: String,
        role: String,
        actions: BTreeSet<String>,
    },
    Revoke {
        on: String,
        role: String,
    },
    CreateTopic {
        topic: String,
        partitions: u32,
    },
    AddPartitions {
        topic: String,
        from: u32,
        to: u32,
    },
    CreateSubscription {
        topic: String,
        subscription: String,
    },
    DeleteTopic {
        topic: String,
    },
    DeleteNamespace {
        namespace: String,
    },
    DeleteTenant {
        tenant: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateTenant { tenant, clusters } => {
                write!(f, "create tenant {tenant} on {}", clusters.join(", "))
            }
            Self::CreateNamespace { namespace, .. } => {
                write!(f, "create namespace {namespace} with its policies and permissions")
            }
            Self::SetRetention { namespace, from, to } => {
                let show = |r: &Retention| {
                    format!("{} minutes, {} MB", r.retention_time_in_minutes, r.retention_size_in_mb)
                };
                let from = from.as_ref().map_or("the broker's default".into(), show);
                write!(f, "set retention of {namespace} to {} (was {from})", show(to))
            }
            Self::SetBacklogQuota { namespace, from, to } => {
                let show = |q: &BacklogQuota| format!("{} bytes, {}", q.limit_size, q.policy);
                let from = from.as_ref().map_or("the broker's default".into(), show);
                write!(f, "set backlog quota of {namespace} to {} (was {from})", show(to))
            }
            Self::RemoveMessageTtl { namespace, from } => {
                write!(
                    f,
                    "remove message TTL of {namespace} (was {from} s, it discards unacknowledged messages)"
                )
            }
            Self::DisableDeduplication { namespace } => write!(f, "turn off deduplication of {namespace}"),
            Self::KeepInactiveTopics { namespace, .. } => write!(f, "keep idle topics of {namespace}"),
            Self::Revoke { on, role } => write!(f, "take role {role} its rights on {on}"),
            Self::DeleteTopic { topic } => write!(f, "delete topic {topic}"),
            Self::DeleteNamespace { namespace } => write!(f, "delete namespace {namespace}"),
            Self::DeleteTenant { tenant } => write!(f, "delete tenant {tenant}"),
            Self::Grant { on, role, actions } => {
                let actions: Vec<_> = actions.iter().map(String::as_str).collect();
                write!(f, "let role {role} {} on {on}", actions.join(" and "))
            }
            Self::CreateTopic { topic, partitions: 0 } => write!(f, "create topic {topic}"),
            Self::CreateTopic { topic, partitions } => {
                write!(f, "create topic {topic} with {partitions} partitions")
            }
            Self::AddPartitions { topic, from, to } => {
                write!(f, "raise partitions of {topic} from {from} to {to}")
            }
            Self::CreateSubscription { topic, subscription } => {
                write!(f, "create subscription {subscription} on {topic} at the earliest message")
            }
        }
    }
}
