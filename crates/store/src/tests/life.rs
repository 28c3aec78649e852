//! The life of an execution, statement by statement.

use bridge_protocol::{Evidence, Reason, State};

use super::*;
use crate::{Accepted, Finished, Idempotency, Payload, Refusal, Reschedule, ResultBody, Why, WriteError};

#[tokio::test]
async fn accepted_claimed_and_finished() {
    let t = accepting().await;
    let new = t.accepted().await;
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 1);
    let first = claim(new.id, 1);
    let claimed = t.claimed(first.clone()).await;
    assert_eq!((claimed.attempt, claimed.payload), (1, Payload::Here(stored(&new))));
    let result =
        ResultBody { content_type: None, body: Bytes::from_static(b"ok"), truncated: false, data_key: None };
    let ending = Ending::Succeeded { evidence: Evidence::Response, result: Some(result) };
    let done = t.store.finish(finish(&first, ending.clone()), PATIENCE).await.unwrap();
    assert_eq!(done, Finished::Done);
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);
    assert_eq!(t.number("SELECT count(*) FROM results").await, 1);
    let read = t.store.execution(&tenant(), new.id).await.unwrap().unwrap();
    assert_eq!((read.state, read.evidence, read.attempt), (State::Succeeded, Some(Evidence::Response), 1));
    assert_eq!(read.message_id.as_deref(), Some("1:2:-1"));

    // The same finish once more is its own; another claim's is not.
    assert_eq!(t.store.finish(finish(&first, ending.clone()), PATIENCE).await.unwrap(), Finished::Done);
    let foreign = finish(&claim(new.id, 1), ending);
    assert_eq!(t.store.finish(foreign, PATIENCE).await.unwrap(), Finished::LostFence(Some(State::Succeeded)));
}

#[tokio::test]
async fn a_claim_is_given_once_and_says_why_not() {
    let t = accepting().await;
    let new = t.accepted().await;
    let refused = async |claim: Claim| match t.store.claim(claim, PATIENCE).await.unwrap() {
        ClaimAnswer::Refused(refusal) => refusal,
        ClaimAnswer::Claimed(claimed) => panic!("claimed {claimed:?}"),
    };
    assert_eq!(refused(claim(new.id, 2)).await, Refusal::StaleAttempt);
    let first = claim(new.id, 1);
    t.claimed(first.clone()).await;
    assert_eq!(refused(claim(new.id, 1)).await, Refusal::Leased);
    assert_eq!(refused(claim(new.id, 2)).await, Refusal::Leased);
    // Asked twice, as after a lost answer, the claim is unchanged and no attempt is spent.
    assert_eq!(t.claimed(first.clone()).await.attempt, 1);
    let retry = Reschedule {
        tenant: tenant(),
        id: new.id,
        attempt: 1,
        after: Duration::ZERO,
        why: Why::Retry { claim_id: first.claim_id, http_status: Some(503), error: Some("503".to_owned()) },
    };
    assert_eq!(t.store.reschedule(retry.clone(), PATIENCE).await.unwrap(), Finished::Done);
    assert_eq!(t.store.reschedule(retry, PATIENCE).await.unwrap(), Finished::Done, "its own, answered again");
    t.assert_every_live_execution_has_its_timer().await;
    assert_eq!(refused(claim(new.id, 1)).await, Refusal::StaleAttempt);
    assert_eq!(refused(Claim { max_attempts: 1, ..claim(new.id, 2) }).await, Refusal::Exhausted);
    let second = claim(new.id, 2);
    t.claimed(second.clone()).await;
    let dead = Ending::DeadLettered(Reason::AttemptsExhausted);
    assert_eq!(t.store.finish(finish(&second, dead), PATIENCE).await.unwrap(), Finished::Done);
    assert_eq!(refused(claim(new.id, 3)).await, Refusal::Terminal);
    assert_eq!(refused(claim(execution().id, 1)).await, Refusal::Unknown);
    assert_eq!(t.store.notices(10).await.unwrap()[0].execution, Some(new.id));
    let listed = format!("SELECT count(*) FROM dead_letters WHERE execution_id = '{}'", new.id);
    assert_eq!(t.number(&listed).await, 1);
    let read = t.store.execution(&tenant(), new.id).await.unwrap().unwrap();
    assert_eq!((read.attempts.len(), read.attempts[0].http_status), (1, Some(503)));
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);
}

#[tokio::test]
async fn a_large_payload_is_loaded_on_its_own() {
    let t = accepting().await;
    let mut new = execution();
    new.payload = Bytes::from(vec![b'7'; 1 << 20]);
    t.store.accept(new.clone(), PATIENCE).await.unwrap();
    assert_eq!(t.claimed(claim(new.id, 1)).await.payload, Payload::Large(1 << 20));
    assert_eq!(t.store.payload(&tenant(), new.id).await.unwrap(), Some(stored(&new)));
    t.sql("DELETE FROM payloads").await;
    assert_eq!(t.store.payload(&tenant(), new.id).await.unwrap(), None);
}

#[tokio::test]
async fn an_expired_execution_is_not_claimed() {
    let t = accepting().await;
    let mut new = execution();
    new.expires_at = Some(now() - chrono::TimeDelta::seconds(1));
    t.store.accept(new.clone(), PATIENCE).await.unwrap();
    let answer = t.store.claim(claim(new.id, 1), PATIENCE).await.unwrap();
    assert!(matches!(answer, ClaimAnswer::Refused(Refusal::Expired)), "{answer:?}");
}

#[tokio::test]
async fn parking_spends_no_attempt_and_grows() {
    let t = accepting().await;
    let new = t.accepted().await;
    let park = Reschedule {
        tenant: tenant(),
        id: new.id,
        attempt: 1,
        after: Duration::from_secs(10),
        why: Why::Park { longest: Duration::from_secs(60) },
    };
    for seconds in [10, 20, 40, 60, 60] {
        assert_eq!(t.store.reschedule(park.clone(), PATIENCE).await.unwrap(), Finished::Done);
        let due = t.number("SELECT round(extract(epoch FROM due_at - now()))::int8 FROM timers").await;
        assert!((due - seconds).abs() <= 2, "parked for {due} s instead of {seconds} s");
    }
    assert_eq!(t.claimed(claim(new.id, 1)).await.attempt, 1);
    let late = t.store.reschedule(park, PATIENCE).await.unwrap();
    assert_eq!(late, Finished::LostFence(Some(State::Running)), "a running execution is not parked");
    t.assert_every_live_execution_has_its_timer().await;
}

#[tokio::test]
async fn what_was_not_sent_gives_its_attempt_back_with_all_that_was_known_before() {
    let t = accepting().await;
    let new = NewExecution { completion: Completion::Callback, ..execution() };
    t.store.accept(new.clone(), PATIENCE).await.unwrap();
    let claims = |attempt: u16, token: u8| Claim {
        callback_digest: Some([token; 32]),
        max_attempts: 2,
        message_id: format!("{attempt}:{token}:-1"),
        ..claim(new.id, attempt)
    };
    let unsent = |claim: &Claim| Reschedule {
        tenant: tenant(),
        id: new.id,
        attempt: claim.attempt,
        after: Duration::from_secs(10),
        why: Why::Unsent { claim_id: claim.claim_id, error: Some("nothing was sent".to_owned()) },
    };
    let digest =
        async |of: &str| t.number(&format!("SELECT get_byte(callback_digest, 0)::int8 FROM {of}")).await;
    let stands = async || t.store.execution(&tenant(), new.id).await.unwrap().unwrap();

    let first = claims(1, 1);
    t.claimed(first.clone()).await;
    assert_eq!(
        t.store.reschedule(unsent(&claims(1, 1)), PATIENCE).await.unwrap(),
        Finished::LostFence(Some(State::Running))
    );
    for _ in 0..2 {
        // The second time as after a lost answer.
        assert_eq!(t.store.reschedule(unsent(&first), PATIENCE).await.unwrap(), Finished::Done);
    }
    let now = stands().await;
    assert_eq!((now.state, now.attempt, now.parks, now.attempts.len()), (State::Accepted, 0, 1, 0));
    assert_eq!((now.claimed_at, now.lease_until, now.message_id), (None, None, None));
    assert_eq!(now.error.as_deref(), Some("nothing was sent"));
    assert_eq!(t.number("SELECT count(*) FROM executions WHERE callback_digest IS NOT NULL").await, 0);
    let late = finish(&first, Ending::Succeeded { evidence: Evidence::Response, result: None });
    assert_eq!(t.store.finish(late, PATIENCE).await.unwrap(), Finished::LostFence(Some(State::Accepted)));

    // The same number again, by another claim; then the second and last attempt.
    let sent = claims(1, 2);
    t.claimed(sent.clone()).await;
    let why = Why::Retry { claim_id: sent.claim_id, http_status: Some(503), error: Some("503".to_owned()) };
    let retry = Reschedule { tenant: tenant(), id: new.id, attempt: 1, after: Duration::ZERO, why };
    assert_eq!(t.store.reschedule(retry, PATIENCE).await.unwrap(), Finished::Done);
    let before = stands().await;
    let second = claims(2, 3);
    t.claimed(second.clone()).await;
    assert_eq!(t.store.reschedule(unsent(&second), PATIENCE).await.unwrap(), Finished::Done);
    let now = stands().await;
    assert_eq!((now.state, now.attempt, now.parks), (State::Retrying, 1, 1));
    assert_eq!((now.http_status, now.message_id.as_deref()), (Some(503), Some("1:2:-1")));
    assert_eq!((now.claimed_at, now.finished_at), (before.claimed_at, before.finished_at));
    assert_eq!((now.attempts.len(), digest("executions").await, digest("attempts").await), (1, 2, 2));
    t.assert_every_live_execution_has_its_timer().await;
    assert_eq!(t.claimed(claims(2, 4)).await.attempt, 2);
    assert_eq!(digest("executions").await, 4);
}

#[tokio::test]
async fn a_key_stands_for_one_execution() {
    let t = accepting().await;
    let keyed = |digest: u8| NewExecution {
        idempotency: Some(Idempotency { key: "order-7".to_owned(), digest: [digest; 32] }),
        ..execution()
    };
    let first = keyed(1);
    assert_eq!(t.store.accept(first.clone(), PATIENCE).await.unwrap(), Accepted::New);
    assert_eq!(
        t.store.accept(first.clone(), PATIENCE).await.unwrap(),
        Accepted::New,
        "its own, accepted again"
    );
    assert_eq!(t.store.accept(keyed(1), PATIENCE).await.unwrap(), Accepted::Replayed(first.id));
    assert_eq!(t.store.accept(keyed(2), PATIENCE).await.unwrap(), Accepted::KeyConflict(first.id));
    assert_eq!(t.number("SELECT count(*) FROM executions").await, 1);

    // A hundred at once, one wins; the same within one request.
    let race = |digest| NewExecution {
        idempotency: Some(Idempotency { key: "race".to_owned(), digest: [digest; 32] }),
        ..execution()
    };
    let outcomes = futures::future::join_all((0..100).map(|_| t.store.accept(race(1), PATIENCE))).await;
    let won = outcomes.iter().filter(|o| matches!(o, Ok(Accepted::New))).count();
    let replayed = outcomes.iter().filter(|o| matches!(o, Ok(Accepted::Replayed(_)))).count();
    assert_eq!((won, replayed), (1, 99), "{outcomes:?}");
    let together = t.store.accept_all(vec![race(1), execution(), race(2)], PATIENCE).await.unwrap();
    assert!(
        matches!(together[..], [Accepted::Replayed(_), Accepted::New, Accepted::KeyConflict(_)]),
        "{together:?}"
    );
    t.assert_every_live_execution_has_its_timer().await;
}

#[tokio::test]
async fn one_bad_row_fails_alone() {
    let t = accepting().await;
    let rows = (0..256).map(|n| NewExecution {
        metadata: (n == 77).then(|| "{\"nul\":\"\\u0000\"}".to_owned()),
        ..execution()
    });
    let outcomes = futures::future::join_all(rows.map(|row| t.store.accept(row, PATIENCE))).await;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(Accepted::New) if n != 77 => {}
            Err(WriteError::BadRow { .. }) if n == 77 => {}
            other => panic!("row {n}: {other:?}"),
        }
    }
    assert_eq!(t.number("SELECT count(*) FROM executions").await, 255);
}

#[tokio::test]
async fn without_postgres_a_write_ends_with_its_patience() {
    let store = Store::open(StoreConfig::new("postgres://bridge@127.0.0.1:9/none")).unwrap();
    let patience = Duration::from_millis(300);
    let started = tokio::time::Instant::now();
    let outcome = store.accept(execution(), patience).await;
    assert!(matches!(outcome, Err(WriteError::Unavailable { .. })), "{outcome:?}");
    let outcome = store.accept_all(vec![execution()], patience).await;
    assert!(matches!(outcome, Err(WriteError::Unavailable { .. })), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(2));
}
