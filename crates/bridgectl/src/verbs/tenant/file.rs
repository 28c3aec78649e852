//! The file of `bridgectl tenant apply`, read strictly: all its faults at once.

use std::collections::BTreeSet;

use bridge_protocol::{Scope, TenantId};
use serde::Deserialize;

use super::create::N8N_SCOPES;
use crate::answers::admin::Limits;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    defaults: Settings,
    tenants: Vec<Entry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    state: Option<State>,
    limits: Option<LimitsText>,
    clients: Option<Vec<ClientText>>,
}

/// Not flattened: serde would no longer refuse what it does not know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    state: Option<State>,
    limits: Option<LimitsText>,
    clients: Option<Vec<ClientText>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Active,
    Suspended,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    requests_per_second: Option<f64>,
    burst: Option<u64>,
    open_executions: Option<u64>,
    payload_bytes_per_day: Option<u64>,
    result_ttl_s: Option<u64>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientText {
    name: String,
    #[serde(default)]
    kind: Kind,
    scopes: Option<Vec<String>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    ServiceAccount,
    ApiKey,
}

/// One tenant as it should be; what is `None` is left as it is.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub id: TenantId,
    pub state: Option<&'static str>,
    pub limits: Option<Limits>,
    pub clients: Vec<WantedClient>,
}

#[derive(Clone, Debug)]
pub struct WantedClient {
    pub name: String,
    pub kind: &'static str,
    pub scopes: Vec<String>,
}

pub fn parse(text: &str) -> Result<Vec<Wanted>, String> {
    let text: Text = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let mut wanted = Vec::with_capacity(text.tenants.len());
    for entry in text.tenants {
        let name = &entry.id;
        if !seen.insert(name.clone()) {
            faults.push(format!("tenant {name} is there twice"));
        }
        let state = entry.state.or(text.defaults.state).map(|state| match state {
            State::Active => "active",
            State::Suspended => "suspended",
        });
        let limits = entry.limits.or_else(|| text.defaults.limits.clone()).map(|limits| Limits {
            requests_per_second: limits.requests_per_second,
            burst: limits.burst,
            open_executions: limits.open_executions,
            payload_bytes_per_day: limits.payload_bytes_per_day,
            result_ttl_s: limits.result_ttl_s,
        });
        let clients = entry.clients.or_else(|| text.defaults.clients.clone()).unwrap_or_default();
        let clients = clients.into_iter().map(|client| client.checked(name, &mut faults)).collect();
        match TenantId::parse(name) {
            Ok(id) => wanted.push(Wanted { id, state, limits, clients }),
            Err(error) => faults.push(format!("tenant {name:?}: {error}")),
        }
    }
    if faults.is_empty() { Ok(wanted) } else { Err(faults.join("\n  ")) }
}

impl ClientText {
    fn checked(self, tenant: &str, faults: &mut Vec<String>) -> WantedClient {
        let scopes = self.scopes.unwrap_or_else(|| N8N_SCOPES.map(str::to_owned).to_vec());
        for scope in &scopes {
            match scope.parse::<Scope>() {
                Ok(Scope::Admin) => {
                    faults.push(format!("tenant {tenant}, client {}: admin is no tenant's scope", self.name));
                }
                Ok(_) => {}
                Err(error) => faults.push(format!("tenant {tenant}, client {}: {error}", self.name)),
            }
        }
        // The name becomes a file's name.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            faults.push(format!(
                "tenant {tenant}, client {:?}: a name here has letters, digits and . _ -",
                self.name
            ));
        }
        let kind = match self.kind {
            Kind::ServiceAccount => "service_account",
            Kind::ApiKey => "api_key",
        };
        WantedClient { name: self.name, kind, scopes }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_where_a_tenant_says_nothing() {
        let text = "defaults:\n  limits: {requests_per_second: 5}\n  clients: [{name: n8n}]\n\
                    tenants:\n  - id: acme\n  - id: bravo\n    state: suspended\n    limits: {}\n    clients: []\n";
        let wanted = parse(text).unwrap();
        assert_eq!(wanted[0].limits.as_ref().unwrap().requests_per_second, Some(5.0));
        assert_eq!(wanted[0].clients[0].scopes, N8N_SCOPES);
        assert_eq!((wanted[0].state, wanted[1].state), (None, Some("suspended")));
        assert_eq!(wanted[1].limits, Some(Limits::default()));
        assert!(wanted[1].clients.is_empty());
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let text = "tenants:\n  - id: acme\n  - id: acme\n  - id: Not One\n    clients:\n\
                    \x20     - {name: ../x, scopes: [admin, wirte]}\n";
        let faults = parse(text).unwrap_err();
        for part in ["twice", "Not One", "\"../x\"", "no tenant's scope", "wirte"] {
            assert!(faults.contains(part), "{part} in {faults}");
        }
        assert!(parse("tenants:\n  - id: acme\n    limit: {}\n").unwrap_err().contains("limit"));
    }
}
