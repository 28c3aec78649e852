//! What its publisher fires itself: born running, never in the topic, ended by its lease at the latest.

use bridge_protocol::{Backlog, Evidence, OnUnknown, Reason, State, TimerInput, TimerPolicy, on_timer};

use super::*;
use crate::{Accepted, Due, Finished, NativeClaim, Refusal};

const LEASE: Duration = Duration::from_secs(60);

fn native() -> (NewExecution, Claim) {
    let new = NewExecution {
        mode: Mode::Native,
        native: Some(NativeClaim { claim_id: id(), lease: LEASE }),
        ..execution()
    };
    let claim_id = new.native.as_ref().unwrap().claim_id;
    let claim = Claim { claim_id, ..claim(new.id, 1) };
    (new, claim)
}

/// As the relay decides.
pub fn decide(due: &Due) -> Option<bridge_protocol::TimerDecision> {
    let input = TimerInput {
        state: due.state,
        mode: due.mode,
        attempt: due.attempt,
        max_attempts: 3,
        deliver_at: due.deliver_at,
        expires_at: due.expires_at,
        lease_until: due.lease_until,
        last_published_at: due.published_at,
        publishes: due.publishes,
        in_flight_here: false,
        backlog: Backlog::Empty,
        shut_for: None,
        on_unknown: OnUnknown::Retry,
        now: due.now,
        jitter: 0.0,
    };
    Some(on_timer(&input, &TimerPolicy::default()))
}

#[tokio::test]
async fn it_is_born_running_and_finished_by_its_publisher() {
    let t = accepting().await;
    let (new, claim) = native();
    for _ in 0..2 {
        // The second time as after a lost answer.
        assert_eq!(t.store.accept(new.clone(), PATIENCE).await.unwrap(), Accepted::New);
    }
    let read = t.store.execution(&tenant(), new.id).await.unwrap().unwrap();
    assert_eq!((read.state, read.attempt, read.published_at), (State::Running, 1, None));
    assert!(read.claimed_at.is_some());
    let grace = "SELECT round(extract(epoch FROM due_at - lease_until))::int8 FROM executions";
    assert_eq!(t.number(grace).await, 30);
    assert_eq!(
        t.number("SELECT round(extract(epoch FROM lease_until - claimed_at))::int8 FROM executions").await,
        60
    );
    t.assert_every_live_execution_has_its_timer().await;

    // No message of it exists; a forged one gets nothing.
    for attempt in [1, 2] {
        let answer = t.store.claim(super::claim(new.id, attempt), PATIENCE).await.unwrap();
        assert!(matches!(answer, ClaimAnswer::Refused(Refusal::Leased)), "{answer:?}");
    }
    let ending = Ending::Succeeded { evidence: Evidence::Response, result: None };
    for _ in 0..2 {
        assert_eq!(t.store.finish(finish(&claim, ending.clone()), PATIENCE).await.unwrap(), Finished::Done);
    }
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);
    // Accepted once more, late: it is over and stays so.
    assert_eq!(t.store.accept(new.clone(), PATIENCE).await.unwrap(), Accepted::New);
    assert_eq!(t.number("SELECT count(*) FROM executions WHERE state = 4").await, 1);
}

#[tokio::test]
async fn a_vanished_publisher_leaves_a_failure() {
    let t = accepting().await;
    let (new, claim) = native();
    t.store.accept(new.clone(), PATIENCE).await.unwrap();
    t.lapse(new.id).await;
    let rung = t.store.ring(10, decide).await.unwrap();
    assert_eq!((rung.ended.len(), rung.publish.len()), (1, 0));
    let read = t.store.execution(&tenant(), new.id).await.unwrap().unwrap();
    assert_eq!((read.state, read.reason.as_deref()), (State::Failed, Some(Reason::UnknownOutcome.as_str())));
    let ending = Ending::Succeeded { evidence: Evidence::Response, result: None };
    let late = t.store.finish(finish(&claim, ending), PATIENCE).await.unwrap();
    assert_eq!(late, Finished::LostFence(Some(State::Failed)));
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);
}

#[tokio::test]
async fn a_key_stands_for_one_native_execution() {
    let t = accepting().await;
    let keyed = || NewExecution {
        idempotency: Some(crate::Idempotency { key: "order-7".to_owned(), digest: [1; 32] }),
        ..native().0
    };
    let first = keyed();
    assert_eq!(t.store.accept(first.clone(), PATIENCE).await.unwrap(), Accepted::New);
    // Whoever is told of another's execution must not fire.
    assert_eq!(t.store.accept(keyed(), PATIENCE).await.unwrap(), Accepted::Replayed(first.id));
    assert_eq!(t.number("SELECT count(*) FROM executions").await, 1);
}
