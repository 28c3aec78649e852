//! What a webhook receives: the envelope around the payload's own bytes, and signed headers.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bridge_protocol::{
    ExecutionId, Lane, TenantId, Time, WebhookSecret, WorkflowId, verify_webhook_signature,
};
use bridge_webhook::{Envelope, Headers, envelope, headers};

const ID: &str = "01934567-89ab-7cde-8f01-23456789abcd";

fn ids() -> (ExecutionId, TenantId, WorkflowId, Time) {
    (
        ID.parse().unwrap(),
        TenantId::parse("acme").unwrap(),
        WorkflowId::parse("crm/sync").unwrap(),
        "2026-11-02T10:00:00.25Z".parse().unwrap(),
    )
}

#[test]
fn the_payload_travels_byte_for_byte() {
    let (execution, tenant, workflow, accepted_at) = ids();
    let payload = br#"{"b":1.0e2,  "a":"\u00e9", "n":12345678901234567890.5}"#;
    let mut input = Envelope {
        execution,
        tenant: &tenant,
        workflow: &workflow,
        lane: Lane::Ai,
        attempt: 3,
        accepted_at,
        callback_url: None,
        metadata: None,
        payload,
    };
    let body = envelope(&input);
    assert_eq!(
        std::str::from_utf8(&body).unwrap(),
        format!(
            r#"{{"execution_id":"{ID}","tenant_id":"acme","workflow_id":"crm/sync","lane":"ai","attempt":3,"accepted_at":"2026-11-02T10:00:00.250Z","callback_url":null,"metadata":null,"payload":{}}}"#,
            std::str::from_utf8(payload).unwrap()
        )
    );
    input.callback_url = Some("http://b/\"x");
    input.metadata = Some(r#"{"k":"v"}"#);
    let json: serde_json::Value = serde_json::from_slice(&envelope(&input)).unwrap();
    assert_eq!(json["callback_url"], "http://b/\"x");
    assert_eq!(json["metadata"]["k"], "v");
}

#[test]
fn the_headers_are_signed_over_what_is_sent() {
    let (execution, tenant, ..) = ids();
    let secrets: Vec<WebhookSecret> =
        vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=".parse().unwrap()];
    let mut input = Headers {
        execution,
        tenant: &tenant,
        attempt: 2,
        timestamp: 1_700_000_000,
        secrets: &secrets,
        body: b"{}",
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        callback_url: None,
    };
    let map = headers(&input);
    let of = |name: &str| map[name].to_str().unwrap();
    assert_eq!(of("content-type"), "application/json");
    assert_eq!((of("webhook-id"), of("idempotency-key"), of("x-execution-id")), (ID, ID, ID));
    assert_eq!((of("x-tenant-id"), of("x-attempt")), ("acme", "2"));
    assert!(!map.contains_key("x-callback-url"));
    let tolerance = Duration::from_secs(300);
    let verified = |body: &[u8]| {
        verify_webhook_signature(
            &secrets,
            ID,
            1_700_000_000,
            body,
            of("webhook-signature"),
            1_700_000_010,
            tolerance,
        )
    };
    assert!(verified(b"{}"));
    assert!(!verified(b"{} "));

    input.secrets = &[];
    input.traceparent = Some("00-\r\nx-evil: 1");
    input.callback_url = Some("https://bridge.example/cb");
    let map = headers(&input);
    assert!(!map.contains_key("webhook-signature") && !map.contains_key("traceparent"));
    assert_eq!(map["x-callback-url"], "https://bridge.example/cb");
}
