#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;

use super::*;
use crate::auth::tenant_of;
use crate::jobs::JobLimits;
use bridge_access::{Caller, CallerKind};
use bridge_protocol::Scopes;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits {
        payload_bytes: 1000,
        body_timeout: std::time::Duration::from_secs(5),
        batch_rows: 3,
        max_delay: std::time::Duration::from_secs(3600),
        accept_patience: std::time::Duration::from_secs(1),
        result_bytes: 1000,
        result_wait: std::time::Duration::from_secs(60),
        callbacks: true,
        payload_retention: std::time::Duration::from_secs(7 * 86_400),
        jobs: JobLimits {
            at_once: 4,
            open: 20,
            lease: std::time::Duration::from_secs(15),
            pause: std::time::Duration::from_secs(15),
            page: 200,
            per_second: 50.0,
        },
        patience: std::time::Duration::from_secs(30),
        token_lifetime: std::time::Duration::from_secs(900),
    }
}

fn acme(named: Option<&TenantId>) -> Result<TenantId, Problem> {
    let caller = Caller {
        subject: "svc_acme".into(),
        kind: CallerKind::Client,
        tenants: vec![TenantId::parse("acme").unwrap()],
        scopes: Scopes::ALL_OF_TENANT,
    };
    tenant_of(&caller, named)
}

fn parse_with(body: &[u8], header_key: Option<&str>) -> Result<Publish, Problem> {
    let body = Bytes::copy_from_slice(body);
    let now = "2026-01-31T09:00:00Z".parse().unwrap();
    publish(&body, &body, &Context { tenant: &acme, limits: &limits(), now, header_key })
}

fn parse(body: &str) -> Result<Publish, Problem> {
    parse_with(body.as_bytes(), None)
}

/// A good request with some fields more.
fn with(fields: &str) -> String {
    format!(
        r#"{{"workflow_id": "lead", "payload": {{"a": 1}}{}{fields}}}"#,
        if fields.is_empty() { "" } else { ", " }
    )
}

#[test]
fn a_payload_is_kept_byte_for_byte_without_a_copy() {
    let body = Bytes::from_static(
        br#"{"workflow_id":"lead","payload": { "b" : 1.00,"a":[ ],"n":12345678901234567890123 } }"#,
    );
    let now = "2026-01-31T09:00:00Z".parse().unwrap();
    let context = Context { tenant: &acme, limits: &limits(), now, header_key: None };
    let publish = publish(&body, &body, &context).unwrap();
    assert_eq!(publish.payload, br#"{ "b" : 1.00,"a":[ ],"n":12345678901234567890123 }"#.as_slice());
    assert!(body.as_ptr_range().contains(&publish.payload.as_ptr()), "a slice of the body");
    for json in ["null", "0", "-1.5e3", "true", r#""text""#, r#""""#, "[]", r#""\u0000""#] {
        let read = parse(&format!(r#"{{"workflow_id":"lead","payload":{json}}}"#)).unwrap();
        assert_eq!(read.payload, json.as_bytes());
    }
}

#[test]
fn values_are_read_as_leniently_as_n8n_writes_them() {
    let read = parse(&with(
        r#""tenant_id": "", "type": null, "lane": "ai", "idempotency_key": 42, "delay_seconds": "90", "deliver_at": "",
           "expires_at": "2026-01-31T11:00:00+01:00", "completion": "response", "metadata": "{\"crm\": true}""#,
    ))
    .unwrap();
    assert_eq!(read.tenant.as_str(), "acme");
    assert_eq!(read.kind, None);
    assert_eq!(read.lane, Some(Lane::Ai));
    assert_eq!(read.idempotency_key.as_deref(), Some("42"));
    assert_eq!(read.schedule.deliver_at, Some("2026-01-31T09:01:30Z".parse().unwrap()));
    assert_eq!(read.schedule.expires_at, Some("2026-01-31T10:00:00Z".parse().unwrap()));
    assert_eq!(read.metadata.as_deref(), Some(r#"{"crm": true}"#));
    assert!(read.warnings.is_empty());
    assert_eq!(parse(r#"{"workflow_id": 123, "payload": 1}"#).unwrap().workflow.as_str(), "123");
    let marked = format!("\u{feff} {}", with(r#""delay_seconds": 0"#));
    assert_eq!(parse(&marked).unwrap().schedule, Schedule::default());
}

#[test]
fn a_payload_that_is_json_in_a_string_is_kept_with_a_warning() {
    let read = parse(r#"{"workflow_id":"lead","payload":"{\"a\": [1]}"}"#).unwrap();
    assert_eq!(read.payload, br#""{\"a\": [1]}""#.as_slice());
    assert_eq!(read.warnings, [WARNING]);
    for plain in [r#""{not json""#, r#""12""#, r#""hello""#, r#"{"a":"{}"}"#] {
        assert!(
            parse(&format!(r#"{{"workflow_id":"lead","payload":{plain}}}"#)).unwrap().warnings.is_empty()
        );
    }
}

/// Or a caller could stop a job from replaying, and a bad end from being told.
#[test]
fn no_caller_can_use_a_key_of_the_bridges_own() {
    let own = own_key(format_args!("job:1"));
    assert!(idempotency_key(&own).is_err());
    let body = |key: &str| format!(r#"{{"workflow_id": "w", "payload": 1, "idempotency_key": "{key}"}}"#);
    let refused = parse(&body(&own)).unwrap_err();
    assert_eq!((refused.status(), &*refused.errors()[0].field), (StatusCode::BAD_REQUEST, "idempotency_key"));
    let typed = parse(&body("job:1")).unwrap().idempotency_key.unwrap();
    let by_header = parse_with(br#"{"workflow_id": "w", "payload": 1}"#, Some(&own)).unwrap().idempotency_key;
    assert!(typed != own && by_header.unwrap() != own);
    assert_ne!(checked_header_key(&own).unwrap().unwrap(), own);
}

#[test]
fn a_header_names_the_key_as_well() {
    let good = with("");
    assert_eq!(parse_with(good.as_bytes(), Some("k-1")).unwrap().idempotency_key.as_deref(), Some("k-1"));
    assert_eq!(parse_with(good.as_bytes(), Some(" ")).unwrap().idempotency_key, None);
    let same = with(r#""idempotency_key": "k-1""#);
    assert!(parse_with(same.as_bytes(), Some("k-1")).is_ok());
    assert_eq!(parse_with(same.as_bytes(), Some("k-2")).unwrap_err().errors().len(), 1);
}

#[test]
fn the_digest_tells_different_requests_apart_and_repeats_alike() {
    let digest = |fields: &str| parse(&with(fields)).unwrap().digest;
    let different = [
        "",
        r#""lane": "ai""#,
        r#""lane": "long""#,
        r#""delay_seconds": 5"#,
        r#""deliver_at": "2026-01-31T09:00:05Z""#,
        r#""expires_at": "2026-01-31T09:00:05Z""#,
        r#""metadata": {}"#,
        r#""metadata": {"a": 1}"#,
    ];
    let digests: std::collections::HashSet<_> = different.iter().map(|fields| digest(fields)).collect();
    assert_eq!(digests.len(), different.len());
    assert_eq!(digest(r#""delay_seconds": 5"#), digest(r#""delay_seconds": "5.0""#));
    assert_eq!(digest(""), digest(r#""type": "crm", "completion": "response""#));
    let other = parse(r#"{"workflow_id": "lead", "payload": {"a":1}}"#).unwrap().digest;
    assert_ne!(digest(""), other, "the payload counts byte for byte");
}

#[test]
fn every_bad_input_gets_its_problem() {
    let deep = format!(
        r#"{{"workflow_id": "lead", "metadata": {}{}, "payload": 1}}"#,
        "[".repeat(400),
        "]".repeat(400)
    );
    let big = format!(r#"{{"workflow_id": "lead", "payload": "{}"}}"#, "x".repeat(2000));
    let long_key = with(&format!(r#""idempotency_key": "{}""#, "k".repeat(256)));
    let long_metadata = with(&format!(r#""metadata": {{"x": "{}"}}"#, "x".repeat(17_000)));
    let cases: Vec<(&str, String)> = vec![
        ("an empty body", String::new()),
        ("no object", "\"text\"".into()),
        ("an array", "[]".into()),
        ("cut off", r#"{"workflow_id": "lead", "payl"#.into()),
        ("two documents", format!("{} {{}}", with(""))),
        ("nothing given", "{}".into()),
        ("an unknown field", with(r#""lanes": "ai", "colour": 1"#)),
        ("a field twice", with(r#""payload": 2"#)),
        ("a foreign tenant", with(r#""tenant_id": "other""#)),
        ("a bad tenant", with(r#""tenant_id": "Deal Scale""#)),
        ("a bad workflow", r#"{"workflow_id": "../admin", "payload": 1}"#.into()),
        ("a workflow that is an object", r#"{"workflow_id": {"a": 1}, "payload": 1}"#.into()),
        ("a bad lane", with(r#""lane": "shrt""#)),
        ("a bad type", with(r#""type": "a\u0007b""#)),
        ("the NUL character", with(r#""type": "a\u0000b", "metadata": {"a": ["\u0000"]}"#)),
        ("a lone surrogate", with(r#""type": "\ud800""#)),
        ("a key with spaces", with(r#""idempotency_key": "a b""#)),
        ("a long key", long_key),
        ("metadata that is a list", with(r#""metadata": [1]"#)),
        ("metadata that is too long", long_metadata),
        ("metadata that is too deep", deep),
        ("another completion", with(r#""completion": "later""#)),
        ("a negative delay", with(r#""delay_seconds": -1"#)),
        ("an endless delay", with(r#""delay_seconds": 1e300"#)),
        ("a delay that is no number", with(r#""delay_seconds": "NaN""#)),
        ("a delay beyond the limit", with(r#""delay_seconds": 3601"#)),
        ("delay and time", with(r#""delay_seconds": 1, "deliver_at": "2026-01-31T09:30:00Z""#)),
        ("a time in the past", with(r#""deliver_at": "2026-01-31T08:59:59Z""#)),
        ("a time beyond the limit", with(r#""deliver_at": "2026-02-01T09:00:00Z""#)),
        ("a time without a zone", with(r#""deliver_at": "2026-01-31T09:30:00""#)),
        ("expired before delivered", with(r#""delay_seconds": 60, "expires_at": "2026-01-31T09:00:30Z""#)),
        ("expired already", with(r#""expires_at": "2025-01-01T00:00:00Z""#)),
        ("a large payload", big),
        (
            "much at once",
            r#"{"workflow_id": "", "lane": "x", "delay_seconds": "soon", "metadata": 1, "foo": 1}"#.into(),
        ),
    ];
    let mut told = String::new();
    for (name, body) in cases {
        let problem = parse(&body).expect_err(name);
        let json = serde_json::to_value(&problem).unwrap();
        write!(told, "{name}\n  {} {}\n", problem.status().as_u16(), json["type"].as_str().unwrap()).unwrap();
        match problem.errors() {
            [] => writeln!(told, "  {}", problem.detail()).unwrap(),
            errors => errors
                .iter()
                .for_each(|fault| writeln!(told, "  {}: {}", fault.field, fault.message).unwrap()),
        }
    }
    insta::assert_snapshot!("bad_inputs", told);
}

#[test]
fn a_depth_bomb_is_only_bytes() {
    let depth = 300_000;
    let body = format!(r#"{{"workflow_id":"lead","payload":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let limits = Limits { payload_bytes: body.len(), ..limits() };
    let body = Bytes::from(body);
    let now = "2026-01-31T09:00:00Z".parse().unwrap();
    let context = Context { tenant: &acme, limits: &limits, now, header_key: None };
    assert_eq!(publish(&body, &body, &context).unwrap().payload.len(), 2 * depth);
}

#[test]
fn unknown_fields_are_told_within_a_bound() {
    let mut fields = String::new();
    for number in 0..10_000 {
        write!(fields, r#""{}{number}": 1, "#, "x".repeat(200)).unwrap();
    }
    let body = format!(r#"{{{fields}"workflow_id": "lead", "payload": 1}}"#);
    let problem = parse(&body).unwrap_err();
    assert_eq!(problem.errors().len(), 20);
    assert!(problem.detail().len() < 4000);
}

#[test]
fn a_batch_is_bounded() {
    assert_eq!(items(b"[1, {}, []]", 3).unwrap().len(), 3);
    assert_eq!(items(b"[1, 2, 3, 4]", 3).unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
    for bad in ["", "{}", "[1,", "[] x", "[]"] {
        assert_eq!(items(bad.as_bytes(), 3).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_with(&body, None);
        let _ = items(&body, 3).map(|items| items.len());
    }

    #[test]
    fn any_json_in_any_field_is_read_without_a_panic(
        field in proptest::sample::select(vec![
            "tenant_id", "workflow_id", "type", "lane", "payload", "idempotency_key", "delay_seconds", "deliver_at",
            "expires_at", "completion", "metadata", "other",
        ]),
        text in ".{0,40}",
        number in any::<f64>(),
        header in "\\PC{0,20}",
    ) {
        let values = [serde_json::json!(text), serde_json::json!(number), serde_json::json!({ text.as_str(): [text] })];
        for value in values {
            let body = serde_json::json!({ "workflow_id": "lead", "payload": 1, field: value }).to_string();
            match parse_with(body.as_bytes(), Some(&header)) {
                Ok(read) => prop_assert!(!read.payload.is_empty()),
                Err(problem) => prop_assert!(problem.status().is_client_error()),
            }
        }
    }

    #[test]
    fn a_time_is_never_accepted_in_the_past(text in "(19|20|99)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](Z|\\+[01][0-9]:00)") {
        let now: Time = "2026-01-31T09:00:00Z".parse().unwrap();
        if let Ok(read) = parse(&with(&format!(r#""deliver_at": "{text}""#))) {
            prop_assert!(read.schedule.deliver_at.unwrap() > now);
        }
    }
}
