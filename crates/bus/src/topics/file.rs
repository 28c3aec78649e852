//! `pulsar/topics.yml`, read strictly.

use serde::Deserialize;

use bridge_protocol::{Lane, TenantId};

/// The broker counts in minutes and megabytes; both are kept small enough to be multiplied.
const MOST_HOURS: i64 = 24 * 3650;
const MOST_MEGABYTES: i64 = 1 << 30;
const MOST_PARTITIONS: u32 = 1024;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsFile {
    #[serde(default)]
    pub clusters: Vec<String>,
    #[serde(default = "bridge_consumer")]
    pub subscription: String,
    #[serde(default)]
    pub roles: Roles,
    pub namespace: NamespaceRules,
    #[serde(default)]
    pub lanes: Lanes,
    #[serde(default)]
    pub dead_letter: TopicRules,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Roles {
    pub publisher: String,
    pub consumer: String,
    /// A tenant's own role, with `{tenant}` where its name goes.
    pub tenant: String,
}

const TENANT: &str = "{tenant}";

impl Roles {
    /// The tenant's own role; `None` where tenants have none.
    pub fn of_tenant(&self, tenant: &TenantId) -> Option<String> {
        (!self.tenant.is_empty()).then(|| self.tenant.replace(TENANT, tenant.as_str()))
    }

    /// Could some tenant's own role be this one?
    fn is_some_tenants(&self, role: &str) -> bool {
        let Some((before, after)) = self.tenant.split_once(TENANT) else { return false };
        let middle = role.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        middle.is_some_and(|middle| TenantId::parse(middle).is_ok())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceRules {
    pub retention: RetentionRules,
    pub backlog_quota: QuotaRules,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRules {
    pub hours: i64,
    pub megabytes: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaRules {
    pub megabytes: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lanes {
    pub short: TopicRules,
    pub long: TopicRules,
    pub ai: TopicRules,
    pub analytics: TopicRules,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicRules {
    pub partitions: u32,
}

/// Every fault of the file at once.
#[derive(Debug, thiserror::Error)]
pub enum TopicsFileError {
    #[error("the topics file cannot be read; correct it and apply again")]
    Yaml(#[source] serde_yaml_ng::Error),
    #[error("the topics file is not usable: {}", .0.join("; "))]
    Rules(Vec<String>),
}

fn bridge_consumer() -> String {
    "bridge-consumer".into()
}

impl TopicsFile {
    pub fn parse(yaml: &str) -> Result<Self, TopicsFileError> {
        let file: Self = serde_yaml_ng::from_str(yaml).map_err(TopicsFileError::Yaml)?;
        let faults = file.faults();
        if faults.is_empty() { Ok(file) } else { Err(TopicsFileError::Rules(faults)) }
    }

    pub fn lane(&self, lane: Lane) -> TopicRules {
        match lane {
            Lane::Short => self.lanes.short,
            Lane::Long => self.lanes.long,
            Lane::Ai => self.lanes.ai,
            Lane::Analytics => self.lanes.analytics,
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |wrong: bool, text: &str| {
            if wrong {
                faults.push(text.to_owned());
            }
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let subscription = &self.subscription;
        fault(
            subscription.is_empty() || !subscription.chars().all(plain),
            "subscription must be letters, digits, dots, dashes and underscores",
        );
        let (retention, quota) = (&self.namespace.retention, &self.namespace.backlog_quota);
        // 0 hours or 0 megabytes means no retention at all for the broker.
        fault(
            retention.hours != -1 && !(1..=MOST_HOURS).contains(&retention.hours),
            "namespace.retention.hours must be at least 1, or -1 for without end",
        );
        fault(
            retention.megabytes != -1 && !(1..=MOST_MEGABYTES).contains(&retention.megabytes),
            "namespace.retention.megabytes must be at least 1, or -1 for without end",
        );
        fault(
            quota.megabytes != -1 && !(1..=MOST_MEGABYTES).contains(&quota.megabytes),
            "namespace.backlog_quota.megabytes must be at least 1, or -1 for without end",
        );
        // The broker answers 412 otherwise; equal is refused too.
        fault(
            retention.megabytes != -1 && (quota.megabytes == -1 || quota.megabytes >= retention.megabytes),
            "namespace.backlog_quota.megabytes must be smaller than namespace.retention.megabytes",
        );
        let rules = Lane::ALL.iter().map(|lane| self.lane(*lane)).chain([self.dead_letter]);
        fault(
            rules.into_iter().any(|rules| rules.partitions > MOST_PARTITIONS),
            "partitions must be at most 1024",
        );
        fault(
            !self.roles.publisher.is_empty() && self.roles.publisher == self.roles.consumer,
            "roles.publisher and roles.consumer must differ: one may only produce, the other only consume",
        );
        let roles = &self.roles;
        fault(
            !roles.tenant.is_empty() && roles.tenant.matches(TENANT).count() != 1,
            "roles.tenant must have {tenant} in it once, or all tenants would share a role",
        );
        fault(
            roles.is_some_tenants(&roles.publisher) || roles.is_some_tenants(&roles.consumer),
            "roles.tenant must not be able to become roles.publisher or roles.consumer for some tenant's name",
        );
        let visible = |role: &String| role.chars().all(|c| c.is_ascii_graphic());
        fault(
            ![&roles.publisher, &roles.consumer, &roles.tenant].into_iter().all(visible),
            "roles must be of visible ASCII characters without spaces",
        );
        faults
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../../pulsar/topics.yml");

    fn chain(error: &TopicsFileError) -> String {
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    }

    #[test]
    fn the_shipped_file_is_valid() {
        let file = TopicsFile::parse(SHIPPED).unwrap();
        assert_eq!(file.subscription, "bridge-consumer");
        assert_eq!(file.lane(Lane::Ai).partitions, 0);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let yaml = SHIPPED.replace("    hours: 24", "    hours: 24\n    message_ttl: 5");
        let text = chain(&TopicsFile::parse(&yaml).unwrap_err());
        assert!(text.contains("message_ttl"), "{text}");
    }

    #[test]
    fn a_tenants_name_cannot_become_a_daemons_role() {
        let with = |tenant: &str| TopicsFile::parse(&SHIPPED.replace("tenant-{tenant}", tenant));
        let file = with("tenant-{tenant}").unwrap();
        let acme = TenantId::parse("acme").unwrap();
        assert_eq!(file.roles.of_tenant(&acme).as_deref(), Some("tenant-acme"));
        assert!(chain(&with("bridge-{tenant}").unwrap_err()).contains("some tenant's name"));
        assert!(chain(&with("everybody").unwrap_err()).contains("{tenant}"));
        assert_eq!(with("").unwrap().roles.of_tenant(&acme), None);
    }

    #[test]
    fn all_faults_are_reported_together() {
        let yaml = SHIPPED
            .replace("hours: 24", "hours: 0")
            .replace("megabytes: 1024", "megabytes: 4096")
            .replace("subscription: bridge-consumer", "subscription: a b");
        let text = chain(&TopicsFile::parse(&yaml).unwrap_err());
        for part in ["retention.hours", "must be smaller", "subscription must"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
