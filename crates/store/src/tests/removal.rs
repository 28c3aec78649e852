//! The end of a tenant.

use bridge_protocol::{Evidence, Reason, Route, RouteName, State, TimerDecision};
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::admin::credential;
use super::*;
use crate::{
    Accepted, AdminError, Finished, Idempotency, Outcome, Rejected, Reschedule, ResultBody, TenantState, Why,
};

/// Every table that has a tenant's rows, but the audit log.
const TABLES: &str = "SELECT table_name::text FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE column_name = 'tenant_id' AND table_schema = 'public' AND table_name <> 'audit_log'
      AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = table_name::regclass) ORDER BY 1";

async fn rows_of(t: &TestStore, tenant: &str) -> Vec<(String, i64)> {
    let mut connection = PgConnection::connect(&t.url).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut connection).await.unwrap();
    let mut counts = Vec::new();
    for table in tables {
        let sql = format!("SELECT count(*) FROM {table} WHERE tenant_id = '{tenant}'");
        counts.push((table, t.number(&sql).await));
    }
    counts.push((
        "tenants".to_owned(),
        t.number(&format!("SELECT count(*) FROM tenants WHERE id = '{tenant}'")).await,
    ));
    let credentials = format!("SELECT count(*) FROM credentials WHERE '{tenant}' = ANY (tenants)");
    counts.push(("credentials".to_owned(), t.number(&credentials).await));
    counts
}

/// A row in every table. One execution is over, one dead, one lives.
async fn furnish(t: &TestStore, tenant: &str, digest: u8) {
    let (s, a, name) = (&t.store, &actor(), &named(tenant));
    t.tenant(tenant).await;
    let mut lives = Vec::new();
    for n in 0..3 {
        let idempotency = Some(Idempotency { key: format!("k{n}"), digest: [n; 32] });
        let new = NewExecution { tenant: name.clone(), idempotency, ..execution() };
        s.accept(new.clone(), PATIENCE).await.unwrap();
        lives.push(Claim { tenant: name.clone(), ..claim(new.id, 1) });
    }
    for first in &lives[..2] {
        t.claimed(first.clone()).await;
    }
    let why = Why::Retry { claim_id: lives[0].claim_id, http_status: None, error: None };
    let retry = Reschedule { tenant: name.clone(), id: lives[0].id, attempt: 1, after: Duration::ZERO, why };
    s.reschedule(retry, PATIENCE).await.unwrap();
    let second = Claim { tenant: name.clone(), ..claim(lives[0].id, 2) };
    t.claimed(second.clone()).await;
    let result =
        ResultBody { content_type: None, body: Bytes::from_static(b"ok"), truncated: false, data_key: None };
    let ending = Ending::Succeeded { evidence: Evidence::Response, result: Some(result) };
    assert_eq!(s.finish(finish(&second, ending), PATIENCE).await.unwrap(), Finished::Done);
    let dead = finish(&lives[1], Ending::DeadLettered(Reason::AttemptsExhausted));
    assert_eq!(s.finish(dead, PATIENCE).await.unwrap(), Finished::Done);
    let rejected = Rejected {
        tenant: name.clone(),
        lane: Lane::Short,
        topic: "t".to_owned(),
        message_id: "1:1".to_owned(),
        reason: "forged",
        head: vec![1],
    };
    s.record_rejected(&rejected).await.unwrap();
    s.add_webhook_secret(a, name, id(), vec![1], Duration::ZERO).await.unwrap();
    s.add_data_key(a, name, id(), vec![1]).await.unwrap();
    s.put_webhook_credential(a, name, "crm", "basic", vec![1]).await.unwrap();
    s.add_usage(&[(name.clone(), 5, 5)]).await.unwrap();
    s.create_credential(a, &credential(&format!("svc_{tenant}"), &[tenant], digest)).await.unwrap();
    s.put_route(a, name, &RouteName::Default, &Route::default()).await.unwrap();
    s.put_hold(a, &routes::hold(tenant, "h1")).await.unwrap();
    s.create_job(a, &jobs::new_job(tenant), 20).await.unwrap();
    t.sql(&format!("INSERT INTO follow_ups VALUES ('{tenant}', '{}')", lives[1].id)).await;
}

#[tokio::test]
async fn removal_takes_every_row_of_the_tenant_and_none_of_another() {
    let t = open().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    furnish(&t, "acme", 1).await;
    furnish(&t, "umbra", 2).await;
    s.create_credential(a, &credential("svc_both", &["acme", "umbra"], 3)).await.unwrap();
    let before = rows_of(&t, "acme").await;
    assert!(before.iter().all(|(_, count)| *count > 0), "a table was not furnished: {before:?}");
    let other = rows_of(&t, "umbra").await;
    let lines = t.number("SELECT count(*) FROM audit_log WHERE tenant_id = 'acme'").await;

    assert!(matches!(s.remove_tenant(a, acme).await, Err(AdminError::Conflict(_))), "not marked");
    s.mark_deleting(a, acme).await.unwrap();
    let early = s.cancel_live(a, acme).await;
    assert!(matches!(early, Err(AdminError::Conflict(_))), "closed a moment ago: {early:?}");
    assert!(matches!(s.remove_tenant(a, acme).await, Err(AdminError::Conflict(_))), "closed a moment ago");
    t.calm().await;
    assert_eq!(s.live_count(acme).await.unwrap(), 1);
    assert!(matches!(s.remove_tenant(a, acme).await, Err(AdminError::Conflict(_))), "one lives");
    assert_eq!(rows_of(&t, "acme").await, before);
    assert_eq!(s.cancel_live(a, acme).await.unwrap(), 1);
    assert_eq!(s.cancel_live(a, acme).await.unwrap(), 0);
    t.assert_every_live_execution_has_its_timer().await;

    let revision = s.directory_revision().await.unwrap();
    let known = s.routing(0).await.unwrap();
    let done = s.remove_tenant(a, acme).await.unwrap();
    assert_eq!((done.outcome, done.revision), (Outcome::Changed, revision + 1));
    let removed = done.value;
    assert_eq!((removed.executions, removed.payloads, removed.results), (3, 3, 1));
    assert_eq!((removed.credentials, removed.data_keys), (1, 1));
    let routing = s.routing(known.revision).await.unwrap();
    assert!(routing.whole, "nothing is left to say that the routes are gone");
    assert_eq!((routing.routes.len(), routing.holds.len()), (1, 1));
    let left = rows_of(&t, "acme").await;
    assert!(left.iter().all(|(_, count)| *count == 0), "{left:?}");
    assert_eq!(rows_of(&t, "umbra").await, other);
    // Marked, cancelled, removed.
    assert_eq!(t.number("SELECT count(*) FROM audit_log WHERE tenant_id = 'acme'").await, lines + 3);
    let both = s.credentials(Some(&named("umbra"))).await.unwrap();
    let both = both.iter().find(|record| record.id == "svc_both").unwrap();
    assert_eq!(both.tenants, [named("umbra")]);
    t.tenant("acme").await;
    t.assert_every_live_execution_has_its_timer().await;
}

#[tokio::test]
async fn removal_goes_on_where_it_was_interrupted_and_never_touches_what_came_late() {
    let t = open().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    t.tenant("acme").await;
    let many = 1_200;
    futures::future::join_all((0..many).map(|_| t.accepted())).await;
    s.mark_deleting(a, acme).await.unwrap();
    t.calm().await;
    assert_eq!(s.cancel_live(a, acme).await.unwrap(), many);
    // As if half of the executions went before a crash.
    t.sql("DELETE FROM executions WHERE id IN (SELECT id FROM executions ORDER BY id LIMIT 600)").await;
    // A statement that had begun before: its execution lives, although its timer was lost out of sight.
    t.sql("UPDATE tenants SET state = 0 WHERE id = 'acme'").await;
    let late = t.accepted().await;
    t.sql("UPDATE tenants SET state = 2 WHERE id = 'acme'").await;
    t.sql(&format!("DELETE FROM timers WHERE execution_id = '{}'", late.id)).await;
    let before = rows_of(&t, "acme").await;
    assert!(matches!(s.remove_tenant(a, acme).await, Err(AdminError::Conflict(_))));
    assert_eq!(rows_of(&t, "acme").await, before, "all is in its place");
    assert_eq!(s.cancel_live(a, acme).await.unwrap(), 1, "found without its timer");
    let removed = s.remove_tenant(a, acme).await.unwrap().value;
    assert_eq!((removed.executions, removed.payloads), (601, many + 1));
    assert!(rows_of(&t, "acme").await.iter().all(|(_, count)| *count == 0));
}

#[tokio::test]
async fn what_is_not_active_in_the_database_gets_nothing_accepted() {
    let t = open().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    let keyed = || NewExecution {
        idempotency: Some(Idempotency { key: "k".to_owned(), digest: [1; 32] }),
        ..execution()
    };
    let closed = async || s.accept(keyed(), PATIENCE).await.unwrap() == Accepted::TenantClosed;
    assert!(closed().await, "nobody made it");
    t.tenant("acme").await;
    let first = keyed();
    assert_eq!(s.accept(first.clone(), PATIENCE).await.unwrap(), Accepted::New);
    assert!(!s.accepts_are_over(acme).await.unwrap(), "it is open");
    for state in [TenantState::Suspended, TenantState::Deleting] {
        match state {
            TenantState::Suspended => drop(s.put_tenant(a, acme, Some(state), None, None).await.unwrap()),
            _ => drop(s.mark_deleting(a, acme).await.unwrap()),
        }
        assert_eq!(s.accept(execution(), PATIENCE).await.unwrap(), Accepted::TenantClosed, "{state:?}");
        // What was accepted before is still found by its key, and by its own repetition.
        assert_eq!(s.accept(keyed(), PATIENCE).await.unwrap(), Accepted::Replayed(first.id));
        assert_eq!(s.accept(first.clone(), PATIENCE).await.unwrap(), Accepted::New);
        assert!(!s.accepts_are_over(acme).await.unwrap(), "a statement may have begun a moment ago");
        t.calm().await;
        assert!(s.accepts_are_over(acme).await.unwrap());
    }
    assert_eq!(t.number("SELECT count(*) FROM executions").await, 1);
    assert_eq!(t.number("SELECT count(*) FROM idempotency_keys").await, 1);
}

#[tokio::test]
async fn one_closed_tenant_spoils_nothing_for_the_others_of_its_batch() {
    let t = accepting().await;
    let of = |n: usize| NewExecution {
        tenant: named(["acme", "globex", "nobody"][n % 3]),
        idempotency: Some(Idempotency { key: format!("k{n}"), digest: [1; 32] }),
        ..execution()
    };
    t.store.mark_deleting(&actor(), &named("globex")).await.unwrap();
    let outcome = |n: usize| if n.is_multiple_of(3) { Accepted::New } else { Accepted::TenantClosed };
    let outcomes = futures::future::join_all((0..99).map(|n| t.store.accept(of(n), PATIENCE))).await;
    for (n, accepted) in outcomes.into_iter().enumerate() {
        assert_eq!(accepted.unwrap(), outcome(n));
    }
    let together = t.store.accept_all((99..105).map(of).collect(), PATIENCE).await.unwrap();
    assert_eq!(together, (99..105).map(outcome).collect::<Vec<_>>());
    for table in ["executions", "payloads", "timers", "idempotency_keys"] {
        assert_eq!(t.number(&format!("SELECT count(*) FROM {table}")).await, 35, "{table}");
        let others = format!("SELECT count(*) FROM {table} WHERE tenant_id <> 'acme'");
        assert_eq!(t.number(&others).await, 0, "{table}");
    }
}

#[tokio::test]
async fn an_accept_that_commits_late_is_waited_for() {
    let t = open().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    t.tenant("acme").await;
    let mut connection = PgConnection::connect(&t.url).await.unwrap();
    let mut late = connection.begin().await.unwrap();
    let new = execution();
    crate::accept::accept(&mut late, crate::Day::of(new.id), &[&new]).await.unwrap();
    s.mark_deleting(a, acme).await.unwrap();
    t.calm().await;
    assert!(!s.accepts_are_over(acme).await.unwrap(), "its COMMIT may take longer than any statement");
    assert!(matches!(s.remove_tenant(a, acme).await, Err(AdminError::Conflict(_))));
    late.commit().await.unwrap();
    assert!(s.accepts_are_over(acme).await.unwrap());
    assert!(matches!(s.remove_tenant(a, acme).await, Err(AdminError::Conflict(_))), "it lives");
    assert_eq!(s.cancel_live(a, acme).await.unwrap(), 1);
    s.remove_tenant(a, acme).await.unwrap();
}

#[tokio::test]
async fn what_lives_is_cancelled_for_closed_tenants_only() {
    let t = open().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    t.tenant("acme").await;
    t.accepted().await;
    t.calm().await;
    assert!(matches!(s.cancel_live(a, acme).await, Err(AdminError::Conflict(_))), "it is active");
    s.put_tenant(a, acme, Some(TenantState::Suspended), None, None).await.unwrap();
    t.calm().await;
    assert_eq!(s.cancel_live(a, acme).await.unwrap(), 1);
    assert_eq!(s.live_count(acme).await.unwrap(), 0);
}

#[tokio::test]
async fn cancelling_races_finish_retry_and_the_relay_without_harm() {
    let t = open().await;
    let store = &t.store;
    t.tenant("acme").await;
    let many: usize = 3_000;
    // Due at once, so that the relay works on the same rows.
    let news = futures::future::join_all((0..many).map(async |_| {
        let new = NewExecution { due_in: Duration::ZERO, ..execution() };
        store.accept(new.clone(), PATIENCE).await.unwrap();
        new
    }))
    .await;
    let claims: Vec<Claim> = news.iter().map(|new| claim(new.id, 1)).collect();
    let every_third = |first: usize| claims.iter().skip(first).step_by(3).cloned().collect::<Vec<_>>();
    let (to_finish, to_retry) = (every_third(0), every_third(1));
    let claimed = to_finish.iter().chain(&to_retry).map(|claim| t.claimed(claim.clone()));
    futures::future::join_all(claimed).await;

    store.mark_deleting(&actor(), &tenant()).await.unwrap();
    t.calm().await;
    let count = |state: State| format!("SELECT count(*) FROM executions WHERE state = {}", state.code());
    // The first are finished before the cancellation begins, the last after it is over; between, they meet.
    let (begun, over) = (CancellationToken::new(), CancellationToken::new());
    let finishing = async {
        let mut outcomes = Vec::new();
        let chunks = to_finish.rchunks(25);
        let last = chunks.len() - 1;
        for (number, some) in chunks.enumerate() {
            if number == last {
                over.cancelled().await;
            }
            outcomes.extend(
                futures::future::join_all(some.iter().map(|claim| {
                    let ending = Ending::Succeeded { evidence: Evidence::Response, result: None };
                    store.finish(finish(claim, ending), PATIENCE)
                }))
                .await,
            );
            begun.cancel();
        }
        outcomes
    };
    let retrying = async {
        let mut outcomes = Vec::new();
        for some in to_retry.rchunks(25) {
            outcomes.extend(
                futures::future::join_all(some.iter().map(|claim| {
                    let why = Why::Retry { claim_id: claim.claim_id, http_status: None, error: None };
                    let (tenant, after) = (tenant(), Duration::ZERO);
                    store.reschedule(Reschedule { tenant, id: claim.id, attempt: 1, after, why }, PATIENCE)
                }))
                .await,
            );
        }
        outcomes
    };
    let relaying = async {
        while !over.is_cancelled() {
            let again = |due: &crate::Due| Some(TimerDecision::Rearm(due.now + TimeDelta::milliseconds(1)));
            store.ring(200, again).await.unwrap();
        }
    };
    let cancelling = async {
        begun.cancelled().await;
        let mut cancelled = 0;
        while store.live_count(&tenant()).await.unwrap() > 0 {
            match store.cancel_live(&actor(), &tenant()).await {
                Ok(some) => cancelled += some,
                // Beside this much writing the same instant's writers are not over each time.
                Err(AdminError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        over.cancel();
        cancelled
    };
    let (finished, retried, cancelled, ()) = tokio::join!(finishing, retrying, cancelling, relaying);

    let done = finished.iter().filter(|outcome| *outcome.as_ref().unwrap() == Finished::Done).count();
    let lost = finished.len() - done;
    for outcome in finished.into_iter().chain(retried) {
        let outcome = outcome.unwrap();
        assert!(
            matches!(outcome, Finished::Done | Finished::LostFence(Some(State::Cancelled))),
            "{outcome:?}"
        );
    }
    assert!(done > 0 && lost > 0, "they never met: {done} finished, {lost} came too late");
    println!("{done} finished, {cancelled} cancelled, {lost} finishes came too late");
    assert_eq!(done + cancelled as usize, many);
    assert_eq!(t.number(&count(State::Succeeded)).await, done as i64);
    assert_eq!(t.number(&count(State::Cancelled)).await, cancelled as i64);
    assert_eq!(t.number("SELECT count(*) FROM executions WHERE state < 4").await, 0);
    t.assert_every_live_execution_has_its_timer().await;
    let left = t.number("SELECT count(*) FROM timers").await;
    println!("{left} timers left over, which ring once and go");
}

#[tokio::test]
async fn a_running_execution_that_is_cancelled_fences_its_consumer() {
    let t = open().await;
    t.tenant("acme").await;
    let running = claim(t.accepted().await.id, 1);
    t.claimed(running.clone()).await;
    t.store.mark_deleting(&actor(), &tenant()).await.unwrap();
    t.calm().await;
    assert_eq!(t.store.cancel_live(&actor(), &tenant()).await.unwrap(), 1);
    let ending = Ending::Succeeded { evidence: Evidence::Response, result: None };
    let late = t.store.finish(finish(&running, ending), PATIENCE).await.unwrap();
    assert_eq!(late, Finished::LostFence(Some(State::Cancelled)));
    let read = t.store.execution(&tenant(), running.id).await.unwrap().unwrap();
    assert_eq!((read.state, read.due_at), (State::Cancelled, None));
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);
}

#[tokio::test]
async fn the_export_gives_all_by_pages() {
    let t = open().await;
    furnish(&t, "acme", 1).await;
    furnish(&t, "umbra", 2).await;
    let key = id();
    t.sql(&format!("UPDATE payloads SET data_key = '{key}'")).await;
    let first = t.store.export(&tenant(), None, 2).await.unwrap();
    let rest = t.store.export(&tenant(), Some(first[1].execution.id), 2).await.unwrap();
    assert_eq!((first.len(), rest.len()), (2, 1));
    assert!(t.store.export(&tenant(), Some(rest[0].execution.id), 2).await.unwrap().is_empty());
    for row in first.iter().chain(&rest) {
        let alone = t.store.execution(&tenant(), row.execution.id).await.unwrap();
        assert_eq!(format!("{:?}", Some(&row.execution)), format!("{:?}", alone.as_ref()));
        assert_eq!(row.payload, t.store.payload(&tenant(), row.execution.id).await.unwrap());
        assert_eq!(row.payload.as_ref().unwrap().data_key, Some(key));
    }
    assert_eq!(first[0].execution.attempts.len(), 1);
    assert_eq!(first[0].result.as_ref().unwrap().body, "ok");
}
