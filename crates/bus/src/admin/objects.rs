//! Topics and their subscriptions.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Problem;
use super::http::Call;
use super::{Admin, AdminError};

#[derive(Deserialize)]
struct Partitions {
    partitions: u32,
}

/// A message looked at without receiving it.
#[derive(Clone, Debug)]
pub struct Peeked {
    /// `{ledger}:{entry}`, as the broker gives it.
    pub message_id: String,
    /// As stored: of a foreign batch, the whole entry.
    pub body: Bytes,
}

impl Admin {
    /// Full names in the namespace, each partition by itself.
    pub async fn topics(&self, namespace: &str) -> Result<Vec<String>, AdminError> {
        self.read("list topics of", namespace, format!("/admin/v2/persistent/{namespace}")).await
    }

    /// Full names without `-partition-N`.
    pub async fn partitioned_topics(&self, namespace: &str) -> Result<Vec<String>, AdminError> {
        self.read(
            "list partitioned topics of",
            namespace,
            format!("/admin/v2/persistent/{namespace}/partitioned"),
        )
        .await
    }

    /// 0 for a plain topic; `None` when there is no such topic.
    pub async fn partitions(&self, topic: &str) -> Result<Option<u32>, AdminError> {
        let path = path(topic, "/partitions")?;
        let found: Option<Partitions> = self.find("read the partitions of", topic, path).await?;
        Ok(found.map(|found| found.partitions))
    }

    pub async fn create_topic(&self, topic: &str) -> Result<(), AdminError> {
        self.write("create topic", topic, Method::PUT, path(topic, "")?, None).await
    }

    pub async fn create_partitioned_topic(&self, topic: &str, partitions: u32) -> Result<(), AdminError> {
        let body = Some(json!(partitions));
        self.write("create partitioned topic", topic, Method::PUT, path(topic, "/partitions")?, body).await
    }

    /// Partitions can only become more.
    pub async fn grow_partitions(&self, topic: &str, partitions: u32) -> Result<(), AdminError> {
        let body = Some(json!(partitions));
        self.write("add partitions to", topic, Method::POST, path(topic, "/partitions")?, body).await
    }

    pub async fn delete_topic(&self, topic: &str, force: bool) -> Result<(), AdminError> {
        let path = path(topic, &format!("?force={force}"))?;
        self.write("delete topic", topic, Method::DELETE, path, None).await
    }

    pub async fn delete_partitioned_topic(&self, topic: &str, force: bool) -> Result<(), AdminError> {
        let path = path(topic, &format!("/partitions?force={force}"))?;
        self.write("delete partitioned topic", topic, Method::DELETE, path, None).await
    }

    pub async fn subscriptions(&self, topic: &str) -> Result<Vec<String>, AdminError> {
        self.read("list subscriptions of", topic, path(topic, "/subscriptions")?).await
    }

    /// At the earliest message there is.
    pub async fn create_subscription(&self, topic: &str, subscription: &str) -> Result<(), AdminError> {
        let path = path(topic, &format!("/subscription/{subscription}"))?;
        let earliest = json!({ "ledgerId": -1, "entryId": -1, "partitionIndex": -1 });
        self.write("create a subscription on", topic, Method::PUT, path, Some(earliest)).await
    }

    pub async fn delete_subscription(
        &self,
        topic: &str,
        subscription: &str,
        force: bool,
    ) -> Result<(), AdminError> {
        let path = path(topic, &format!("/subscription/{subscription}?force={force}"))?;
        self.write("delete a subscription of", topic, Method::DELETE, path, None).await
    }

    /// The broker closes the topic's clients and loads it anew, maybe elsewhere.
    pub async fn unload(&self, topic: &str) -> Result<(), AdminError> {
        self.write("unload topic", topic, Method::PUT, path(topic, "/unload")?, None).await
    }

    /// Throws the subscription's whole backlog away.
    pub async fn skip_all(&self, topic: &str, subscription: &str) -> Result<(), AdminError> {
        let path = path(topic, &format!("/subscription/{subscription}/skip_all"))?;
        self.write("skip the backlog of", topic, Method::POST, path, None).await
    }

    /// Looks at the `nth` unacknowledged message, from 1, without receiving it; `None` when there are fewer.
    pub async fn peek(
        &self,
        topic: &str,
        subscription: &str,
        nth: u32,
    ) -> Result<Option<Peeked>, AdminError> {
        let path = path(topic, &format!("/subscription/{subscription}/position/{nth}"))?;
        let call = Call { verb: "peek into", object: topic, method: Method::GET, path, body: None };
        match self.call(call).await {
            Ok(answered) => {
                let id = answered.headers.get("x-pulsar-message-id").and_then(|value| value.to_str().ok());
                let message_id = id.unwrap_or_default().to_owned();
                Ok(Some(Peeked { message_id, body: answered.body.into() }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The broker's own statistics of a plain topic or of one partition.
    pub async fn stats(&self, topic: &str) -> Result<Value, AdminError> {
        self.read("read the statistics of", topic, path(topic, "/stats?getPreciseBacklog=true")?).await
    }
}

/// `persistent://tenant/namespace/name` as the broker's path; names of ours need no escapes, others are refused.
pub(super) fn path(topic: &str, rest: &str) -> Result<String, AdminError> {
    let local = topic.strip_prefix("persistent://").unwrap_or_default();
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '~');
    let parts: Vec<_> = local.split('/').collect();
    if parts.len() != 3
        || parts.iter().any(|part| part.is_empty() || *part == ".." || !part.chars().all(safe))
    {
        let problem = Problem::BadName("a topic is persistent://tenant/namespace/name".into());
        return Err(AdminError::new("address topic", topic, problem));
    }
    Ok(format!("/admin/v2/persistent/{local}{rest}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::path;

    #[test]
    fn only_whole_and_plain_names_become_paths() {
        let ok = path("persistent://acme/workflows/dealscale.ai.inference", "/unload").unwrap();
        assert_eq!(ok, "/admin/v2/persistent/acme/workflows/dealscale.ai.inference/unload");
        for bad in [
            "acme/workflows/a",
            "persistent://acme/workflows",
            "persistent://acme/../a",
            "persistent://a/b/c?d",
        ] {
            assert!(path(bad, "").is_err(), "{bad}");
        }
    }
}
