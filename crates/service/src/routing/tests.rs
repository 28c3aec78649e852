use super::*;
use bridge_protocol::{Hold, Lane, Route, RouteName, TenantId, WorkflowId};
use bridge_store::{RouteRow, StoreConfig};
use chrono::DateTime;

/// Its Postgres is never asked: loads are handed in.
fn routing() -> Routing {
    let url = "postgres://nobody@127.0.0.1:9/none".to_owned();
    let store = Store::open(StoreConfig::new(url)).unwrap();
    let defaults = Defaults { default_url: "http://n8n/{workflow_id}".into(), ..Defaults::default() };
    Routing::new(store, defaults).unwrap()
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn row(workflow: &str, lane: Option<Lane>, revision: i64) -> RouteRow {
    RouteRow {
        tenant: tenant(),
        name: RouteName::Workflow(WorkflowId::parse(workflow).unwrap()),
        route: lane.map(|lane| Route { lane: Some(lane), ..Route::default() }),
        revision,
        changed_at: DateTime::UNIX_EPOCH,
    }
}

fn rows(revision: i64, whole: bool, routes: Vec<RouteRow>) -> RoutingRows {
    let id = format!("hold-{revision}");
    let reason = "a test".to_owned();
    let hold = Hold { tenant: tenant(), id, workflow: None, lane: None, host: None, reason };
    RoutingRows { revision, whole, routes, holds: vec![hold] }
}

fn lane(routing: &Routing, workflow: &str) -> Lane {
    let workflow = WorkflowId::parse(workflow).unwrap();
    routing.table().load().decide(&tenant(), &workflow, None, Default::default()).unwrap().lane
}

#[tokio::test]
async fn a_load_adds_to_what_is_known_and_replaces_the_holds() {
    let routing = routing();
    let mut changes = routing.changes();
    assert!(!routing.is_loaded());
    let all = vec![row("a", Some(Lane::Ai), 3), row("b", Some(Lane::Short), 4)];
    assert!(routing.take(NEVER, NEVER, rows(4, true, all)));
    assert!(routing.is_loaded() && *changes.borrow_and_update() == 4);
    let changed = vec![row("a", None, 5), row("c", Some(Lane::Analytics), 6)];
    assert!(routing.take(4, 4, rows(6, false, changed)));
    assert_eq!((lane(&routing, "a"), lane(&routing, "b")), (Lane::Long, Lane::Short));
    assert_eq!((lane(&routing, "c"), routing.revision()), (Lane::Analytics, 6));
    assert_eq!(*changes.borrow_and_update(), 6);
    let table = routing.table();
    let hold = table.load().hold(&tenant(), &WorkflowId::parse("a").unwrap(), Lane::Ai, None).cloned();
    assert_eq!(hold.unwrap().id, "hold-6");
}

#[tokio::test]
async fn a_whole_load_forgets_what_it_does_not_name() {
    let routing = routing();
    assert!(routing.take(NEVER, NEVER, rows(9, true, vec![row("a", Some(Lane::Ai), 9)])));
    assert!(routing.take(9, 9, rows(12, true, vec![row("b", Some(Lane::Ai), 12)])));
    assert_eq!((lane(&routing, "a"), lane(&routing, "b")), (Lane::Long, Lane::Ai));
    // The database was restored to an earlier time.
    assert!(routing.take(12, NEVER, rows(5, false, vec![row("c", Some(Lane::Ai), 5)])));
    assert_eq!((lane(&routing, "b"), lane(&routing, "c"), routing.revision()), (Lane::Long, Lane::Ai, 5));
}

#[tokio::test]
async fn of_two_loads_at_once_the_second_is_not_laid_over_the_first() {
    let routing = routing();
    let first = rows(2, true, vec![row("a", Some(Lane::Ai), 2)]);
    assert!(routing.take(NEVER, NEVER, first.clone()));
    assert!(!routing.take(NEVER, NEVER, rows(1, true, Vec::new())));
    assert_eq!((lane(&routing, "a"), routing.revision()), (Lane::Ai, 2));
    // The watch is told to look again at once.
    timeout(Duration::from_secs(5), routing.0.wake.notified()).await.unwrap();
}
