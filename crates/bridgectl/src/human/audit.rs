//! The audit trail and what was turned away.

use crate::answers::admin::{Entry, Refusal};

pub fn list(entries: &[Entry], more: Option<i64>) -> String {
    if entries.is_empty() {
        return "none".to_owned();
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            vec![
                entry.id.to_string(),
                super::time(entry.at),
                entry.actor.clone(),
                entry.source.clone().unwrap_or_else(|| "-".to_owned()),
                entry.action.clone(),
                entry.tenant_id.clone().unwrap_or_else(|| "-".to_owned()),
                target(entry),
            ]
        })
        .collect();
    let head = ["ID", "AT", "WHO", "FROM", "ACTION", "TENANT", "WHAT"];
    let mut text = super::table(&head, &rows);
    if let Some(after) = more {
        text.push_str(&format!("\nMore: bridgectl audit list --after {after}"));
    }
    text
}

/// The object, and what it was and became where the log says so.
fn target(entry: &Entry) -> String {
    let mut text = entry.target.clone().unwrap_or_default();
    match (&entry.before, &entry.after) {
        (Some(before), Some(after)) => text.push_str(&format!("  {before} -> {after}")),
        (None, Some(after)) => text.push_str(&format!("  {after}")),
        (Some(before), None) => text.push_str(&format!("  was {before}")),
        (None, None) => {}
    }
    text.trim().to_owned()
}

pub fn refusals(refusals: &[Refusal]) -> String {
    if refusals.is_empty() {
        return "none".to_owned();
    }
    let rows: Vec<_> = refusals
        .iter()
        .map(|row| {
            vec![
                row.minute.format("%Y-%m-%d %H:%MZ").to_string(),
                row.count.to_string(),
                row.kind.clone(),
                row.reason.clone(),
                row.subject.clone(),
            ]
        })
        .collect();
    super::table(&["MINUTE", "COUNT", "WHAT", "REASON", "SUBJECT"], &rows)
}
