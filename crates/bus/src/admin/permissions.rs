//! Which role may do what, on a namespace or on one topic.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, AdminError, namespaces, objects};

type Actions = BTreeSet<String>;

/// As the broker keeps them with the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthPolicies {
    /// By role.
    pub namespace_auth: BTreeMap<String, Actions>,
    /// By topic and role.
    pub destination_auth: BTreeMap<String, BTreeMap<String, Actions>>,
}

impl AuthPolicies {
    pub fn on_namespace(&self, role: &str) -> Option<&Actions> {
        self.namespace_auth.get(role)
    }

    pub fn on_topic(&self, topic: &str, role: &str) -> Option<&Actions> {
        self.destination_auth.get(topic)?.get(role)
    }
}

impl Admin {
    /// On a namespace (`tenant/namespace`) or on a topic; what the role had there before is replaced.
    pub async fn grant(&self, on: &str, role: &str, actions: &Actions) -> Result<(), AdminError> {
        let path = address(on, role)?;
        self.write("grant permissions on", on, Method::POST, path, Some(json!(actions))).await
    }

    /// Everything the role had on the namespace or topic.
    pub async fn revoke(&self, on: &str, role: &str) -> Result<(), AdminError> {
        self.write("revoke permissions on", on, Method::DELETE, address(on, role)?, None).await
    }
}

fn address(on: &str, role: &str) -> Result<String, AdminError> {
    let role: String = url::form_urlencoded::byte_serialize(role.as_bytes()).collect();
    // In a path a plus is a plus.
    let rest = format!("/permissions/{}", role.replace('+', "%20"));
    if on.starts_with("persistent://") { objects::path(on, &rest) } else { Ok(namespaces::path(on, &rest)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::address;

    #[test]
    fn a_namespace_and_a_topic_have_their_own_addresses() {
        assert_eq!(address("a/w", "my role").unwrap(), "/admin/v2/namespaces/a/w/permissions/my%20role");
        assert_eq!(address("persistent://a/w/t", "r").unwrap(), "/admin/v2/persistent/a/w/t/permissions/r");
    }
}
