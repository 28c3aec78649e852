//! Lists of executions, newest first.

use chrono::{DateTime, Utc};

use crate::answers::{Listed, Listing};

pub fn text(listing: &Listing, again: &str) -> String {
    let rows: Vec<_> = listing
        .executions
        .iter()
        .map(|listed| {
            vec![
                listed.execution_id.clone(),
                super::time(listed.accepted_at),
                listed.state.clone(),
                listed.attempt.to_string(),
                listed.lane.clone(),
                listed.workflow_id.clone(),
                note(listed),
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

/// One that moved, as a line under lines that came before: every column has its width.
pub fn moved(listed: &Listed, at: DateTime<Utc>) -> String {
    let (time, id, lane) = (super::time(at), &listed.execution_id, &listed.lane);
    let state = match listed.attempt {
        0 => listed.state.clone(),
        attempt => format!("{} ({attempt})", listed.state),
    };
    let line = format!("{time}  {id}  {state:17}  {lane:9}  {}  {}", listed.workflow_id, note(listed));
    line.trim_end().to_owned()
}

fn note(listed: &Listed) -> String {
    // Where the word alone misleads: nobody knows what came of it.
    let started = listed.evidence.as_deref() == Some("started");
    let mut parts: Vec<String> = listed.reason.iter().cloned().collect();
    parts.extend(started.then(|| "started, outcome unknown".to_owned()));
    parts.extend(listed.replayed_as.as_ref().map(|by| format!("replayed as {by}")));
    parts.join(", ")
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
    fn moves_stand_in_columns() {
        let answer = r#"[
            {"execution_id":"019aa5c1-0000-7000-8000-000000000002","workflow_id":"broken","lane":"ai","state":"accepted",
             "attempt":0,"accepted_at":"2026-11-21T07:22:55.123456Z"},
            {"execution_id":"019aa5c1-0000-7000-8000-000000000002","workflow_id":"broken","lane":"ai","state":"dead_lettered",
             "attempt":5,"accepted_at":"2026-11-21T07:22:55.123456Z","reason":"attempts_exhausted"},
            {"execution_id":"019aa5c1-0000-7000-8000-000000000003","workflow_id":"w","lane":"analytics","state":"succeeded",
             "evidence":"started","attempt":1,"accepted_at":"2026-11-21T07:22:55.123456Z"}]"#;
        let listed: Vec<Listed> = serde_json::from_str(answer).unwrap();
        let lines: Vec<_> = listed.iter().map(|one| moved(one, one.accepted_at)).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn an_empty_list() {
        assert_eq!(text(&serde_json::from_str(r#"{"executions":[]}"#).unwrap(), ""), "none");
    }
}
