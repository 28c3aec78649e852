//! Results: read while they are kept, gone when their time is over.

use bridge_protocol::{Evidence, Reason, State};

use super::*;
use crate::{ResultBody, TenantLimits, results};

/// An execution that succeeded with a result, as if it had ended so many seconds ago.
async fn succeeded(t: &TestStore, tenant: &str, ago: i64) -> ExecutionId {
    let id = ExecutionId::new(now() - chrono::TimeDelta::seconds(ago), &mut rand::rng());
    let new = NewExecution { id, tenant: named(tenant), ..execution() };
    t.store.accept(new, PATIENCE).await.unwrap();
    let claim = Claim { tenant: named(tenant), ..claim(id, 1) };
    t.claimed(claim.clone()).await;
    let result = ResultBody {
        content_type: Some("application/json".to_owned()),
        body: Bytes::from_static(b"{\"ok\":1}"),
        data_key: None,
        truncated: false,
    };
    let ending = Ending::Succeeded { evidence: Evidence::Response, result: Some(result) };
    t.store.finish(finish(&claim, ending), PATIENCE).await.unwrap();
    t.sql(&format!("UPDATE executions SET finished_at = finished_at - interval '{ago} s' WHERE id = '{id}'"))
        .await;
    t.sql(&format!("UPDATE results SET recorded_at = recorded_at - interval '{ago} s' WHERE id = '{id}'"))
        .await;
    id
}

#[tokio::test]
async fn a_result_is_read_with_how_it_came() {
    let t = accepting().await;
    let (s, acme) = (&t.store, &tenant());
    let live = t.accepted().await.id;
    let row = s.result(acme, live).await.unwrap().unwrap();
    assert_eq!((row.state, row.finished_at, row.expired), (State::Accepted, None, false));
    assert!(row.body.is_none());
    let done = succeeded(&t, "acme", 0).await;
    let row = s.result(acme, done).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.evidence, row.attempt, row.http_status),
        (State::Succeeded, Some(Evidence::Response), 1, Some(200))
    );
    let body = row.body.unwrap();
    assert_eq!(
        (body.content_type.as_deref(), body.attempt, body.truncated),
        (Some("application/json"), 1, false)
    );
    assert_eq!((body.body.bytes.as_ref(), body.body.data_key), (b"{\"ok\":1}".as_slice(), None));
    assert!(s.result(&named("globex"), done).await.unwrap().is_none());

    let dead = t.accepted().await.id;
    let taken = claim(dead, 1);
    t.claimed(taken.clone()).await;
    s.finish(finish(&taken, Ending::DeadLettered(Reason::PermanentAnswer)), PATIENCE).await.unwrap();
    t.sql("UPDATE executions SET finished_at = now() - interval '30 days'").await;
    let row = s.result(acme, dead).await.unwrap().unwrap();
    assert_eq!((row.reason.as_deref(), row.expired), (Some("permanent_answer"), false), "it never had one");
    t.sql("DELETE FROM results").await;
    assert!(s.result(acme, done).await.unwrap().unwrap().expired, "past the retention of results");
}

#[tokio::test]
async fn results_end_with_their_tenants_time() {
    let t = accepting().await;
    let s = &t.store;
    let limits = TenantLimits { result_ttl_s: Some(600), ..TenantLimits::default() };
    let put = s.put_tenant(&actor(), &tenant(), None, Some(limits.clone()), None).await.unwrap();
    assert_eq!((put.outcome, &put.value.limits), (crate::Outcome::Changed, &limits));
    assert_eq!(s.tenant(&tenant()).await.unwrap().unwrap().limits, limits);
    let mut old = Vec::new();
    for _ in 0..3 {
        old.push(succeeded(&t, "acme", 700).await);
    }
    let young = succeeded(&t, "acme", 500).await;
    let other = succeeded(&t, "globex", 700).await;
    // Accepted long ago, its result came now.
    let late = succeeded(&t, "acme", 800).await;
    t.sql(&format!("UPDATE results SET recorded_at = now() WHERE id = '{late}'")).await;
    t.sql(&format!("UPDATE executions SET finished_at = now() WHERE id = '{late}'")).await;

    let row = s.result(&tenant(), old[0]).await.unwrap().unwrap();
    assert!(row.body.is_none() && row.expired, "it is over before anybody has removed it");
    assert_eq!(s.expire_results(2).await.unwrap(), 2);
    assert_eq!(s.expire_results(2).await.unwrap(), 1);
    assert_eq!(s.expire_results(2).await.unwrap(), 0);
    assert_eq!(t.number("SELECT count(*) FROM results").await, 3);
    for id in old {
        let row = s.result(&tenant(), id).await.unwrap().unwrap();
        assert!(row.body.is_none() && row.expired && row.state == State::Succeeded);
    }
    for (tenant, id) in [("acme", young), ("globex", other), ("acme", late)] {
        let row = s.result(&named(tenant), id).await.unwrap().unwrap();
        assert!(row.body.is_some() && !row.expired, "{tenant}");
    }
    let longest = TenantLimits { result_ttl_s: Some(u64::MAX), ..TenantLimits::default() };
    s.put_tenant(&actor(), &tenant(), None, Some(longest), None).await.unwrap();
    assert_eq!(s.expire_results(2).await.unwrap(), 0);
}

#[tokio::test]
async fn those_that_ended_are_told_by_one_statement() {
    let t = accepting().await;
    let s = &t.store;
    let (live, done) = (t.accepted().await.id, succeeded(&t, "acme", 0).await);
    let gone = ExecutionId::new(now(), &mut rand::rng());
    // Of a day that has no partition.
    let dropped = ExecutionId::new(now() - chrono::TimeDelta::days(40), &mut rand::rng());
    let asked: Vec<_> = [live, done, gone, dropped].map(|id| (tenant(), id)).to_vec();
    let mut ended = s.ended(&asked).await.unwrap();
    ended.sort();
    let mut expected = asked[1..].to_vec();
    expected.sort();
    assert_eq!(ended, expected);
    assert_eq!(s.ended(&[(named("globex"), live)]).await.unwrap().len(), 1, "another tenant's is not there");
    assert_eq!(s.ended(&[]).await.unwrap(), []);

    let day = crate::Day::at(now());
    let plan = plans::plan(
        &t,
        &results::ended_sql(day),
        "ARRAY['acme'], ARRAY['01a1fb67-1800-7000-8000-000000000000']::uuid[]",
    )
    .await;
    plans::assert_day_only(&plan, day);
    assert!(plan.contains("_pkey"), "{plan}");
}

/// What thousands of waiting clients cost.
#[tokio::test]
async fn five_thousand_are_asked_for_at_once() {
    let t = accepting().await;
    let ids: Vec<(TenantId, ExecutionId)> =
        futures::future::join_all((0..5_000).map(async |_| (tenant(), t.accepted().await.id))).await;
    let mut took = Vec::new();
    for _ in 0..10 {
        let started = std::time::Instant::now();
        assert_eq!(t.store.ended(&ids).await.unwrap(), []);
        took.push(started.elapsed());
    }
    took.sort();
    println!("5,000 waiting: {:?} (median) a look", took[5]);
}
