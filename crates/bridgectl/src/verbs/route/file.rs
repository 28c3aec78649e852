//! The file of `bridgectl route apply`, read strictly: all its faults at once.

use std::collections::BTreeMap;

use bridge_protocol::{Route, RouteName, TenantId, WorkflowId};
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_yaml_ng::Mapping;

use super::place;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    tenant: Option<String>,
    default: Option<serde_yaml_ng::Value>,
    // Mappings, which refuse a name that is there twice.
    #[serde(default)]
    types: Mapping,
    #[serde(default)]
    workflows: Mapping,
}

pub struct File {
    pub tenant: Option<TenantId>,
    pub routes: BTreeMap<RouteName, Route>,
}

impl File {
    /// As the bridge takes it.
    pub fn body(&self, prune: bool, dry_run: bool) -> Value {
        let mut body =
            serde_json::json!({ "prune": prune, "dry_run": dry_run, "workflows": {}, "types": {} });
        for (name, route) in &self.routes {
            let route = serde_json::json!(route);
            match name {
                RouteName::Workflow(id) => body["workflows"][id.as_str()] = route,
                RouteName::Type(kind) => body["types"][kind.as_str()] = route,
                RouteName::Default => body["default"] = route,
            }
        }
        body
    }
}

pub fn parse(text: &str) -> Result<File, String> {
    let text: Text = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    let mut faults = Vec::new();
    let tenant = text.tenant.and_then(|tenant| match TenantId::parse(&tenant) {
        Ok(tenant) => Some(tenant),
        Err(error) => {
            faults.push(format!("tenant {tenant:?}: {error}"));
            None
        }
    });
    let mut routes = BTreeMap::new();
    let workflow =
        |id: &str| WorkflowId::parse(id).map(RouteName::Workflow).map_err(|error| error.to_string());
    let kind = |name: &str| RouteName::of_type(name).map_err(|error| error.to_string());
    for (section, entries, parse) in [
        ("workflows", text.workflows, &workflow as &dyn Fn(&str) -> Result<RouteName, String>),
        ("types", text.types, &kind),
    ] {
        for (name, value) in entries {
            let name = match name {
                serde_yaml_ng::Value::String(name) => name,
                // A workflow may be called 42.
                other => serde_yaml_ng::to_string(&other).unwrap_or_default().trim().to_owned(),
            };
            match parse(&name) {
                Ok(name) => add(&mut routes, name, value, &mut faults),
                Err(fault) => faults.push(format!("{section}.{name}: {fault}")),
            }
        }
    }
    if let Some(default) = text.default {
        add(&mut routes, RouteName::Default, default, &mut faults);
    }
    if faults.is_empty() { Ok(File { tenant, routes }) } else { Err(faults.join("\n  ")) }
}

fn add(
    routes: &mut BTreeMap<RouteName, Route>,
    name: RouteName,
    value: serde_yaml_ng::Value,
    faults: &mut Vec<String>,
) {
    let place = place(&name);
    let value = match serde_json::to_value(value) {
        // A name without anything is a route without rules of its own.
        Ok(Value::Null) => Value::Object(Map::new()),
        Ok(value) => value,
        Err(error) => return faults.push(format!("{place}: {error}")),
    };
    match serde_json::from_value::<Route>(value) {
        Ok(route) => {
            faults.extend(
                name.faults(&route).into_iter().map(|(field, what)| format!("{place}.{field}: {what}")),
            );
            routes.insert(name, route);
        }
        Err(error) => faults.push(format!("{place}: {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_what_the_bridge_takes() {
        let file = parse(
            "tenant: acme\ndefault: {lane: long}\ntypes:\n  crm_sync: {mode: native}\nworkflows:\n  crm/sync: {lane: ai}\n  42:\n",
        )
        .unwrap();
        assert_eq!(file.tenant.as_ref().unwrap().as_str(), "acme");
        let body = file.body(true, false);
        assert_eq!(body["workflows"]["crm/sync"]["lane"], "ai");
        assert_eq!(body["workflows"]["42"]["is_active"], true);
        assert_eq!(
            (&body["types"]["crm_sync"]["mode"], &body["default"]["lane"]),
            (&"native".into(), &"long".into())
        );
        assert_eq!((&body["prune"], &body["dry_run"]), (&true.into(), &false.into()));
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let faults = parse(
            "tenant: Not One\nworkflows:\n  a: {lane: fast}\n  b: {timeout: 5}\n  ../c: {}\n  d: {priority: 12}\n  e: [1]\n",
        )
        .err()
        .unwrap();
        for part in [
            "tenant \"Not One\"",
            "workflows.a:",
            "workflows.b: unknown field",
            "workflows.../c:",
            "workflows.d.priority",
            "workflows.e:",
        ] {
            assert!(faults.contains(part), "{part} in {faults}");
        }
        assert!(parse("workflows:\n  a: {}\n  a: {}\n").err().unwrap().contains("duplicate"));
        assert!(parse("workflow: {}\n").err().unwrap().contains("workflow"));
    }
}
