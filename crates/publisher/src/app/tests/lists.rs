//! Lists, holds, routes and jobs, as far as they are refused without a database.

use super::world::{ACME, ADMIN, BOTH, READER, Setup, get, post, tenant_id, world};
use crate::cursor::Bound;
use axum::body::Body;
use http::Request;
use uuid::Uuid;

fn put(path: &str, key: &str, body: &str) -> Request<Body> {
    let request = Request::put(path).header("x-api-key", key).header("content-type", "application/json");
    request.body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn a_cursor_of_another_list_tenant_or_filter_is_refused() {
    let world = world(Setup::default()).await;
    let give = |list: &str, tenant: &str, filter: &str| {
        Bound::new(&world.app.vault, list, &tenant_id(tenant), filter).give_id(Uuid::from_u128(7))
    };
    for cursor in [
        give("jobs", "acme", "{}"),
        give("executions", "globex", "{}"),
        give("executions", "acme", r#"{"lane":"ai"}"#),
        Uuid::nil().to_string(),
        "x".to_owned(),
    ] {
        let answer = world.send(get(&format!("/pulsar/executions?cursor={cursor}"), ACME)).await;
        assert_eq!(answer.problem(), (400, "/problems/bad-cursor"), "{cursor}");
        assert_eq!(answer.json["errors"][0]["field"], "cursor");
    }
    // A good one gets as far as the database.
    let id = bridge_protocol::ExecutionId::new(world.app.clock.now(), &mut bridge_service::clock::entropy());
    let bound = Bound::new(&world.app.vault, "executions", &tenant_id("acme"), "{}");
    let good = bound.give_id(id.uuid());
    let answer = world.send(get(&format!("/pulsar/executions?cursor={good}"), ACME)).await;
    assert_ne!(answer.status, 400, "{}", answer.json);
    let answer = world.send(get(&format!("/pulsar/executions?cursor={good}&tenant_id=globex"), BOTH)).await;
    assert_eq!(answer.status, 400, "{}", answer.json);
}

#[tokio::test]
async fn what_is_wrong_is_told_before_the_database_is_asked() {
    let world = world(Setup::default()).await;
    for (request, fields) in [
        (get("/pulsar/executions?stat=failed&limit=0", ACME), vec!["stat", "limit"]),
        (get("/pulsar/dead-letters?reason=luck", ACME), vec!["reason"]),
        (put("/pulsar/holds/h", ACME, r#"{"lane": "fast"}"#), vec!["reason", "lane"]),
        (put("/pulsar/workflows/w", ACME, r#"{"retry": {"base": 1}}"#), vec!["retry.base"]),
        (put("/pulsar/workflows/a%20b", ACME, r#"{"lanes": 1}"#), vec!["lanes", "workflow_id"]),
        (put("/pulsar/workflows", ACME, r#"{"workflows": {"w": 1}}"#), vec!["workflows.w"]),
        (post("/pulsar/replay", ACME, r#"{"filter": {}}"#), vec!["filter.state"]),
        (post("/pulsar/cancel", ACME, r#"{"filter": {"state": "failed"}}"#), vec!["filter.state"]),
    ] {
        let answer = world.send(request).await;
        assert_eq!(answer.problem(), (400, "/problems/invalid-request"), "{}", answer.json);
        let named: Vec<&str> = answer.json["errors"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|error| error["field"].as_str())
            .collect();
        assert_eq!(named, fields, "{}", answer.json);
    }
    for path in ["/pulsar/jobs/x", "/pulsar/dead-letters/x"] {
        assert_eq!(world.send(get(path, ACME)).await.problem(), (404, "/problems/not-found"), "{path}");
    }
}

#[tokio::test]
async fn reading_is_no_right_to_change() {
    let world = world(Setup::default()).await;
    for request in [
        post("/pulsar/replay", READER, "{}"),
        put("/pulsar/workflows/w", READER, "{}"),
        put("/pulsar/holds/h", READER, "{}"),
        get("/pulsar/admin/status", READER),
        get("/pulsar/status", ADMIN),
    ] {
        let path = request.uri().path().to_owned();
        assert_eq!(world.send(request).await.status, 403, "{path}");
    }
}
