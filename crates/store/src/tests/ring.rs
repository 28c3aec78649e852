//! The relay's transaction.

use bridge_protocol::{Reason, State, TimerDecision};
use chrono::TimeDelta;

use super::*;
use crate::{Due, Rung};

async fn ring(t: &TestStore, decision: impl Fn(&Due) -> Option<TimerDecision> + Send + 'static) -> Rung {
    t.store.ring(500, decision).await.unwrap()
}

async fn due_now(t: &TestStore, handed_off: bool) -> NewExecution {
    let new = NewExecution { due_in: Duration::ZERO, handed_off, ..execution() };
    t.store.accept(new.clone(), PATIENCE).await.unwrap();
    new
}

fn in_a_minute(due: &Due) -> Time {
    due.now + TimeDelta::seconds(60)
}

#[tokio::test]
async fn what_is_due_is_published_once_and_rearmed() {
    let t = accepting().await;
    let new = due_now(&t, false).await;
    t.accepted().await;
    let publish = |due: &Due| {
        assert_eq!(due.published_at, None);
        Some(TimerDecision::Publish { attempt: 1, next_due: in_a_minute(due) })
    };
    let rung = ring(&t, publish).await;
    assert_eq!((rung.seen, rung.publish.len()), (1, 1));
    assert_eq!(rung.publish[0].0.id, new.id);
    assert_eq!(ring(&t, publish).await.seen, 0);
    let read = t.store.execution(&tenant(), new.id).await.unwrap().unwrap();
    assert!(read.published_at.is_some());
    t.assert_every_live_execution_has_its_timer().await;
}

#[tokio::test]
async fn a_decision_may_be_put_off() {
    let t = accepting().await;
    due_now(&t, true).await;
    let rung = ring(&t, |_| None).await;
    assert_eq!((rung.seen, rung.left), (1, 1));
    assert_eq!(ring(&t, |due| Some(TimerDecision::Rearm(in_a_minute(due)))).await.rearmed, 1);
    t.assert_every_live_execution_has_its_timer().await;
}

#[tokio::test]
async fn a_lapsed_lease_ends_its_attempt_and_fences_its_holder() {
    let t = accepting().await;
    let new = t.accepted().await;
    let lost = claim(new.id, 1);
    t.claimed(lost.clone()).await;
    t.sql("WITH e AS (UPDATE executions SET lease_until = now() - interval '1 min', due_at = now() RETURNING *) UPDATE timers SET due_at = now()").await;
    let rung = ring(&t, |due| {
        assert_eq!(due.state, State::Running);
        Some(TimerDecision::Publish { attempt: due.attempt + 1, next_due: in_a_minute(due) })
    })
    .await;
    assert_eq!(rung.publish[0].1, 2);
    let ending = Ending::Failed { reason: Reason::UnknownOutcome, result: None };
    let late = t.store.finish(finish(&lost, ending), PATIENCE).await.unwrap();
    assert_eq!(late, crate::Finished::LostFence(Some(State::Retrying)));
    assert_eq!(t.claimed(claim(new.id, 2)).await.attempt, 2);
    let read = t.store.execution(&tenant(), new.id).await.unwrap().unwrap();
    assert_eq!(read.attempts[0].outcome, "lease_lapsed");
    t.assert_every_live_execution_has_its_timer().await;
}

#[tokio::test]
async fn ends_orphans_and_vanished_executions_leave_no_timer() {
    let t = accepting().await;
    let dead = due_now(&t, true).await;
    let rung = ring(&t, |_| Some(TimerDecision::DeadLetter(Reason::LeaseLapsed))).await;
    assert_eq!(rung.ended.len(), 1);
    assert_eq!(t.store.notices(10).await.unwrap()[0].execution, Some(dead.id));
    due_now(&t, true).await;
    assert_eq!(ring(&t, |_| Some(TimerDecision::Expire)).await.ended.len(), 1);
    // A timer that its execution no longer mirrors, one of an execution that is over, one without an execution,
    // one of a day whose partition is gone.
    let live = t.accepted().await;
    let old = "018bcfe5-6800-7000-8000-000000000000";
    t.sql(&format!("INSERT INTO timers VALUES (now(), 'acme', '{}'), (now(), 'acme', '{}'), (now(), 'acme', '{}'), (now(), 'acme', '{old}')", live.id, dead.id, execution().id)).await;
    let rung = ring(&t, |due| panic!("asked about {due:?}")).await;
    assert_eq!((rung.seen, rung.deleted), (4, 4));
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 1);
    t.assert_every_live_execution_has_its_timer().await;
}

#[tokio::test]
async fn the_relay_never_waits_for_a_locked_row() {
    let t = accepting().await;
    let new = due_now(&t, true).await;
    let mut connection = PgConnection::connect(&t.url).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("SELECT FROM executions WHERE id = $1 FOR UPDATE")
        .bind(new.id.uuid())
        .execute(&mut *transaction)
        .await
        .unwrap();
    let rung = tokio::time::timeout(Duration::from_secs(2), ring(&t, |due| panic!("asked about {due:?}")))
        .await
        .unwrap();
    assert_eq!((rung.seen, rung.left, rung.deleted), (1, 1, 0));
    transaction.rollback().await.unwrap();
    assert_eq!(ring(&t, |due| Some(TimerDecision::Rearm(in_a_minute(due)))).await.rearmed, 1);
}
