//! Who may do what with a tenant's topics.

use std::collections::{BTreeMap, BTreeSet};

use bridge_protocol::TenantId;

use super::change::Change;
use super::file::TopicsFile;
use super::plan::Wanted;
use crate::admin::AuthPolicies;

/// The publisher produces and the consumer consumes, each nothing else; the tenant itself reads its dead letters.
pub(super) struct Rights {
    namespace: String,
    /// On the whole namespace: role and action.
    daemons: Vec<(String, &'static str)>,
    tenant: Option<String>,
    dead_letters: Vec<String>,
}

impl Rights {
    pub(super) fn of(file: &TopicsFile, wanted: &[Wanted], namespace: &str, tenant: &TenantId) -> Self {
        let roles = &file.roles;
        let daemons = [(roles.publisher.clone(), "produce"), (roles.consumer.clone(), "consume")];
        Self {
            namespace: namespace.to_owned(),
            daemons: daemons.into_iter().filter(|(role, _)| !role.is_empty()).collect(),
            tenant: roles.of_tenant(tenant),
            dead_letters: wanted.iter().filter(|one| !one.subscribed).map(|one| one.topic.clone()).collect(),
        }
    }

    /// For a namespace that is made now.
    pub(super) fn as_policies(&self) -> AuthPolicies {
        let namespace_auth = self.daemons.iter().map(|(role, action)| (role.clone(), only(action))).collect();
        let mut destination_auth = BTreeMap::new();
        if let Some(role) = &self.tenant {
            for topic in &self.dead_letters {
                destination_auth.insert(topic.clone(), BTreeMap::from([(role.clone(), only("consume"))]));
            }
        }
        AuthPolicies { namespace_auth, destination_auth }
    }

    /// Roles that the file does not name are left alone.
    pub(super) fn changes(&self, present: &AuthPolicies) -> Vec<Change> {
        let grant = |on: &str, role: &str, action| Change::Grant {
            on: on.to_owned(),
            role: role.to_owned(),
            actions: only(action),
        };
        let revoke = |on: &str, role: &str| Change::Revoke { on: on.to_owned(), role: role.to_owned() };
        let mut changes = Vec::new();
        for (role, action) in &self.daemons {
            if present.on_namespace(role) != Some(&only(action)) {
                changes.push(grant(&self.namespace, role, action));
            }
            // What they may on the namespace holds for each topic; more on a single one is too much.
            let topics = present.destination_auth.keys();
            let more = topics.filter(|topic| {
                present.on_topic(topic, role).is_some_and(|actions| !actions.is_subset(&only(action)))
            });
            changes.extend(more.map(|topic| revoke(topic, role)));
        }
        let Some(role) = &self.tenant else { return changes };
        if present.on_namespace(role).is_some() {
            changes.push(revoke(&self.namespace, role));
        }
        for topic in &self.dead_letters {
            if present.on_topic(topic, role) != Some(&only("consume")) {
                changes.push(grant(topic, role, "consume"));
            }
        }
        let topics = present.destination_auth.keys().filter(|topic| !self.dead_letters.contains(topic));
        let too_much = topics.filter(|topic| present.on_topic(topic, role).is_some());
        changes.extend(too_much.map(|topic| revoke(topic, role)));
        changes
    }
}

fn only(action: &str) -> BTreeSet<String> {
    BTreeSet::from([action.to_owned()])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const LANE: &str = "persistent://acme/workflows/lane";
    const DEAD: &str = "persistent://acme/workflows/dead";

    fn rights() -> Rights {
        let file = TopicsFile::parse(include_str!("../../../../pulsar/topics.yml")).unwrap();
        let wanted = |topic: &str, subscribed| Wanted { topic: topic.into(), partitions: 0, subscribed };
        let wanted = [wanted(LANE, true), wanted(DEAD, false)];
        Rights::of(&file, &wanted, "acme/workflows", &TenantId::parse("acme").unwrap())
    }

    #[test]
    fn what_a_new_namespace_gets_needs_no_change() {
        let policies = rights().as_policies();
        assert_eq!(policies.on_topic(DEAD, "tenant-acme"), Some(&only("consume")));
        assert_eq!(policies.on_topic(LANE, "tenant-acme"), None);
        assert!(rights().changes(&policies).is_empty());
    }

    #[test]
    fn too_much_is_taken_away_and_foreign_roles_stay() {
        let mut policies = rights().as_policies();
        policies.namespace_auth.insert("tenant-acme".into(), only("consume"));
        policies.namespace_auth.insert("somebody-else".into(), only("produce"));
        policies.namespace_auth.get_mut("bridge-consumer").unwrap().insert("produce".into());
        let on_lane = BTreeMap::from([
            ("tenant-acme".to_owned(), only("consume")),
            ("bridge-consumer".to_owned(), only("produce")),
        ]);
        policies.destination_auth.insert(LANE.into(), on_lane);
        let changes: Vec<_> = rights().changes(&policies).iter().map(ToString::to_string).collect();
        assert_eq!(
            changes,
            [
                "let role bridge-consumer consume on acme/workflows",
                "take role bridge-consumer its rights on persistent://acme/workflows/lane",
                "take role tenant-acme its rights on acme/workflows",
                "take role tenant-acme its rights on persistent://acme/workflows/lane",
            ]
        );
    }
}
