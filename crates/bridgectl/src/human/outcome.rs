//! What came of an execution.

use crate::answers::Outcome;

pub fn text(outcome: &Outcome) -> String {
    let id = &outcome.execution_id;
    if !outcome.has_ended() {
        return format!("{id}  {}, not ended yet\n  next      bridgectl execution show {id}", outcome.state);
    }
    let state = match outcome.evidence.as_deref() {
        Some("started") => format!("{} (started, outcome unknown)", outcome.state),
        Some(evidence) => format!("{} (by {evidence})", outcome.state),
        None => outcome.state.clone(),
    };
    let mut lines = vec![format!("{id}  {state}")];
    let mut fact = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name:10}{value}")));
    };
    fact("reason", outcome.reason.clone());
    fact("error", outcome.error.clone());
    fact("attempt", outcome.attempt.filter(|attempt| *attempt > 1).map(|attempt| attempt.to_string()));
    fact("answered", outcome.http_status.map(|status| status.to_string()));
    fact("n8n", outcome.n8n_execution_id.as_ref().map(|id| format!("execution {id}")));
    fact("finished", outcome.finished_at.map(super::time));
    if let Some(result) = &outcome.result {
        let mut kind = outcome.content_type.clone().unwrap_or_else(|| "no content type".to_owned());
        kind.extend(outcome.encoding.iter().map(|encoding| format!(", as {encoding}")));
        if outcome.truncated {
            kind.push_str(", only its beginning was kept");
        }
        fact("result", Some(kind));
        // A text as itself, not as a JSON string.
        let text = serde_json::from_str::<String>(result.get()).unwrap_or_else(|_| result.get().to_owned());
        lines.push(text);
    }
    lines.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn shown(answer: &str) -> String {
        text(&serde_json::from_str(answer).unwrap())
    }

    #[test]
    fn a_result_is_printed_as_it_is() {
        insta::assert_snapshot!(shown(
            r#"{"execution_id":"019aa5c1-0000-7000-8000-000000000001","state":"succeeded","evidence":"callback",
            "attempt":2,"result":{"b": 1.0,"a":[ ]},"content_type":"application/json","truncated":false,"http_status":200,
            "n8n_execution_id":"3341","finished_at":"2026-11-21T07:22:55Z"}"#
        ));
    }

    #[test]
    fn a_bad_end_says_why() {
        insta::assert_snapshot!(shown(
            r#"{"execution_id":"019aa5c1-0000-7000-8000-000000000001","state":"dead_lettered","attempt":5,
            "reason":"attempts_exhausted","error":"the webhook answered 503","http_status":503,"result":"<html>busy",
            "content_type":"text/html","truncated":true,"finished_at":"2026-11-21T07:22:55Z"}"#
        ));
    }

    #[test]
    fn one_that_has_not_ended_is_no_result() {
        insta::assert_snapshot!(shown(r#"{"execution_id":"1","state":"running","links":{}}"#), @"
        1  running, not ended yet
          next      bridgectl execution show 1
        ");
    }
}
