//! Routes.

use serde_json::Value;

use super::tenants::in_force;
use crate::answers::routes::{Deleted, Entry};

/// Fields with a column of their own, or none worth a line.
const IN_COLUMNS: [&str; 4] = ["lane", "mode", "webhook_url", "is_active"];

pub fn list(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "none; what has no route is fired at the operator's default URL".to_owned();
    }
    let text = |entry: &Entry, field: &str| match &entry.route[field] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            vec![
                entry.place(),
                text(entry, "lane"),
                text(entry, "mode"),
                text(entry, "webhook_url"),
                entry.changed_at.map(super::time).unwrap_or_default(),
                rest(entry),
            ]
        })
        .collect();
    super::table(&["ROUTE", "LANE", "MODE", "URL", "CHANGED", "REST"], &rows)
}

/// What else is not as it is without being said.
fn rest(entry: &Entry) -> String {
    let usual = serde_json::json!(bridge_protocol::Route::default());
    let mut parts = Vec::new();
    if entry.route["is_active"] == Value::Bool(false) {
        parts.push("inactive".to_owned());
    }
    for (field, value) in entry.route.as_object().into_iter().flatten() {
        if !IN_COLUMNS.contains(&field.as_str()) && !value.is_null() && usual[field] != *value {
            parts.push(match value {
                Value::String(text) => format!("{field} {text}"),
                other => format!("{field} {other}"),
            });
        }
    }
    parts.join(", ")
}

/// Its fields as a file of routes has them.
pub fn one(entry: &Entry) -> String {
    let mut lines = vec![format!("route    {}", entry.place())];
    lines.extend(entry.changed_at.map(|at| format!("changed  {}", super::time(at))));
    let fields = serde_yaml_ng::to_string(&entry.route).unwrap_or_else(|_| entry.route.to_string());
    lines.extend(fields.lines().map(|line| format!("  {line}")));
    lines.join("\n")
}

pub fn set(entry: &Entry) -> String {
    let outcome = entry.outcome.as_deref().unwrap_or("set");
    let rest = rest(entry);
    let rest = if rest.is_empty() { rest } else { format!(" ({rest})") };
    format!("route {} {outcome}{rest}; {}", entry.place(), in_force(entry.in_effect))
}

pub fn deleted(place: &str, deleted: &Deleted) -> String {
    let what = if deleted.changed { "is deleted" } else { "was not there" };
    format!("route {place} {what}; {}", in_force(deleted.in_effect))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        serde_json::from_str(
            r#"[{"workflow_id":"crm/sync","route":{"lane":"short","webhook_url":"https://n8n.example.com/webhook/crm",
                  "retry":{"max_attempts":5,"base_ms":1000,"factor":2.0,"max_ms":300000},"success":"any_2xx","on_unknown":"retry",
                  "callback_timeout_s":3600,"body":"envelope","priority":9,"is_active":true},
                  "revision":7,"changed_at":"2026-11-21T07:22:55Z","outcome":"changed","in_effect":true},
                {"type":"crm_sync","route":{"mode":"native","is_active":false},"changed_at":"2026-11-21T07:20:00Z"},
                {"route":{"lane":"long"}}]"#,
        )
        .unwrap()
    }

    #[test]
    fn routes_are_listed_with_what_is_unusual() {
        insta::assert_snapshot!(list(&entries()));
    }

    #[test]
    fn one_route_is_shown_with_all_its_fields() {
        insta::assert_snapshot!(one(&entries()[0]));
        insta::assert_snapshot!(set(&entries()[0]), @"route workflows.crm/sync changed (priority 9); in force on every daemon");
        let gone = Deleted { changed: false, in_effect: true };
        insta::assert_snapshot!(deleted("default", &gone), @"route default was not there; in force on every daemon");
    }
}
