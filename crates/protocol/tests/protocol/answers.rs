use std::time::Duration;

use bridge_protocol::{Answer, Evidence, RetryPolicy, SuccessRule, Verdict, classify};
use proptest::prelude::*;

fn response(status: u16, body: &[u8]) -> Answer<'_> {
    Answer::Response { status, content_type: None, body, retry_after: None }
}

#[test]
fn statuses() {
    use Verdict::*;
    for status in 100..600 {
        let wanted = match status {
            200..=299 => Success(Evidence::Response),
            404 | 408 | 425 | 429 | 500.. => Retryable,
            _ => Permanent,
        };
        assert_eq!(classify(&response(status, b"{}"), &SuccessRule::AnyTwoXx), wanted, "{status}");
    }
}

#[test]
fn no_answer() {
    let verdict = |answer| classify(&answer, &SuccessRule::AnyTwoXx);
    assert_eq!(verdict(Answer::ConnectError), Verdict::Retryable);
    assert_eq!(verdict(Answer::SentNoAnswer), Verdict::Unknown);
    assert_eq!(verdict(Answer::Blocked), Verdict::Permanent);
    assert_eq!(verdict(Answer::BodyTooLarge { status: 200 }), Verdict::Success(Evidence::Response));
    assert_eq!(verdict(Answer::BodyTooLarge { status: 500 }), Verdict::Retryable);
    assert_eq!(verdict(Answer::BodyTooLarge { status: 302 }), Verdict::Permanent);
}

#[test]
fn a_started_workflow_is_only_started() {
    let verdict = |body: &str| classify(&response(200, body.as_bytes()), &SuccessRule::AnyTwoXx);
    for body in [r#"{"message":"Workflow was started"}"#, "{ \"message\" : \"Workflow was started\" }\n"] {
        assert_eq!(verdict(body), Verdict::Success(Evidence::Started), "{body}");
    }
    for body in [
        "",
        "Workflow was started",
        r#"{"message":"Workflow was started","rows":3}"#,
        r#"{"message":"Workflow executed successfully"}"#,
        r#"["Workflow was started"]"#,
    ] {
        assert_eq!(verdict(body), Verdict::Success(Evidence::Response), "{body}");
    }
    assert_eq!(
        classify(&response(500, br#"{"message":"Workflow was started"}"#), &SuccessRule::AnyTwoXx),
        Verdict::Retryable
    );
}

#[test]
fn a_rule_may_ask_for_a_field() {
    let rule: SuccessRule =
        toml::from_str::<toml::Table>(r#"r = { json_field = { pointer = "/data/ok", equals = true } }"#)
            .unwrap()
            .remove("r")
            .unwrap()
            .try_into()
            .unwrap();
    let verdict = |body: &[u8]| classify(&response(200, body), &rule);
    assert_eq!(verdict(br#"{"data":{"ok":true}}"#), Verdict::Success(Evidence::Response));
    for body in [&br#"{"data":{"ok":"true"}}"#[..], br#"{"ok":true}"#, b"", b"no json"] {
        assert_eq!(verdict(body), Verdict::Permanent);
    }
    assert_eq!(classify(&response(503, br#"{"data":{"ok":true}}"#), &rule), Verdict::Retryable);
    assert_eq!(classify(&Answer::BodyTooLarge { status: 200 }, &rule), Verdict::Unknown);
    assert_eq!(serde_json::to_string(&SuccessRule::default()).unwrap(), "\"any_2xx\"");
}

#[test]
fn backoff_doubles_up_to_its_maximum() {
    let policy = RetryPolicy::default();
    let longest = |attempt| policy.delay(attempt, None, 1.0).as_millis();
    assert_eq!(
        [1, 2, 3, 4, 9, 10, 11, u16::MAX].map(longest),
        [1000, 2000, 4000, 8000, 256_000, 300_000, 300_000, 300_000]
    );
    assert_eq!(policy.delay(0, None, 1.0), policy.delay(1, None, 1.0));
    assert_eq!(policy.delay(3, None, 0.0), Duration::ZERO, "full jitter starts at nothing");
}

#[test]
fn retry_after_is_kept_and_clamped() {
    let policy = RetryPolicy::default();
    let delay = |seconds, jitter| policy.delay(1, Some(Duration::from_secs(seconds)), jitter);
    assert_eq!(delay(10, 0.0), Duration::from_secs(10));
    assert_eq!(delay(10, 0.5), Duration::from_millis(10_500), "spread, so that not all come back at once");
    assert_eq!(delay(86_400, 0.0), Duration::from_secs(300));
    assert_eq!(delay(u64::MAX, 1.0), Duration::from_secs(300));
}

#[test]
fn impossible_policies_have_faults() {
    assert!(RetryPolicy::default().faults().is_empty());
    let bad = RetryPolicy { max_attempts: 0, base_ms: 5, factor: f64::NAN, max_ms: 1 };
    assert_eq!(bad.faults().len(), 3);
}

proptest! {
    #[test]
    fn delays_stay_within_their_bounds(
        max_attempts: u16, base_ms: u64, factor: f64, max_ms: u64, attempt: u16,
        retry_after in prop::option::of(any::<Duration>()), jitter: f64,
    ) {
        let max = Duration::from_millis(max_ms);
        let delay = RetryPolicy { max_attempts, base_ms, factor, max_ms }.delay(attempt, retry_after, jitter);
        prop_assert!(delay <= max);
        prop_assert!(delay >= retry_after.unwrap_or_default().min(max));
    }

    #[test]
    fn full_jitter_stays_below_the_backoff(attempt in 1u16..20, jitter in 0.0f64..1.0) {
        let policy = RetryPolicy::default();
        let delay = policy.delay(attempt, None, jitter);
        prop_assert!(delay <= Duration::from_secs(1 << (attempt - 1)).min(Duration::from_secs(300)));
    }

    #[test]
    fn any_answer_has_a_verdict(status: u16, body: Vec<u8>) {
        let _ = classify(&response(status, &body), &SuccessRule::AnyTwoXx);
    }
}
