//! Topic names both ways: from tenant and lane to a topic, and from a topic back.

use serde::{Deserialize, Serialize};

use crate::{Lane, TenantId};

const SCHEME: &str = "persistent://";
const PARTITION: &str = "-partition-";

/// The template of the topics' names; the same in every process of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicNames {
    pub namespace: String,
    pub short: String,
    pub long: String,
    pub ai: String,
    pub analytics: String,
    /// Stands before a lane's name and makes its dead-letter topic.
    pub dead_letter_prefix: String,
}

impl Default for TopicNames {
    fn default() -> Self {
        Self {
            namespace: "workflows".into(),
            short: "dealscale.workflow.short".into(),
            long: "dealscale.workflow.long".into(),
            ai: "dealscale.ai.inference".into(),
            analytics: "dealscale.analytics.events".into(),
            dead_letter_prefix: "dealscale.deadletter.".into(),
        }
    }
}

/// Whose topic it is and what travels on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicAddress {
    pub tenant: TenantId,
    pub lane: Lane,
    pub dead_letter: bool,
}

/// A template that would not lead back from a topic to its tenant and lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicNamesError {
    #[error(
        "topic name part {0:?} must be 1 to 128 letters, digits and . _ - and must not end like a partition's name"
    )]
    Unusable(String),
    #[error("two topics would both be named {0:?}; give each lane and its dead letters a name of their own")]
    Ambiguous(String),
}

impl TopicNames {
    pub fn topic(&self, tenant: &TenantId, lane: Lane) -> String {
        format!("{SCHEME}{tenant}/{}/{}", self.namespace, self.local(lane))
    }

    pub fn dead_letter(&self, tenant: &TenantId, lane: Lane) -> String {
        format!("{SCHEME}{tenant}/{}/{}{}", self.namespace, self.dead_letter_prefix, self.local(lane))
    }

    /// The address of a topic or of one of its partitions; `None` for a topic that is not ours.
    pub fn parse(&self, topic: &str) -> Option<TopicAddress> {
        let (tenant, rest) = logical_topic(topic).strip_prefix(SCHEME)?.split_once('/')?;
        let local = rest.strip_prefix(self.namespace.as_str())?.strip_prefix('/')?;
        let tenant = TenantId::parse(tenant).ok()?;
        if let Some(lane) = self.lane(local) {
            return Some(TopicAddress { tenant, lane, dead_letter: false });
        }
        let lane = self.lane(local.strip_prefix(self.dead_letter_prefix.as_str())?)?;
        Some(TopicAddress { tenant, lane, dead_letter: true })
    }

    /// Asked once at start, so that a topic always leads back to where it came from.
    pub fn check(&self) -> Result<(), TopicNamesError> {
        let locals: Vec<String> = Lane::ALL
            .iter()
            .flat_map(|lane| {
                let local = self.local(*lane);
                [local.to_owned(), format!("{}{local}", self.dead_letter_prefix)]
            })
            .collect();
        let usable = |part: &str| {
            (1..=128).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && logical_topic(part) == part
        };
        if let Some(bad) = locals.iter().chain([&self.namespace]).find(|part| !usable(part)) {
            return Err(TopicNamesError::Unusable(bad.clone()));
        }
        match locals.iter().enumerate().find(|(i, name)| locals[..*i].contains(name)) {
            Some((_, twice)) => Err(TopicNamesError::Ambiguous(twice.clone())),
            None => Ok(()),
        }
    }

    fn local(&self, lane: Lane) -> &str {
        match lane {
            Lane::Short => &self.short,
            Lane::Long => &self.long,
            Lane::Ai => &self.ai,
            Lane::Analytics => &self.analytics,
        }
    }

    fn lane(&self, local: &str) -> Option<Lane> {
        Lane::ALL.iter().copied().find(|lane| self.local(*lane) == local)
    }
}

/// The topic that a partition belongs to; any other name comes back unchanged.
pub fn logical_topic(topic: &str) -> &str {
    match topic.rsplit_once(PARTITION) {
        Some((logical, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => logical,
        _ => topic,
    }
}
