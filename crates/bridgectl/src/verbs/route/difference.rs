//! What an apply changes, field by field.

use std::collections::BTreeMap;

use bridge_protocol::{Route, RouteName};
use serde::Serialize;
use serde_json::Value;

use super::place;
use crate::answers::routes::Entry;

#[derive(Debug, Serialize)]
pub struct Difference {
    pub route: String,
    pub change: Act,
    /// Those that differ; of a new route, those that are not the defaults.
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    Create,
    Change,
    Delete,
}

#[derive(Debug, Serialize)]
pub struct Field {
    pub field: String,
    pub from: Option<Value>,
    pub to: Option<Value>,
}

/// In the order of their names; routes that are only there go when `prune` says so.
pub fn between(there: &[Entry], wanted: &BTreeMap<RouteName, Route>, prune: bool) -> Vec<Difference> {
    let there: BTreeMap<String, &Value> = there.iter().map(|entry| (entry.place(), &entry.route)).collect();
    let wanted: BTreeMap<String, &Route> = wanted.iter().map(|(name, route)| (place(name), route)).collect();
    let mut all = Vec::new();
    for (name, route) in &wanted {
        let (change, from) = match there.get(name) {
            Some(stored) => (Act::Change, normal(stored)),
            None => (Act::Create, serde_json::json!(Route::default())),
        };
        let fields = fields(&from, &serde_json::json!(route));
        if change == Act::Create || !fields.is_empty() {
            all.push(Difference { route: name.clone(), change, fields });
        }
    }
    for name in there.keys().filter(|name| prune && !wanted.contains_key(*name)) {
        all.push(Difference { route: name.clone(), change: Act::Delete, fields: Vec::new() });
    }
    all.sort_by(|a, b| a.route.cmp(&b.route));
    all
}

/// With every default written out; what a newer bridge has in it stays as it is.
fn normal(stored: &Value) -> Value {
    let read = serde_json::from_value::<Route>(stored.clone());
    read.map_or_else(|_| stored.clone(), |route| serde_json::json!(route))
}

fn fields(from: &Value, to: &Value) -> Vec<Field> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    flat("", from, &mut old);
    flat("", to, &mut new);
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| Field { field: name.clone(), from: old.get(name).cloned(), to: new.get(name).cloned() })
        .collect()
}

/// `retry.max_attempts` instead of objects in objects.
fn flat(prefix: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flat(&name, value, into);
            }
        }
        Value::Null => {}
        value => _ = into.insert(prefix.to_owned(), value.clone()),
    }
}

/// A line for each route and below it one for each field.
pub fn text(all: &[Difference]) -> Vec<String> {
    let mut lines = Vec::new();
    for Difference { route, change, fields } in all {
        lines.push(match change {
            Act::Create => format!("+ {route}"),
            Act::Change => format!("~ {route}"),
            Act::Delete => format!("- {route}"),
        });
        for Field { field, from, to } in fields {
            let show =
                |value: &Option<Value>| value.as_ref().map_or_else(|| "not set".to_owned(), Value::to_string);
            lines.push(match change {
                Act::Create => format!("    {field}: {}", show(to)),
                _ => format!("    {field}: {} -> {}", show(from), show(to)),
            });
        }
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::file;
    use super::*;

    pub fn there() -> Vec<Entry> {
        let stored = r#"[
            {"workflow_id":"crm/sync","route":{"lane":"short","timeout_ms":30000,"retry":{"max_attempts":3}}},
            {"workflow_id":"same","route":{"lane":"ai","is_active":true}},
            {"type":"old","route":{"mode":"native"}}]"#;
        serde_json::from_str(stored).unwrap()
    }

    const FILE: &str = "default: {lane: long}\nworkflows:\n  same: {lane: ai}\n  new: {lane: ai, on_failure: {workflow_id: tell}}\n  \
                        crm/sync: {lane: short, webhook_url: 'https://n8n.example.com/webhook/crm', retry: {max_attempts: 5}}\n";

    #[test]
    fn what_differs_is_shown_by_field() {
        let wanted = file::parse(FILE).unwrap().routes;
        insta::assert_snapshot!(text(&between(&there(), &wanted, true)).join("\n"), @r#"
        + default
            lane: "long"
        - types.old
        ~ workflows.crm/sync
            retry.max_attempts: 3 -> 5
            timeout_ms: 30000 -> not set
            webhook_url: not set -> "https://n8n.example.com/webhook/crm"
        + workflows.new
            lane: "ai"
            on_failure.workflow_id: "tell"
        "#);
        assert_eq!(between(&there(), &wanted, false).len(), 3, "without prune nothing goes");
        assert!(between(&[], &BTreeMap::new(), true).is_empty());
    }
}
