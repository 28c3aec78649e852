//! What metrics ask.

use super::plans::plan;
use super::*;
use crate::{Reschedule, Why};
use bridge_protocol::State;

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn what_lives_is_counted_by_lane_and_state_with_the_oldest() {
    let t = accepting().await;
    let quiet = t.store.living(LIMIT).await.unwrap();
    assert_eq!((quiet.lives.len(), quiet.capped), (0, false));

    let waiting = t.accepted().await;
    t.sql(&format!(
        "UPDATE executions SET accepted_at = now() - interval '10 minutes' WHERE id = '{}'",
        waiting.id
    ))
    .await;
    let later = NewExecution {
        deliver_at: Some(now() + chrono::TimeDelta::hours(1)),
        due_in: Duration::from_secs(3600),
        handed_off: false,
        ..execution()
    };
    t.store.accept(later.clone(), PATIENCE).await.unwrap();
    let running = t.accepted().await;
    t.claimed(claim(running.id, 1)).await;
    t.sql(&format!(
        "UPDATE executions SET claimed_at = now() - interval '3 minutes' WHERE id = '{}'",
        running.id
    ))
    .await;

    let living = t.store.living(LIMIT).await.unwrap();
    let of = |state| *living.lives.iter().find(|lives| lives.state == state).unwrap();
    let (accepted, attempt) = (of(State::Accepted), of(State::Running));
    assert_eq!((accepted.lane, accepted.count, attempt.count), (Lane::Long, 2, 1));
    assert!((600.0..630.0).contains(&accepted.unclaimed_for.as_secs_f64()), "{accepted:?}");
    assert!((180.0..210.0).contains(&attempt.running_for.as_secs_f64()), "{attempt:?}");
    assert_eq!((accepted.running_for, attempt.unclaimed_for), (Duration::ZERO, Duration::ZERO));

    // What was put off waits for something else than a consumer.
    let parked = Reschedule {
        tenant: waiting.tenant,
        id: waiting.id,
        attempt: 1,
        after: Duration::from_secs(60),
        why: Why::Park { longest: Duration::from_secs(300) },
    };
    t.store.reschedule(parked, PATIENCE).await.unwrap();
    let living = t.store.living(LIMIT).await.unwrap();
    let accepted = living.lives.iter().find(|lives| lives.state == State::Accepted).unwrap();
    assert_eq!((accepted.count, accepted.unclaimed_for), (2, Duration::ZERO));
}

#[tokio::test]
async fn counting_reads_both_tables_by_their_keys() {
    let t = accepting().await;
    let plan = plan(&t, crate::pulse::LIVING, "10000").await;
    assert!(plan.contains("using timers_pkey"), "{plan}");
    // The counted rows are few enough to be sorted into their groups.
    assert!(!plan.contains("Seq Scan on"), "{plan}");
    assert!(plan.contains("_pkey on executions_"), "{plan}");
}

#[tokio::test]
async fn a_count_has_its_time_limit_and_the_pools_say_what_they_hold() {
    let t = accepting().await;
    t.store.living(LIMIT).await.unwrap();
    let watch = t.store.pools().into_iter().find(|pool| pool.name == "watch").unwrap();
    assert_eq!(watch.idle + watch.used, 1);
    t.store.close().await;
    assert!(t.store.living(Duration::from_millis(100)).await.is_err());
}
