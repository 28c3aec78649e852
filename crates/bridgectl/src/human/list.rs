//! Lists of executions, newest first.

use crate::answers::Listing;

pub fn text(listing: &Listing, again: &str) -> String {
    let rows: Vec<_> = listing
        .executions
        .iter()
        .map(|listed| {
            let note = match (&listed.reason, &listed.replayed_as) {
                (Some(reason), Some(by)) => format!("{reason}, replayed as {by}"),
                (Some(text), None) => text.clone(),
                (None, Some(by)) => format!("replayed as {by}"),
                (None, None) => String::new(),
            };
            vec![
                listed.execution_id.clone(),
                super::time(listed.accepted_at),
                listed.state.clone(),
                listed.attempt.to_string(),
                listed.lane.clone(),
                listed.workflow_id.clone(),
                note,
            ]
        })
        .collect();
    let mut text = if rows.is_empty() {
        "none".to_owned()
    } else {
        super::table(&["EXECUTION", "ACCEPTED", "STATE", "ATTEMPT", "LANE", "WORKFLOW", "REASON"], &rows)
    };
    if listing.partial {
        text.push_str("\nOnly the newest part of the executions was searched: there may be more.");
    }
    if let Some(next) = &listing.next_cursor {
        text.push_str(&format!("\nMore: {again} --cursor {next}"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_with_one_replayed() {
        let answer = r#"{"executions":[
            {"execution_id":"019aa5c1-0000-7000-8000-000000000002","tenant_id":"acme","workflow_id":"broken","lane":"ai",
             "state":"dead_lettered","attempt":5,"accepted_at":"2026-11-21T07:22:55.123456Z","reason":"attempts_exhausted"},
            {"execution_id":"019aa5c1-0000-7000-8000-000000000001","tenant_id":"acme","workflow_id":"crm/sync","lane":"short",
             "state":"dead_lettered","attempt":1,"accepted_at":"2026-11-21T07:20:00Z","reason":"permanent_answer",
             "replayed_as":"019aa5c1-0000-7000-8000-000000000009"}],"next_cursor":"019aa5c1-0000-7000-8000-000000000001","partial":true}"#;
        let shown = text(&serde_json::from_str(answer).unwrap(), "bridgectl dlq list");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn an_empty_list() {
        assert_eq!(text(&serde_json::from_str(r#"{"executions":[]}"#).unwrap(), ""), "none");
    }
}
