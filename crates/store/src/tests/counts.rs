//! Counts that several daemons add to.

use super::*;
use crate::Refused;

#[tokio::test]
async fn refusals_of_two_writers_become_one_row_a_minute() {
    let t = open().await;
    let minute = now();
    let of = |subjects: [&str; 2]| {
        subjects.map(|subject| Refused {
            minute,
            kind: "login",
            subject: subject.to_owned(),
            reason: "bad_secret".to_owned(),
            count: 3,
        })
    };
    // In opposite orders, many times: they must not lock each other out.
    let (one, two) = (of(["svc_1", "svc_2"]), of(["svc_2", "svc_1"]));
    let both = (0..50).flat_map(|_| [t.store.add_refusals(&one), t.store.add_refusals(&two)]);
    for outcome in futures::future::join_all(both).await {
        outcome.unwrap();
    }
    let since = minute - chrono::TimeDelta::minutes(2);
    let rows = t.store.refusals(since, 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.subject.as_str(), row.count)).collect::<Vec<_>>(),
        [("svc_1", 300), ("svc_2", 300)]
    );
    assert_eq!(rows[0].minute.timestamp() % 60, 0);
    assert_eq!(t.store.refusals(since, 1).await.unwrap().len(), 1);
    assert_eq!(t.store.refusals(minute + chrono::TimeDelta::minutes(2), 10).await.unwrap(), []);
}

#[tokio::test]
async fn usage_of_two_writers_adds_up() {
    let t = open().await;
    let (acme, umbra, nobody) = (tenant(), named("umbra"), named("nobody"));
    t.tenant("acme").await;
    t.tenant("umbra").await;
    let one = [(acme.clone(), 100, 1), (umbra.clone(), 10, 1)];
    let two = [(umbra.clone(), 10, 1), (acme.clone(), 50, 1), (acme.clone(), 50, 1)];
    let both = (0..25).flat_map(|_| [t.store.add_usage(&one), t.store.add_usage(&two)]);
    for outcome in futures::future::join_all(both).await {
        outcome.unwrap();
    }
    let mut sums = t
        .store
        .add_usage(&[(acme.clone(), 0, 0), (umbra.clone(), 0, 0), (nobody.clone(), 5, 5)])
        .await
        .unwrap();
    sums.sort();
    assert_eq!(sums, [(acme, 5_000, 75), (nobody, 0, 0), (umbra, 500, 50)]);
    assert_eq!(t.number("SELECT count(*) FROM usage").await, 2);
}

#[tokio::test]
async fn open_executions_are_counted_by_tenant() {
    let t = open().await;
    for (tenant, count) in [("acme", 3), ("umbra", 1)] {
        t.tenant(tenant).await;
        for _ in 0..count {
            let new = NewExecution { tenant: named(tenant), ..execution() };
            t.store.accept(new, PATIENCE).await.unwrap();
        }
    }
    let mut open = t.store.open_executions().await.unwrap();
    open.sort();
    assert_eq!(open, [(tenant(), 3), (named("umbra"), 1)]);
}
