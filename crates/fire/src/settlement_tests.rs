#![allow(clippy::unwrap_used, reason = "tests")]

use bridge_protocol::{BodyShape, Evidence, RetryPolicy, SuccessRule};
use bytes::Bytes;

use super::*;

pub(crate) fn target(on_unknown: OnUnknown) -> Target {
    Target {
        url: "http://n8n.test/webhook/w".to_owned(),
        timeout: Duration::from_secs(30),
        callback_timeout: Duration::from_secs(3600),
        retry: RetryPolicy { max_attempts: 3, base_ms: 1000, factor: 2.0, max_ms: 60_000 },
        success: SuccessRule::AnyTwoXx,
        on_unknown,
        max_concurrency: None,
        credential: None,
        body: BodyShape::Envelope,
        priority: 5,
        is_active: true,
    }
}

fn answered(status: u16, body: &'static str) -> FireResult {
    FireResult::Answered(HttpAnswer {
        status,
        content_type: Some("application/json".to_owned()),
        retry_after: None,
        body: Bytes::from_static(body.as_bytes()),
        truncated: false,
    })
}

fn settle(fired: &FireResult, attempt: u16) -> Settlement {
    Settlement::of(fired, &target(OnUnknown::Retry), attempt, 8, 0.5)
}

fn reason(settlement: &Settlement) -> Reason {
    match settlement.next {
        Next::End(Ending::DeadLettered(reason)) => reason,
        ref other => panic!("{other:?} is no dead letter"),
    }
}

fn delay(settlement: &Settlement) -> Duration {
    match settlement.next {
        Next::Retry(after) => after,
        ref other => panic!("{other:?} is no retry"),
    }
}

#[test]
fn a_success_keeps_its_answer_up_to_the_limit() {
    let settlement = settle(&answered(200, r#"{"executionId":231}"#), 1);
    assert_eq!(settlement.n8n_execution_id.as_deref(), Some("231"));
    assert_eq!((settlement.http_status, settlement.error.as_deref()), (Some(200), None));
    let Next::End(Ending::Succeeded { evidence, result: Some(result) }) = settlement.next else { panic!() };
    assert_eq!(evidence, Evidence::Response);
    assert_eq!((&result.body[..], result.truncated), (&br#"{"execut"#[..], true));
}

#[test]
fn n8ns_word_that_it_started_is_only_that() {
    let settlement = settle(&answered(200, r#"{"message":"Workflow was started"}"#), 1);
    assert!(matches!(settlement.next, Next::End(Ending::Succeeded { evidence: Evidence::Started, .. })));
}

#[test]
fn failures_retry_with_backoff_until_the_last_attempt() {
    assert_eq!(delay(&settle(&answered(500, ""), 1)), Duration::from_millis(500));
    assert_eq!(delay(&settle(&answered(503, ""), 2)), Duration::from_millis(1000));
    assert_eq!(
        delay(&settle(&FireResult::ConnectError("refused".to_owned()), 1)),
        Duration::from_millis(500)
    );
    let last = settle(&answered(500, ""), 3);
    assert_eq!(reason(&last), Reason::AttemptsExhausted);
    assert_eq!((last.http_status, last.error.as_deref()), (Some(500), Some("the webhook answered 500")));
}

#[test]
fn a_404_names_n8ns_reason() {
    assert!(settle(&answered(404, "<html>"), 1).error.unwrap().contains("not active"));
}

#[test]
fn what_would_end_the_same_way_is_not_repeated() {
    assert_eq!(reason(&settle(&answered(400, ""), 1)), Reason::PermanentAnswer);
    let redirect = settle(&answered(302, ""), 1);
    assert_eq!(reason(&redirect), Reason::PermanentAnswer);
    assert!(redirect.error.unwrap().contains("redirects are not followed"));
    let blocked = FireResult::Blocked(bridge_webhook::Refused::Address {
        host: "inner.test".to_owned(),
        address: "10.0.0.1".parse().unwrap(),
    });
    assert_eq!(reason(&settle(&blocked, 1)), Reason::BlockedAddress);
}

#[test]
fn an_unknown_outcome_follows_the_route() {
    let hang = FireResult::SentNoAnswer("timed out".to_owned());
    let repeated = settle(&hang, 1);
    assert!(repeated.may_repeat && matches!(repeated.next, Next::Retry(_)));
    let kept = Settlement::of(&hang, &target(OnUnknown::DeadLetter), 1, 8, 0.5);
    assert_eq!(reason(&kept), Reason::UnknownOutcome);
    assert!(!kept.may_repeat);
}

#[test]
fn retry_after_is_honoured_and_clamped() {
    let busy = |seconds| {
        FireResult::Answered(HttpAnswer {
            status: 429,
            content_type: None,
            retry_after: Some(Duration::from_secs(seconds)),
            body: Bytes::new(),
            truncated: false,
        })
    };
    assert_eq!(delay(&settle(&busy(7), 1)), Duration::from_millis(7500));
    assert_eq!(delay(&settle(&busy(86_400), 1)), Duration::from_secs(60));
}

#[test]
fn with_a_callback_a_good_answer_is_a_beginning() {
    let within = Duration::from_secs(60);
    let waits = |settlement: Settlement| matches!(settlement.by_callback(within).next, Next::Wait(after) if after == within);
    assert!(waits(settle(&answered(200, r#"{"executionId":231}"#), 1)));
    assert!(waits(settle(&answered(200, r#"{"message":"Workflow was started"}"#), 1)));
    assert!(!waits(settle(&answered(500, ""), 1)));
    assert!(!waits(settle(&answered(400, ""), 1)));
    let begun = settle(&answered(202, r#"{"executionId":231}"#), 1).by_callback(within);
    assert_eq!((begun.http_status, begun.n8n_execution_id.as_deref()), (Some(202), Some("231")));
    // It may have begun: a workflow that must not run twice is waited for.
    let hang = FireResult::SentNoAnswer("timed out".to_owned());
    assert!(waits(Settlement::of(&hang, &target(OnUnknown::DeadLetter), 1, 8, 0.5)));
    assert!(!waits(Settlement::of(&hang, &target(OnUnknown::Retry), 1, 8, 0.5)));
}

#[test]
fn what_is_fired_once_fails_for_good() {
    let failed = |fired: &FireResult, on_unknown| match Settlement::once(fired, &target(on_unknown), 8).next {
        Next::End(Ending::Failed { reason, result: None }) => reason,
        other => panic!("{other:?} is no failure"),
    };
    let hang = FireResult::SentNoAnswer("timed out".to_owned());
    for on_unknown in [OnUnknown::Retry, OnUnknown::DeadLetter] {
        assert_eq!(failed(&hang, on_unknown), Reason::UnknownOutcome);
        assert_eq!(failed(&answered(500, ""), on_unknown), Reason::AttemptsExhausted);
        assert_eq!(failed(&answered(400, ""), on_unknown), Reason::PermanentAnswer);
    }
    let done = Settlement::once(&answered(200, "{}"), &target(OnUnknown::Retry), 8);
    assert!(matches!(done.next, Next::End(Ending::Succeeded { evidence: Evidence::Response, .. })));
}
