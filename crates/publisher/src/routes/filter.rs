//! Which executions: the filter of the list, and of the jobs that replay and cancel many.

use bridge_protocol::{Reason, State};
use bridge_store::Filter;
use serde_json::Value;

use super::fields::Fields;

/// The fields that [`read`] takes.
pub const KNOWN: &[&str] = &["state", "workflow_id", "lane", "since", "until", "reason", "metadata"];
/// Longer metadata could not have been published.
const LONGEST_METADATA: usize = 8192;

/// Faults stay in `fields`.
pub fn read(fields: &mut Fields) -> Filter {
    let mut states: Vec<State> = fields
        .list("state", |text| text.parse().map_err(|error: bridge_protocol::UnknownName| error.to_string()))
        .unwrap_or_default();
    states.sort();
    states.dedup();
    let filter = Filter {
        states,
        workflow: fields.id("workflow_id"),
        lane: fields.id("lane"),
        since: fields.time("since"),
        until: fields.time("until"),
        reason: fields.id::<Reason>("reason"),
        metadata: metadata(fields),
    };
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since >= until
    {
        fields.fault("until", "must be later than since");
    }
    filter
}

/// An object, or its text: in a query there is only text.
fn metadata(fields: &mut Fields) -> Option<String> {
    const FAULT: &str = "must be a JSON object, such as {\"order\": 7}";
    let value = match fields.take("metadata")? {
        Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
        value => value,
    };
    let text = value.to_string();
    let fault = match &value {
        Value::Object(_) if has_nul(&value) => "must not contain the NUL character".to_owned(),
        Value::Object(_) if text.len() > LONGEST_METADATA => {
            format!("must have at most {LONGEST_METADATA} bytes")
        }
        Value::Object(_) => return Some(text),
        _ => FAULT.to_owned(),
    };
    fields.fault("metadata", fault);
    None
}

/// Postgres's JSON has no place for it.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<Filter, Vec<String>> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut fields = Fields::query(pairs, KNOWN);
        let filter = read(&mut fields);
        match fields.check() {
            Ok(()) => Ok(filter),
            Err(problem) => Err(problem.errors().iter().map(|fault| fault.field.to_string()).collect()),
        }
    }

    #[test]
    fn every_part_is_read_and_every_fault_is_told() {
        let filter = query(&[
            ("state", "failed,dead_lettered,failed"),
            ("workflow_id", "crm"),
            ("lane", "ai"),
            ("since", "2026-01-01T00:00:00Z"),
            ("metadata", r#"{"order": 7}"#),
            ("reason", "expired"),
        ])
        .unwrap();
        assert_eq!(filter.states, [State::Failed, State::DeadLettered]);
        assert_eq!(filter.metadata.as_deref(), Some(r#"{"order":7}"#));
        assert!(filter.until.is_none());
        let faults = query(&[
            ("state", "dead"),
            ("lane", "fast"),
            ("since", "yesterday"),
            ("metadata", "[]"),
            ("reason", "bad luck"),
            ("stat", "failed"),
        ])
        .unwrap_err();
        assert_eq!(faults, ["stat", "state", "lane", "since", "reason", "metadata"]);
        let turned = [("since", "2026-01-02T00:00:00Z"), ("until", "2026-01-01T00:00:00Z")];
        assert_eq!(query(&turned).unwrap_err(), ["until"]);
        assert_eq!(query(&[("metadata", "{\"a\": \"\\u0000\"}")]).unwrap_err(), ["metadata"]);
    }
}
