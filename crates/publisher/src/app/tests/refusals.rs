//! What is answered without a database.

use super::world::*;
use axum::body::Body;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};

const GOOD: &str = r#"{"workflow_id": "lead", "payload": {}}"#;

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let world = world(Setup::default()).await;
    let publish = |body: Body| post("/pulsar/publish", ACME, body);
    let mut form = publish(GOOD.into());
    form.headers_mut().insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
    let mut announced = publish(GOOD.into());
    announced.headers_mut().insert("content-length", "20000000".parse().unwrap());
    let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let mut keyed = post("/pulsar/publish/batch", ACME, "[]");
    keyed.headers_mut().insert("idempotency-key", "k".parse().unwrap());
    for (request, status, kind) in [
        (form, 415, "unsupported-media-type"),
        (announced, 413, "payload-too-large"),
        (publish(" ".repeat(80_000).into()), 413, "payload-too-large"),
        (publish(never), 408, "slow-body"),
        (publish("{".into()), 400, "malformed-json"),
        (publish("{}".into()), 400, "invalid-request"),
        (post("/pulsar/publish/batch", ACME, "{}"), 400, "malformed-json"),
        (post("/pulsar/publish/batch", ACME, "[1,2,3,4]"), 413, "batch-too-large"),
        (keyed, 400, "invalid-request"),
        (get("/pulsar/executions?state=x", ACME), 400, "invalid-request"),
        (get("/pulsar/executions/x", ACME), 404, "not-found"),
        (get("/pulsar/executions/x/payload", ACME), 404, "not-found"),
        (get("/nothing", ACME), 404, "not-found"),
        (get("/pulsar/publish", ACME), 405, "method-not-allowed"),
    ] {
        let uri = request.uri().clone();
        let answer = world.send(request).await;
        assert_eq!(answer.problem(), (status, format!("/problems/{kind}").as_str()), "{uri}");
    }
}

#[tokio::test]
async fn a_batch_of_nothing_but_faults_needs_no_database() {
    let body = r#"[{"workflow_id": "a"}, 7, {"workflow_id": "a", "payload": 1, "tenant_id": "other"}]"#;
    let answer = world(Setup::default()).await.send(post("/pulsar/publish/batch", ACME, body)).await;
    assert_eq!(answer.status, OK);
    let outcomes = answer.json;
    let told: Vec<_> = (0..3).map(|index| outcomes[index]["status"].as_u64().unwrap()).collect();
    assert_eq!(told, [400, 400, 403]);
    assert_eq!(outcomes[2]["index"], 2);
    assert_eq!(outcomes[0]["problem"]["errors"][0]["field"], "payload");
}

#[tokio::test]
async fn a_database_out_of_reach_is_503_with_a_time_to_come_back() {
    let world = world(Setup::default()).await;
    for (path, body) in [("/pulsar/publish", GOOD.to_owned()), ("/pulsar/publish/batch", format!("[{GOOD}]"))]
    {
        let answer = world.send(post(path, ACME, body)).await;
        assert_eq!(answer.header("retry-after"), "5");
        assert_eq!(answer.problem(), (503, "/problems/database-unavailable"));
    }
}

#[tokio::test]
async fn what_is_beyond_the_bound_is_refused_at_once() {
    let world = world(Setup { inflight: 0, ..Setup::default() }).await;
    let answer = world.send(post("/pulsar/publish", ACME, GOOD)).await;
    assert_eq!(answer.problem(), (503, "/problems/overloaded"));
}

#[tokio::test]
async fn the_content_type_follows_accept() {
    let world = world(Setup::default()).await;
    assert_eq!(world.send(get("/nothing", ACME)).await.header("content-type"), "application/json");
    let mut named = get("/nothing", ACME);
    named.headers_mut().insert(ACCEPT, "text/html, application/problem+json;q=0.9".parse().unwrap());
    assert_eq!(world.send(named).await.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn a_publisher_that_is_not_ready_says_so() {
    let ready = Request::get("/health/ready").body(Body::empty()).unwrap();
    let answer = world(Setup::default()).await.send(ready).await;
    assert_eq!((answer.status, &answer.json["dependencies"][0]["status"]), (503, &"down".into()));
}
