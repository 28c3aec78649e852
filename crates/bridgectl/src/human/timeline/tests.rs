#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn shown(answer: &str) -> String {
    text(&serde_json::from_str(answer).unwrap())
}

#[test]
fn an_execution_that_was_retried() {
    let text = shown(
        r#"{
        "execution_id":"019aa5c1-0000-7000-8000-000000000001","state":"succeeded","evidence":"response",
        "tenant_id":"acme","workflow_id":"flaky","lane":"long","summary":null,"type":"crm_sync","attempt":2,"metadata":{"ticket": 7},
        "route":{"mode":"pulsar","decided_by":"default","reason":"no route for flaky"},
        "accepted_at":"2026-11-21T07:22:55.100Z","finished_at":"2026-11-21T07:22:56.325Z","message_id":"12:6:0","http_status":200,"n8n_execution_id":"3341",
        "trace":{"id":"4bf92f3577b34da6a3ce929d0e0e4736","sampled":true},
        "attempts":[{"attempt":1,"claimed_at":"2026-11-21T07:22:55.112Z","finished_at":"2026-11-21T07:22:55.130Z",
            "http_status":503,"outcome":"retry","error":"the webhook answered 503","message_id":"12:5:0"},
          {"attempt":2,"claimed_at":"2026-11-21T07:22:56.310Z","finished_at":"2026-11-21T07:22:56.325Z",
            "http_status":200,"outcome":"succeeded","error":null,"message_id":"12:6:0"}]}"#,
    );
    insta::assert_snapshot!(text);
}

#[test]
fn an_execution_that_was_only_started_says_so() {
    let text = shown(
        r#"{"execution_id":"1","state":"succeeded","evidence":"started","summary":"started, outcome unknown","tenant_id":"acme","workflow_id":"w",
        "lane":"long","attempt":1,"accepted_at":"2026-11-21T07:22:55Z","finished_at":"2026-11-21T07:22:55.5Z"}"#,
    );
    assert!(text.contains("succeeded (started, outcome unknown)"), "{text}");
}

#[test]
fn a_dead_letter() {
    let text = shown(
        r#"{
        "execution_id":"019aa5c1-0000-7000-8000-000000000002","state":"dead_lettered","reason":"attempts_exhausted",
        "tenant_id":"acme","workflow_id":"broken","lane":"ai","attempt":2,"accepted_at":"2026-11-21T07:22:55Z",
        "claimed_at":"2026-11-21T07:22:56Z","finished_at":"2026-11-21T07:22:56.2Z","http_status":500,
        "replayed_as":"019aa5c1-0000-7000-8000-000000000009",
        "attempts":[
          {"attempt":1,"claimed_at":"2026-11-21T07:22:55.01Z","finished_at":"2026-11-21T07:22:55.02Z","error":"connection refused","outcome":"retry"},
          {"attempt":2,"claimed_at":"2026-11-21T07:22:56Z","finished_at":"2026-11-21T07:22:56.2Z","http_status":500,"outcome":"dead_lettered"}]}"#,
    );
    insta::assert_snapshot!(text);
}

#[test]
fn a_delayed_execution_waits() {
    let text = shown(
        r#"{
        "execution_id":"019aa5c1-0000-7000-8000-000000000003","state":"accepted","tenant_id":"acme","workflow_id":"ok",
        "lane":"short","attempt":0,"accepted_at":"2026-11-21T07:22:55Z","deliver_at":"2026-11-21T08:22:55Z",
        "due_at":"2026-11-21T08:22:55Z","expires_at":"2026-11-22T07:22:55Z",
        "waiting_on":{"kind":"delay","since":"2026-11-21T07:22:55Z","until":"2026-11-21T08:22:55Z","detail":"asked for by the caller"}}"#,
    );
    insta::assert_snapshot!(text);
}
