//! The tenants' half at the broker: the rules they are made by, and the admin connection.

use std::path::Path;

use anyhow::Context;
use bridge_bus::admin::Problem;
use bridge_bus::{Admin, AdminError, TopicsFile, topics};
use bridge_protocol::{TenantId, TopicNames};
use bridge_service::Config;

use crate::{Exit, Failure};

/// What every installation starts from.
const SHIPPED: &str = include_str!("../../../pulsar/topics.yml");

pub struct Broker {
    pub admin: Admin,
    pub rules: TopicsFile,
    pub names: TopicNames,
}

impl Broker {
    /// `file`: other rules than the built-in ones.
    pub fn open(config: &Config, file: Option<&Path>) -> Result<Self, Failure> {
        let rules = Self::rules(config, file)?;
        let limit = config.pulsar.operation_timeout_ms.get();
        let admin = Admin::new(&config.pulsar.http_url, config.admin_auth(), config.tls(), limit);
        Ok(Self { admin: admin.map_err(failed)?, rules, names: config.topic_names() })
    }

    pub fn rules(config: &Config, file: Option<&Path>) -> Result<TopicsFile, Failure> {
        rules(file, config).map_err(|error| Failure::because(Exit::Usage, error))
    }

    /// Before many tenants are applied one by one: the broker is asked for its clusters once, not once for each.
    pub async fn ask_clusters(&mut self) -> Result<(), Failure> {
        if self.rules.clusters.is_empty() {
            let all = self.admin.clusters().await.map_err(failed)?;
            // The broker lists its inner "global" too, which no tenant can be on.
            self.rules.clusters = all.into_iter().filter(|name| name != "global").collect();
        }
        Ok(())
    }

    /// What was changed, or would be.
    pub async fn apply(&self, tenants: &[TenantId], dry_run: bool) -> Result<Vec<String>, Failure> {
        let changes =
            topics::apply(&self.admin, &self.rules, &self.names, tenants, dry_run).await.map_err(failed)?;
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    /// Topics, namespace and tenant; what is not there is no fault.
    pub async fn remove(&self, tenant: &TenantId) -> Result<Vec<String>, Failure> {
        let removed = topics::remove(&self.admin, &self.names, tenant).await.map_err(failed)?;
        Ok(removed.iter().map(ToString::to_string).collect())
    }
}

fn rules(file: Option<&Path>, config: &Config) -> anyhow::Result<TopicsFile> {
    let text = match file {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => SHIPPED.to_owned(),
    };
    let mut rules = TopicsFile::parse(&text)?;
    let subscription = &config.pulsar.subscription;
    if file.is_some() && rules.subscription != *subscription {
        let file = &rules.subscription;
        anyhow::bail!(
            "the file creates the subscription {file}, but the consumers use {subscription}: \
             messages would pile up unread; make both the same (pulsar.subscription)"
        );
    }
    rules.subscription.clone_from(subscription);
    Ok(rules)
}

pub fn failed(error: impl Into<anyhow::Error>) -> Failure {
    let error = error.into();
    let broker = error.chain().find_map(|cause| cause.downcast_ref::<AdminError>());
    let exit = match broker.map(|error| &error.problem) {
        Some(Problem::BadUrl | Problem::BadName(_) | Problem::Certificates(_)) => Exit::Usage,
        Some(Problem::Status { status: 401 | 403, .. } | Problem::Credential(_)) => Exit::Unauthorized,
        Some(Problem::Transport(_) | Problem::Timeout(_) | Problem::Status { status: 502..=504, .. }) => {
            Exit::Unavailable
        }
        _ => Exit::Failed,
    };
    Failure::because(exit, error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_rules_are_usable() {
        assert_eq!(TopicsFile::parse(SHIPPED).unwrap().subscription, "bridge-consumer");
    }
}
