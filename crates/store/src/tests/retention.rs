//! Partitions come ahead and go behind.

use super::*;
use crate::Day;

#[tokio::test]
async fn partitions_go_when_nothing_in_them_lives() {
    let t = open_with(|config| {
        config.payloads_days = 2;
        config.executions_days = 5;
    })
    .await;
    t.tenant("acme").await;
    let today = Day::at(now());
    assert_eq!(
        t.number(
            "SELECT count(*) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE c.relkind = 'r'"
        )
        .await
            % 4,
        0
    );
    let live = t.accepted().await;
    let later = now() + chrono::TimeDelta::days(4);
    let done = t.store.maintain(later).await.unwrap();
    assert_eq!(done.kept, [format!("payloads_{}", today.suffix()), format!("results_{}", today.suffix())]);
    assert!(done.dropped.contains(&format!("payloads_{}", today.minus(1).suffix())), "{done:?}");
    assert!(done.created.contains(&format!("executions_{}", today.plus(11).suffix())), "{done:?}");
    let first = claim(live.id, 1);
    t.claimed(first.clone()).await;
    let ending = Ending::Succeeded { evidence: bridge_protocol::Evidence::Response, result: None };
    t.store.finish(finish(&first, ending), PATIENCE).await.unwrap();
    let done = t.store.maintain(later).await.unwrap();
    assert!(done.dropped.contains(&format!("payloads_{}", today.suffix())), "{done:?}");
    assert_eq!(t.store.payload(&tenant(), live.id).await.unwrap(), None);
    let read = t.store.replayable(&tenant(), live.id).await.unwrap().unwrap();
    assert_eq!(read.payload, None, "the payload is gone, the execution still known");
    t.store.maintain(now() + chrono::TimeDelta::days(9)).await.unwrap();
    let answer = t.store.claim(claim(live.id, 2), PATIENCE).await.unwrap();
    assert!(matches!(answer, ClaimAnswer::Refused(crate::Refusal::Unknown)), "{answer:?}");
}

#[tokio::test]
async fn what_was_never_told_goes_with_its_execution() {
    let t = accepting().await;
    let (kept, old) = (t.accepted().await.id, "018bcfe5-6800-7000-8000-000000000000");
    t.sql(&format!("INSERT INTO follow_ups VALUES ('acme', '{kept}'), ('acme', '{old}')")).await;
    t.store.maintain(now()).await.unwrap();
    assert_eq!(t.number("SELECT count(*) FROM follow_ups").await, 1);
}

#[tokio::test]
async fn what_serves_whoever_looks_into_an_attack_goes_after_three_months() {
    let t = open().await;
    for (days, name) in [(89, "young"), (91, "old")] {
        t.sql(&format!(
            "INSERT INTO rejected_messages (tenant_id, topic, message_id, reason, head, rejected_at)
             VALUES ('acme', 't', '{name}', 'r', '', now() - interval '{days} days')"
        ))
        .await;
        t.sql(&format!(
            "INSERT INTO refusals VALUES (now() - interval '{days} days', 'login', '{name}', 'r', 1)"
        ))
        .await;
    }
    t.store.maintain(now()).await.unwrap();
    for table in ["rejected_messages WHERE message_id", "refusals WHERE subject"] {
        assert_eq!(t.number(&format!("SELECT count(*) FROM {table} = 'young'")).await, 1, "{table}");
        assert_eq!(t.number(&format!("SELECT count(*) FROM {table} = 'old'")).await, 0, "{table}");
    }
}
