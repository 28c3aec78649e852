//! The lists of a configuration file: tenants and routes. Every entry is read on its own, so that each fault of
//! each entry is found.

use super::{
    faults::ConfigFaults,
    value::{Secret, optional},
};
use bridge_protocol::{Route, RouteEntry, TenantId, WorkflowId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::PathBuf;
use toml::{Table, Value};

#[derive(Debug, Clone, Serialize)]
pub struct Tenant {
    pub id: TenantId,
    pub api_token: Secret,
    pub webhook_secrets: Vec<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantKeys {
    id: String,
    #[serde(default, deserialize_with = "optional")]
    api_token: Option<Secret>,
    #[serde(default, deserialize_with = "optional")]
    api_token_file: Option<PathBuf>,
    #[serde(default)]
    webhook_secrets: Vec<Secret>,
}

const SHORTEST_TOKEN: usize = 16;

pub(super) fn tenants(list: &[Value], faults: &mut ConfigFaults) -> Vec<Tenant> {
    let mut found: Vec<Tenant> = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let place = format!("tenants[{index}]");
        let Some(keys) = entry::<TenantKeys>(&place, value, None, faults) else { continue };
        let id = TenantId::parse(&keys.id)
            .map_err(|error| faults.add(format!("{place}.id"), error.to_string()))
            .ok();
        let token = match (keys.api_token, keys.api_token_file) {
            (Some(token), None) => Some(token),
            (None, Some(file)) => read_secret(&format!("{place}.api_token_file"), &file, faults),
            (Some(_), Some(_)) => {
                faults.add(format!("{place}.api_token"), "give api_token or api_token_file, not both");
                None
            }
            (None, None) => {
                faults.add(format!("{place}.api_token"), "is missing; give api_token or api_token_file");
                None
            }
        };
        let token = token.filter(|token| {
            let long_enough = token.expose().len() >= SHORTEST_TOKEN;
            let printable = token.expose().bytes().all(|byte| byte.is_ascii_graphic());
            if !long_enough || !printable {
                let what =
                    format!("must be {SHORTEST_TOKEN} or more visible ASCII characters without spaces");
                faults.add(format!("{place}.api_token"), what);
            }
            long_enough && printable
        });
        for (number, secret) in keys.webhook_secrets.iter().enumerate() {
            if bridge_protocol::WebhookSecret::parse(secret.expose()).is_err() {
                let what = "must be whsec_ and the base64 of 24 to 64 bytes";
                faults.add(format!("{place}.webhook_secrets[{number}]"), what);
            }
        }
        let (Some(id), Some(api_token)) = (id, token) else { continue };
        if found.iter().any(|other| other.id == id) {
            faults.add(format!("{place}.id"), format!("{id} stands in the list twice"));
        } else if found.iter().any(|other| other.api_token == api_token) {
            faults.add(format!("{place}.api_token"), "is another tenant's token; every tenant needs its own");
        } else {
            found.push(Tenant { id, api_token, webhook_secrets: keys.webhook_secrets });
        }
    }
    found
}

pub(super) fn routes(list: &[Value], tenants: &[Tenant], faults: &mut ConfigFaults) -> Vec<RouteEntry> {
    let mut found: Vec<RouteEntry> = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let place = format!("routes[{index}]");
        let Value::Table(mut table) = value.clone() else {
            faults.add(&place, "must be a table");
            continue;
        };
        let tenant = take(&mut table, &place, "tenant", faults).and_then(|text| {
            TenantId::parse(&text)
                .map_err(|error| faults.add(format!("{place}.tenant"), error.to_string()))
                .ok()
        });
        if let Some(tenant) =
            tenant.as_ref().filter(|tenant| !tenants.iter().any(|known| known.id == **tenant))
        {
            faults.add(format!("{place}.tenant"), format!("{tenant} is not one of [[tenants]]"));
        }
        let workflow = take(&mut table, &place, "workflow", faults).and_then(|text| {
            WorkflowId::parse(&text)
                .map_err(|error| faults.add(format!("{place}.workflow"), error.to_string()))
                .ok()
        });
        let route = entry::<Route>(&place, &Value::Table(table), None, faults);
        let (Some(tenant), Some(workflow), Some(route)) = (tenant, workflow, route) else { continue };
        found.push(RouteEntry { tenant, workflow, route });
    }
    found
}

fn take(table: &mut Table, place: &str, key: &str, faults: &mut ConfigFaults) -> Option<String> {
    match table.remove(key) {
        Some(Value::String(text)) => Some(text),
        Some(_) => {
            faults.add(format!("{place}.{key}"), "must be a string");
            None
        }
        None => {
            faults.add(format!("{place}.{key}"), "is missing");
            None
        }
    }
}

pub(super) fn read_secret(place: &str, file: &std::path::Path, faults: &mut ConfigFaults) -> Option<Secret> {
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => faults.add(place, format!("{} is empty", file.display())),
        Ok(text) => return Some(Secret::from(text)),
        Err(error) => faults.add(place, format!("{} cannot be read: {error}", file.display())),
    }
    None
}

/// Reads one table. After a fault the key at fault gets its default, or goes, and the rest is read again: what
/// comes back may be used to look for more faults.
pub(super) fn entry<T: DeserializeOwned>(
    place: &str,
    value: &Value,
    defaults: Option<&Value>,
    faults: &mut ConfigFaults,
) -> Option<T> {
    let mut rest = value.clone();
    let mut clean = true;
    loop {
        let error = match serde_path_to_error::deserialize(rest.clone()) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let message = error.inner().message();
        // A key that went is missing now; that is no fault of its own.
        if !clean && message.starts_with("missing field") {
            return None;
        }
        clean = false;
        let path = error.path().to_string();
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let at = match (path.as_str(), unknown) {
            (".", None) => place.to_owned(),
            (".", Some(field)) => format!("{place}.{field}"),
            (path, _) => format!("{place}.{path}"),
        };
        faults.add(at, explain(message));
        let key = match path.split(['.', '[']).next() {
            Some("") | None => unknown.unwrap_or_default().to_owned(),
            Some(key) => key.to_owned(),
        };
        let table = rest.as_table_mut()?;
        table.remove(&key)?;
        if let Some(default) = defaults.and_then(|defaults| defaults.get(&key)) {
            table.insert(key, default.clone());
        }
    }
}

/// serde's words are fine but for the one that lists a dozen keys.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field")
        && let Some(field) = quoted.next()
    {
        return format!("is not a key here{}", crate::suggest::did_you_mean(field, quoted));
    }
    if message == "invalid socket address syntax" {
        return "must be an address and a port, for example 0.0.0.0:8000".to_owned();
    }
    message.trim().to_owned()
}
