//! Routes and holds: each change once, on the record, told to whoever listens, and seen in the order of its commit.

use bridge_protocol::{Hold, Route, RouteName};
use sqlx::Connection;

use super::*;
use crate::{AdminError, Outcome, RouteDiff, RouteRow};

pub fn hold(tenant: &str, id: &str) -> Hold {
    Hold {
        tenant: named(tenant),
        id: id.to_owned(),
        workflow: None,
        lane: Some(Lane::Short),
        host: Some("n8n:5678".to_owned()),
        reason: "n8n is being updated".to_owned(),
    }
}

fn workflow(id: &str) -> RouteName {
    RouteName::Workflow(WorkflowId::parse(id).unwrap())
}

fn to(url: &str) -> Route {
    Route { webhook_url: Some(url.to_owned()), ..Route::default() }
}

async fn names(t: &TestStore, since: i64) -> Vec<(String, bool)> {
    let rows = t.store.routing(since).await.unwrap();
    rows.routes.into_iter().map(|row| (row.name.name().to_owned(), row.route.is_some())).collect()
}

#[tokio::test]
async fn a_route_is_made_changed_and_deleted_once() {
    let t = accepting().await;
    let (s, a, acme, name) = (&t.store, &actor(), &tenant(), &workflow("orders"));
    assert_eq!(s.routing_revision().await.unwrap(), 1);
    let steps = [
        (to("https://a.example/1"), Outcome::Created, 2),
        (to("https://a.example/1"), Outcome::Unchanged, 2),
        (to("https://a.example/2"), Outcome::Changed, 3),
    ];
    for (route, outcome, revision) in steps {
        let done = s.put_route(a, acme, name, &route).await.unwrap();
        assert_eq!((done.outcome, done.revision), (outcome, revision));
        assert_eq!((done.value.revision, done.value.route.as_ref()), (revision, Some(&route)));
        assert_eq!(s.route(acme, name).await.unwrap(), Some(done.value));
    }
    assert_eq!(s.route(&named("globex"), name).await.unwrap(), None);
    assert_eq!(s.delete_route(a, &named("globex"), name).await.unwrap().outcome, Outcome::Unchanged);
    for (outcome, revision) in [(Outcome::Changed, 4), (Outcome::Unchanged, 4)] {
        let done = s.delete_route(a, acme, name).await.unwrap();
        assert_eq!((done.outcome, done.revision), (outcome, revision));
        assert_eq!(s.route(acme, name).await.unwrap(), None);
    }
    let again = s.put_route(a, acme, name, &to("https://a.example/3")).await.unwrap();
    assert_eq!(again.outcome, Outcome::Created);
    let log = s.audit(&crate::AuditFilter { limit: 10, ..Default::default() }).await.unwrap();
    let said: Vec<(&str, &str)> = log.iter().map(|row| (row.action.as_str(), row.target.as_str())).collect();
    let on = "workflows.orders";
    assert_eq!(said, [("route.put", on), ("route.put", on), ("route.delete", on), ("route.put", on)]);
    assert_eq!(log[1].before.as_ref().unwrap()["webhook_url"], "https://a.example/1");
    assert_eq!(log[1].after.as_ref().unwrap()["webhook_url"], "https://a.example/2");
    assert_eq!((log[2].after.as_ref(), log[2].source.as_deref()), (None, Some("10.0.0.7")));

    for refused in [
        s.put_route(a, &named("nobody"), name, &Route::default()).await.map(drop),
        s.delete_route(a, &named("nobody"), name).await.map(drop),
        s.put_hold(a, &hold("nobody", "h")).await.map(drop),
    ] {
        assert!(matches!(refused, Err(AdminError::NotFound)), "{refused:?}");
    }
    t.sql("UPDATE tenants SET state = 2 WHERE id = 'acme'").await;
    let leaving = s.put_route(a, acme, name, &Route::default()).await;
    assert!(matches!(leaving, Err(AdminError::Conflict(_))), "{leaving:?}");
}

#[tokio::test]
async fn an_apply_is_one_change() {
    let t = accepting().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    let crm = RouteName::of_type("crm_sync").unwrap();
    let puts = [
        (workflow("a"), to("https://x.example/a")),
        (workflow("b"), to("https://x.example/b")),
        (crm.clone(), Route { lane: Some(Lane::Short), ..Route::default() }),
        (RouteName::Default, Route::default()),
    ];
    let done = s.apply_routes(a, acme, &puts, &[]).await.unwrap();
    let created = ["workflows.a", "workflows.b", "types.crm_sync", "default"].map(str::to_owned).to_vec();
    assert_eq!(done.value, RouteDiff { created, ..RouteDiff::default() });
    assert_eq!((done.outcome, done.revision), (Outcome::Changed, 2));
    let again = s.apply_routes(a, acme, &puts, &[workflow("gone")]).await.unwrap();
    assert_eq!((again.outcome, again.revision, again.value.unchanged.len()), (Outcome::Unchanged, 2, 4));

    // A name that is both put and deleted is put.
    let puts = [(workflow("a"), to("https://y.example/a")), (workflow("b"), to("https://x.example/b"))];
    let done = s.apply_routes(a, acme, &puts, &[workflow("a"), crm, RouteName::Default]).await.unwrap();
    let expected = RouteDiff {
        changed: vec!["workflows.a".to_owned()],
        deleted: vec!["types.crm_sync".to_owned(), "default".to_owned()],
        unchanged: vec!["workflows.b".to_owned()],
        ..RouteDiff::default()
    };
    assert_eq!((done.revision, done.value), (3, expected));
    let left = s.routes(acme, None, 10).await.unwrap();
    assert_eq!(left.iter().map(|row| row.name.name()).collect::<Vec<_>>(), ["a", "b"]);
    let mut pages: Vec<RouteRow> = Vec::new();
    while let Some(row) = {
        let after = pages.last().map(|last| (last.name.kind(), last.name.name().to_owned()));
        s.routes(acme, after, 1).await.unwrap().pop()
    } {
        pages.push(row);
    }
    assert_eq!(pages, left);
    // One line for each route that changed.
    assert_eq!(t.number("SELECT count(*) FROM audit_log").await, 4 + 3);

    // One bad row refuses the whole: a NUL is no text of Postgres.
    let bad = [(workflow("new"), Route::default()), (workflow("bad"), to("https://x.example/\0"))];
    assert!(s.apply_routes(a, acme, &bad, &[workflow("a")]).await.is_err());
    assert_eq!(s.routes(acme, None, 10).await.unwrap(), left);
    assert_eq!(s.routing_revision().await.unwrap(), 3);
}

#[tokio::test]
async fn a_daemon_loads_what_changed_since_it_looked() {
    let t = accepting().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    for id in ["a", "b", "c"] {
        s.put_route(a, acme, &workflow(id), &Route::default()).await.unwrap();
    }
    s.delete_route(a, acme, &workflow("a")).await.unwrap();
    s.put_hold(a, &hold("globex", "h")).await.unwrap();
    let said =
        |expected: &[(&str, bool)]| expected.iter().map(|(n, on)| ((*n).to_owned(), *on)).collect::<Vec<_>>();
    assert_eq!(names(&t, 0).await, said(&[("b", true), ("c", true)]));
    assert_eq!(names(&t, 2).await, said(&[("b", true), ("c", true), ("a", false)]));
    assert_eq!(names(&t, 4).await, said(&[("a", false)]));
    assert_eq!(names(&t, 6).await, []);
    let rows = s.routing(6).await.unwrap();
    assert_eq!((rows.revision, rows.whole, rows.holds), (6, false, vec![hold("globex", "h")]));
    assert!(s.routing(7).await.unwrap().whole, "this database never had revision 7");

    // Deletions of which no trace is left.
    t.sql("UPDATE routes SET changed_at = now() - interval '2 days'").await;
    s.maintain(now()).await.unwrap();
    assert_eq!(t.number("SELECT count(*) FROM routes").await, 2);
    let (older, newer) = (s.routing(4).await.unwrap(), s.routing(5).await.unwrap());
    assert_eq!((older.whole, older.routes.len()), (true, 2));
    assert_eq!((newer.whole, newer.routes.len()), (false, 0));
    t.sql("UPDATE routes SET route = '{\"lane\": \"of tomorrow\"}' WHERE name = 'b'").await;
    assert_eq!(names(&t, 0).await, said(&[("c", true)]), "what does not read is left out");
}

#[tokio::test]
async fn revisions_are_seen_in_the_order_of_their_commits() {
    let t = open_with(|config| config.pool_size = 16).await;
    let tenants: Vec<TenantId> = (0..8).map(|n| named(&format!("t{n}"))).collect();
    for tenant in &tenants {
        t.tenant(tenant.as_str()).await;
    }
    let (stop, mut seen) = (tokio_util::sync::CancellationToken::new(), std::collections::HashMap::new());
    let writers = async {
        let each = tenants.iter().map(async |tenant| {
            for n in 0..40 {
                let route = to(&format!("https://x.example/{n}"));
                t.store.put_route(&actor(), tenant, &workflow("w"), &route).await.unwrap();
            }
        });
        futures::future::join_all(each).await;
        stop.cancel();
    };
    let reader = async {
        let mut known = 0;
        loop {
            let last = stop.is_cancelled();
            let rows = t.store.routing(known).await.unwrap();
            assert!(rows.revision >= known);
            for row in rows.routes {
                assert!(row.revision > known && row.revision <= rows.revision);
                seen.insert(row.tenant, row.route.unwrap().webhook_url.unwrap());
            }
            known = rows.revision;
            if last {
                return known;
            }
        }
    };
    let ((), known) = tokio::join!(writers, reader);
    assert_eq!(known, 1 + 8 * 40, "each change is a revision");
    // A revision that became visible after a later one would have been missed.
    assert_eq!(seen.len(), 8);
    assert!(seen.values().all(|url| url == "https://x.example/39"), "{seen:?}");
}

#[tokio::test]
async fn a_hold_is_put_changed_and_released_once() {
    let t = accepting().await;
    let (s, a) = (&t.store, &actor());
    let first = s.put_hold(a, &hold("acme", "update")).await.unwrap();
    assert_eq!(
        (first.outcome, first.revision, first.value.created_by.as_str()),
        (Outcome::Created, 2, "svc_root")
    );
    let again = s.put_hold(a, &hold("acme", "update")).await.unwrap();
    assert_eq!((again.outcome, again.revision, &again.value), (Outcome::Unchanged, 2, &first.value));
    let other = Hold {
        workflow: Some(WorkflowId::parse("orders").unwrap()),
        lane: None,
        host: None,
        ..hold("acme", "update")
    };
    let changed = s.put_hold(a, &other).await.unwrap();
    assert_eq!((changed.outcome, changed.revision, &changed.value.hold), (Outcome::Changed, 3, &other));
    s.put_hold(a, &hold("globex", "update")).await.unwrap();
    assert_eq!(s.holds(&tenant()).await.unwrap(), std::slice::from_ref(&changed.value));
    assert_eq!(s.delete_hold(a, &tenant(), "other").await.unwrap(), None);
    assert_eq!(s.delete_hold(a, &named("nobody"), "update").await.unwrap(), None);
    assert_eq!(s.delete_hold(a, &tenant(), "update").await.unwrap(), Some(changed.value));
    assert_eq!(s.delete_hold(a, &tenant(), "update").await.unwrap(), None);
    let rows = s.routing(0).await.unwrap();
    assert_eq!((rows.revision, rows.holds), (5, vec![hold("globex", "update")]));
    assert_eq!(t.number("SELECT count(*) FROM audit_log WHERE action LIKE 'hold.%'").await, 4);
}

#[tokio::test]
async fn a_listener_hears_of_routing_and_directory() {
    let t = accepting().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    let mut changes = s.listen().await.unwrap();
    let mut heard = async || tokio::time::timeout(Duration::from_secs(5), changes.next()).await;
    s.put_route(a, acme, &workflow("orders"), &Route::default()).await.unwrap();
    heard().await.unwrap().unwrap();
    s.put_hold(a, &hold("acme", "h")).await.unwrap();
    heard().await.unwrap().unwrap();
    s.delete_hold(a, acme, "h").await.unwrap();
    heard().await.unwrap().unwrap();
    s.put_tenant(a, &named("umbra"), None, None, None).await.unwrap();
    heard().await.unwrap().unwrap();
    // A waiting that is given up loses nothing.
    assert!(tokio::time::timeout(Duration::from_millis(50), changes.next()).await.is_err());
    s.delete_route(a, acme, &workflow("orders")).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), changes.next()).await.unwrap().unwrap();

    // Its session ends: the listener must know that it may have missed something.
    let mut connection = PgConnection::connect(&t.url).await.unwrap();
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%LISTEN%' AND pid <> pg_backend_pid()) p",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(ended, 1);
    let lost = tokio::time::timeout(Duration::from_secs(5), changes.next()).await.unwrap();
    assert!(lost.is_err(), "{lost:?}");
    let mut changes = s.listen().await.unwrap();
    s.put_hold(a, &hold("acme", "h")).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), changes.next()).await.unwrap().unwrap();
}
