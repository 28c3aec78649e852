//! Tenants, namespaces and their policies.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::http::Call;
use super::{Admin, AdminError, AuthPolicies};

/// Kept after everybody has acknowledged it; -1 is without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    pub retention_time_in_minutes: i64,
    #[serde(rename = "retentionSizeInMB")]
    pub retention_size_in_mb: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BacklogQuota {
    /// Bytes; -1 is without end.
    pub limit_size: i64,
    /// Seconds; -1 is without end.
    pub limit_time: i64,
    pub policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InactiveTopics {
    pub inactive_topic_delete_mode: String,
    pub max_inactive_duration_seconds: i64,
    pub delete_while_inactive: bool,
}

/// What of a namespace's policies concerns us. The broker mixes two styles of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamespacePolicies {
    #[serde(rename = "retention_policies")]
    pub retention: Option<Retention>,
    backlog_quota_map: BTreeMap<String, BacklogQuota>,
    #[serde(rename = "message_ttl_in_seconds")]
    pub message_ttl: Option<i64>,
    #[serde(rename = "deduplicationEnabled")]
    pub deduplication: Option<bool>,
    #[serde(rename = "inactive_topic_policies")]
    pub inactive_topics: Option<InactiveTopics>,
    #[serde(rename = "auth_policies")]
    pub permissions: AuthPolicies,
}

/// A namespace that is made as it shall be, in one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNamespace {
    pub retention: Retention,
    pub backlog_quota: BacklogQuota,
    pub inactive_topics: InactiveTopics,
    pub permissions: AuthPolicies,
    /// The clusters it is on: with a body the broker takes none by itself.
    pub clusters: Vec<String>,
}

const SIZE_QUOTA: &str = "destination_storage";

impl NamespacePolicies {
    pub fn backlog_quota(&self) -> Option<&BacklogQuota> {
        self.backlog_quota_map.get(SIZE_QUOTA)
    }
}

impl Admin {
    pub async fn clusters(&self) -> Result<Vec<String>, AdminError> {
        self.read("list", "clusters", "/admin/v2/clusters".into()).await
    }

    /// Is the broker well? Needs a superuser where the broker checks credentials.
    pub async fn healthy(&self) -> Result<(), AdminError> {
        self.write("check the health of", "the broker", Method::GET, "/admin/v2/brokers/health".into(), None)
            .await
    }

    /// Does the broker serve requests? Any valid credential will do.
    pub async fn ready(&self) -> Result<(), AdminError> {
        let path = "/admin/v2/brokers/ready".into();
        self.write("check the readiness of", "the broker", Method::GET, path, None).await
    }

    /// The broker's release, as it says it itself.
    pub async fn version(&self) -> Result<String, AdminError> {
        let (verb, object, path) = ("ask the version of", "the broker", "/admin/v2/brokers/version".into());
        let answered = self.call(Call { verb, object, method: Method::GET, path, body: None }).await?;
        Ok(String::from_utf8_lossy(&answered.body).trim().trim_matches('"').to_owned())
    }

    pub async fn tenants(&self) -> Result<Vec<String>, AdminError> {
        self.read("list", "tenants", "/admin/v2/tenants".into()).await
    }

    pub async fn create_tenant(&self, tenant: &str, clusters: &[String]) -> Result<(), AdminError> {
        let body = json!({ "adminRoles": [], "allowedClusters": clusters });
        self.write("create tenant", tenant, Method::PUT, format!("/admin/v2/tenants/{tenant}"), Some(body))
            .await
    }

    pub async fn delete_tenant(&self, tenant: &str) -> Result<(), AdminError> {
        self.write("delete tenant", tenant, Method::DELETE, format!("/admin/v2/tenants/{tenant}"), None).await
    }

    /// Full names, `tenant/namespace`; `None` when there is no such tenant.
    pub async fn namespaces(&self, tenant: &str) -> Result<Option<Vec<String>>, AdminError> {
        self.find("list namespaces of", tenant, format!("/admin/v2/namespaces/{tenant}")).await
    }

    pub async fn create_namespace(&self, namespace: &str) -> Result<(), AdminError> {
        self.write("create namespace", namespace, Method::PUT, path(namespace, ""), None).await
    }

    /// The broker takes everything in the body of the creation, so there is no moment without it.
    pub async fn create_namespace_with(&self, namespace: &str, new: &NewNamespace) -> Result<(), AdminError> {
        let body = json!({
            "auth_policies": new.permissions,
            "replication_clusters": new.clusters,
            "backlog_quota_map": { SIZE_QUOTA: new.backlog_quota },
            "deduplicationEnabled": false,
            "retention_policies": new.retention,
            "inactive_topic_policies": new.inactive_topics,
        });
        self.write("create namespace", namespace, Method::PUT, path(namespace, ""), Some(body)).await
    }

    /// With its topics when `force` is set, where the broker allows that.
    pub async fn delete_namespace(&self, namespace: &str, force: bool) -> Result<(), AdminError> {
        let path = path(namespace, &format!("?force={force}"));
        self.write("delete namespace", namespace, Method::DELETE, path, None).await
    }

    /// `None` when there is no such tenant or namespace.
    pub async fn policies(&self, namespace: &str) -> Result<Option<NamespacePolicies>, AdminError> {
        self.find("read the policies of", namespace, path(namespace, "")).await
    }

    pub async fn set_retention(&self, namespace: &str, retention: &Retention) -> Result<(), AdminError> {
        let path = path(namespace, "/retention");
        self.write("set the retention of", namespace, Method::POST, path, Some(json!(retention))).await
    }

    pub async fn set_backlog_quota(&self, namespace: &str, quota: &BacklogQuota) -> Result<(), AdminError> {
        let path = path(namespace, &format!("/backlogQuota?backlogQuotaType={SIZE_QUOTA}"));
        self.write("set the backlog quota of", namespace, Method::POST, path, Some(json!(quota))).await
    }

    pub async fn remove_message_ttl(&self, namespace: &str) -> Result<(), AdminError> {
        let path = path(namespace, "/messageTTL");
        self.write("remove the message TTL of", namespace, Method::DELETE, path, None).await
    }

    pub async fn set_message_ttl(&self, namespace: &str, seconds: u32) -> Result<(), AdminError> {
        let path = path(namespace, "/messageTTL");
        self.write("set the message TTL of", namespace, Method::POST, path, Some(json!(seconds))).await
    }

    pub async fn set_deduplication(&self, namespace: &str, on: bool) -> Result<(), AdminError> {
        let path = path(namespace, "/deduplication");
        self.write("set deduplication of", namespace, Method::POST, path, Some(json!(on))).await
    }

    pub async fn set_inactive_topics(
        &self,
        namespace: &str,
        inactive: &InactiveTopics,
    ) -> Result<(), AdminError> {
        let path = path(namespace, "/inactiveTopicPolicies");
        let body = Some(json!(inactive));
        self.write("set the inactive topic policy of", namespace, Method::POST, path, body).await
    }

    pub async fn unload_namespace(&self, namespace: &str) -> Result<(), AdminError> {
        self.write("unload namespace", namespace, Method::PUT, path(namespace, "/unload"), None).await
    }
}

pub(super) fn path(namespace: &str, rest: &str) -> String {
    format!("/admin/v2/namespaces/{namespace}{rest}")
}
