//! Outside issuers: `[[auth.issuers]]` of the file, or a JSON array in the environment.

use super::entries::entry;
use super::faults::ConfigFaults;
use super::rules::http_url;
use bridge_protocol::{Scope, Scopes, TenantId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use toml::{Table, Value};
use url::Url;

/// Only keys that cannot be guessed offline: no HS256, and never "none".
const ALGORITHMS: [&str; 8] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "EdDSA"];

/// An issuer whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issuer {
    /// Exactly the `iss` of its tokens.
    pub issuer: String,
    pub audience: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    pub algorithms: Vec<String>,
    pub tenant_claim: String,
    pub scope_claim: String,
    /// From a value of the tenant claim to a tenant; None takes the value itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<BTreeMap<String, TenantId>>,
    /// For tokens that name none of our scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_scopes: Option<Scopes>,
    /// Whether its tokens may carry the scope `admin`.
    pub admin: bool,
}

/// What access to the publisher is decided by.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// The `iss` of our own tokens: the API's address as callers see it.
    pub issuer: String,
    pub audience: String,
    pub token_lifetime: Duration,
    pub issuers: Vec<Issuer>,
    pub jwks_refresh: Duration,
    pub jwks_min_refresh: Duration,
    pub fetch_timeout: Duration,
    pub max_token_bytes: usize,
    pub token_cache: usize,
    pub token_requests_per_minute: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    issuer: Option<String>,
    audience: Option<String>,
    discovery_url: Option<String>,
    jwks_url: Option<String>,
    #[serde(default = "algorithms")]
    algorithms: Vec<String>,
    #[serde(default = "tenant_claim")]
    tenant_claim: String,
    #[serde(default = "scope_claim")]
    scope_claim: String,
    tenants: Option<BTreeMap<String, String>>,
    default_scopes: Option<ScopeText>,
    #[serde(default)]
    admin: bool,
}

/// As OAuth writes scopes, or as a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum ScopeText {
    Text(String),
    List(Vec<String>),
}

fn algorithms() -> Vec<String> {
    ["RS256", "ES256", "EdDSA"].map(str::to_owned).into()
}

fn tenant_claim() -> String {
    "tenant_id".to_owned()
}

fn scope_claim() -> String {
    "scope".to_owned()
}

/// A variable's text: JSON, or a list as it would stand in the file.
pub(super) fn from_text(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    let json = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(mut json) => {
            drop_nulls(&mut json);
            Value::try_from(json).map_err(|error| format!("cannot be read: {error}"))?
        }
        Err(error) => match format!("list = {}", text.trim()).parse::<Table>() {
            Ok(mut table) => table.remove("list").unwrap_or(Value::Boolean(false)),
            Err(_) => return Err(format!("must be a JSON array of objects; it is no JSON: {error}")),
        },
    };
    match json {
        Value::Array(_) => Ok(json),
        // One issuer needs no list.
        Value::Table(_) => Ok(Value::Array(vec![json])),
        _ => {
            Err(r#"must be a JSON array of objects: [{"issuer": "https://...", "audience": "..."}]"#
                .to_owned())
        }
    }
}

/// null is how a template writes "not set".
fn drop_nulls(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

pub(super) fn read(list: &[Value], faults: &mut ConfigFaults) -> Vec<Issuer> {
    let mut found: Vec<Issuer> = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let place = format!("auth.issuers[{index}]");
        let Value::Table(table) = value else {
            faults.add(place, "must be a table (an object in JSON) with issuer and audience");
            continue;
        };
        let Some(keys) = entry::<Keys>(&place, &Value::Table(table.clone()), None, faults) else { continue };
        let issuer = one(&place, keys, faults);
        if !issuer.issuer.is_empty() && found.iter().any(|other| other.issuer == issuer.issuer) {
            faults.add(format!("{place}.issuer"), "stands in the list twice");
        }
        found.push(issuer);
    }
    found
}

/// Looks at every key; what it returns is used only when there was no fault.
fn one(place: &str, keys: Keys, faults: &mut ConfigFaults) -> Issuer {
    let mut wanted = |key: &str, value: Option<String>| {
        let value = value.filter(|value| !value.trim().is_empty());
        let at = format!("{place}.{key}");
        if value.is_none() && !faults.names(&at) {
            faults.add(at, "is missing");
        }
        value.unwrap_or_default()
    };
    let issuer = wanted("issuer", keys.issuer);
    let audience = wanted("audience", keys.audience);
    wanted("tenant_claim", Some(keys.tenant_claim.clone()));
    wanted("scope_claim", Some(keys.scope_claim.clone()));
    let urls = [
        ("issuer", Some(&issuer).filter(|issuer| !issuer.is_empty())),
        ("discovery_url", keys.discovery_url.as_ref()),
        ("jwks_url", keys.jwks_url.as_ref()),
    ];
    for (key, url) in urls.into_iter().filter_map(|(key, url)| Some((key, url?))) {
        if let Err(what) = safe_url(url) {
            faults.add(format!("{place}.{key}"), what);
        }
    }
    if keys.discovery_url.is_some() && keys.jwks_url.is_some() {
        faults.add(format!("{place}.discovery_url"), "give discovery_url or jwks_url, not both");
    }
    if keys.algorithms.is_empty() {
        faults.add(format!("{place}.algorithms"), "must name at least one");
    }
    for name in keys.algorithms.iter().filter(|name| !ALGORITHMS.contains(&name.as_str())) {
        let what = format!("{name:?} is not taken; use some of {}", ALGORITHMS.join(", "));
        faults.add(format!("{place}.algorithms"), what);
    }
    let tenants = keys.tenants.map(|map| {
        let read = |(value, id): (String, String)| match TenantId::parse(&id) {
            Ok(id) => Some((value, id)),
            Err(error) => {
                faults.add(format!("{place}.tenants.{value}"), error.to_string());
                None
            }
        };
        map.into_iter().filter_map(read).collect()
    });
    let default_scopes = keys.default_scopes.and_then(|text| {
        let text = match text {
            ScopeText::Text(text) => text,
            ScopeText::List(list) => list.join(" "),
        };
        Scopes::parse(&text)
            .map_err(|error| faults.add(format!("{place}.default_scopes"), error.to_string()))
            .ok()
    });
    if !keys.admin && default_scopes.is_some_and(|scopes| scopes.contains(Scope::Admin)) {
        faults.add(format!("{place}.default_scopes"), "names admin; that needs admin = true too");
    }
    Issuer {
        issuer,
        audience,
        discovery_url: keys.discovery_url,
        jwks_url: keys.jwks_url,
        algorithms: keys.algorithms,
        tenant_claim: keys.tenant_claim,
        scope_claim: keys.scope_claim,
        tenants,
        default_scopes,
        admin: keys.admin,
    }
}

/// Keys that come over a plain connection could be anybody's, unless it never leaves this machine.
fn safe_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password".to_owned());
    }
    http_url(text)?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || loopback {
        Ok(())
    } else {
        Err(format!("{text:?} must begin with https://; http:// is for this machine only"))
    }
}
