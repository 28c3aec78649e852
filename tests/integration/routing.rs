//! Routes by the API: written, checked, applied as a whole, and in force everywhere within two seconds.

use std::time::Duration;

use bridge_tests::daemon::PUBLISHER;
use bridge_tests::wait::PATIENCE;
use bridge_tests::world::borrowed;
use bridge_tests::{Answer, Api, Fired, World, eventually_within};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

/// How soon a change is in force everywhere.
const CURRENT_WITHIN: Duration = Duration::from_secs(2);

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn route(answer: &Answer) -> (&str, &str) {
    (
        answer.json["lane"].as_str().unwrap_or_default(),
        answer.json["route"]["decided_by"].as_str().unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_change_is_in_force_on_every_publisher_and_stands_on_the_execution() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (mut second, environment) = world.another(PUBLISHER);
    second.start_ready(&borrowed(&environment)).await?;
    let other = world.api.at(&second.url());
    for (lane, status) in [("short", StatusCode::CREATED), ("ai", StatusCode::OK)] {
        let put = world.api.put("/pulsar/workflows/crm", &json!({ "lane": lane })).await?;
        assert_eq!(put.status, status, "{put:?}");
        assert_eq!(
            (put.json["changed"].as_bool(), put.json["in_effect"].as_bool()),
            (Some(true), Some(true)),
            "{put:?}"
        );
        for api in [&world.api, &other] {
            let answer = eventually_within(CURRENT_WITHIN, "the route to be in force", async || {
                let answer = api
                    .publish(json!({ "workflow_id": "crm", "payload": {} }))
                    .await
                    .map_err(|e| e.to_string())?;
                if route(&answer) == (lane, "workflow") { Ok(answer) } else { Err(format!("{answer:?}")) }
            })
            .await;
            let seen = api.until(&answer.id(), "succeeded").await;
            assert_eq!(
                (seen["lane"].as_str(), seen["mode"].as_str()),
                (Some(lane), Some("pulsar")),
                "{seen}"
            );
            assert_eq!(seen["route"], answer.json["route"], "{seen}");
            assert!(seen["route"]["reason"].as_str().is_some_and(|why| why.contains(lane)), "{seen}");
        }
    }
    let same = world.api.put("/pulsar/workflows/crm", &json!({ "lane": "ai" })).await?;
    assert_eq!(
        (same.json["outcome"].as_str(), same.json["changed"].as_bool()),
        (Some("unchanged"), Some(false))
    );
    let read = other.get("/pulsar/workflows/crm").await?;
    assert_eq!(
        (read.json["route"]["lane"].as_str(), read.json["workflow_id"].as_str()),
        (Some("ai"), Some("crm"))
    );
    let gone = other.delete("/pulsar/workflows/crm").await?;
    assert_eq!(
        (gone.json["changed"].as_bool(), gone.json["in_effect"].as_bool()),
        (Some(true), Some(true)),
        "{gone:?}"
    );
    let answer = world.api.publish(json!({ "workflow_id": "crm", "payload": {} })).await?;
    assert_eq!(route(&answer), ("long", "default"), "{answer:?}");
    assert_eq!(other.get("/pulsar/workflows/crm").await?.status, StatusCode::NOT_FOUND);
    let audit = world.admin().get("/pulsar/audit?action=route.put").await?;
    assert_eq!(audit.json["entries"].as_array().map(Vec::len), Some(2), "{audit:?}");
    assert!(second.leave().await?.success());
    world.finish().await
}

/// Publishes until the route is in force there and at the consumer: an execution is decided and fired by it. How long
/// that took, and the longest that a publish took meanwhile.
async fn in_force(
    world: &World,
    api: &Api,
    lane: &str,
    since: Instant,
) -> anyhow::Result<(Duration, Duration)> {
    let body = json!({ "workflow_id": "crm", "payload": {} });
    let mut slowest = Duration::ZERO;
    let after = eventually_within(PATIENCE, "the route to be in force", async || {
        let asked = Instant::now();
        let answer = api.publish(body.clone()).await.map_err(|error| error.to_string())?;
        slowest = slowest.max(asked.elapsed());
        if route(&answer).0 != lane {
            return Err(format!("{answer:?}"));
        }
        // Its URL names the lane, and it is read when it is fired.
        let fired = world.endpoint.wait_for_execution(&answer.id(), 1).await.remove(0);
        if fired.workflow == format!("of-{lane}") { Ok(asked - since) } else { Err(format!("{fired:?}")) }
    })
    .await;
    Ok((after, slowest))
}

/// From the moment on in which somebody asks for it, with the poll as seldom as it is outside of tests.
#[tokio::test]
async fn a_change_is_in_force_on_every_replica_within_two_seconds() -> anyhow::Result<()> {
    let world = World::build().set("auth.directory_poll_ms", "1000").start().await?;
    let (mut second, environment) = world.another(PUBLISHER);
    second.start_ready(&borrowed(&environment)).await?;
    let other = world.api.at(&second.url());
    for lane in ["short", "ai", "analytics"] {
        let url = world.endpoint.url().replace("{workflow_id}", &format!("of-{lane}"));
        let begun = Instant::now();
        let change = json!({ "lane": lane, "webhook_url": url });
        let (put, here, there) = tokio::join!(
            world.api.put("/pulsar/workflows/crm", &change),
            in_force(&world, &world.api, lane, begun),
            in_force(&world, &other, lane, begun),
        );
        let put = put?;
        assert_eq!((put.status.is_success(), &put.json["in_effect"]), (true, &json!(true)), "{put:?}");
        // What a publish takes is the machine's affair.
        for (what, (after, slowest)) in [("here", here?), ("there", there?)] {
            assert!(
                after < CURRENT_WITHIN + slowest,
                "{lane} {what}: {after:?}, a publish takes {slowest:?}"
            );
        }
    }
    assert!(second.leave().await?.success());
    world.finish().await
}

#[tokio::test]
async fn types_and_the_default_route_decide_where_no_route_does() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = &world.api;
    assert_eq!(
        api.put("/pulsar/default-route", &json!({ "lane": "analytics" })).await?.status,
        StatusCode::CREATED
    );
    assert_eq!(
        api.put("/pulsar/types/report", &json!({ "lane": "short" })).await?.status,
        StatusCode::CREATED
    );
    let publish = async |body: Value| api.publish(body).await;
    let plain = publish(json!({ "workflow_id": "w", "payload": {} })).await?;
    assert_eq!(route(&plain), ("analytics", "tenant"), "{plain:?}");
    let typed = publish(json!({ "workflow_id": "w", "type": "report", "payload": {} })).await?;
    assert_eq!(route(&typed), ("short", "type"), "{typed:?}");
    let asked = publish(json!({ "workflow_id": "w", "type": "report", "lane": "ai", "payload": {} })).await?;
    assert_eq!(route(&asked), ("ai", "request"), "{asked:?}");
    let listed = api.get("/pulsar/workflows").await?;
    assert_eq!(listed.json["types"][0]["type"], "report", "{listed:?}");
    assert_eq!(listed.json["default"]["route"]["lane"], "analytics", "{listed:?}");
    let faulty = api.put("/pulsar/types/report", &json!({ "timeout_ms": 5 })).await?;
    assert_eq!((faulty.status, faulty.fields()), (StatusCode::BAD_REQUEST, vec!["timeout_ms"]), "{faulty:?}");
    for path in ["/pulsar/types/report", "/pulsar/default-route"] {
        assert_eq!(api.delete(path).await?.status, StatusCode::OK);
        assert_eq!(api.get(path).await?.status, StatusCode::NOT_FOUND);
    }
    world.finish().await
}

#[tokio::test]
async fn many_routes_are_applied_as_a_whole_and_shown_before() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let (api, foreign) = (&world.api, world.api_of(1));
    foreign.put("/pulsar/workflows/theirs", &json!({ "lane": "ai" })).await?;
    let first = json!({ "workflows": { "a": { "lane": "short" }, "b": {} }, "default": { "priority": 3 } });
    let dry = json!({ "workflows": first["workflows"], "default": first["default"], "dry_run": true });
    let shown = api.put("/pulsar/workflows", &dry).await?;
    assert_eq!(names(&shown.json["created"]), ["workflows.a", "workflows.b", "default"], "{shown:?}");
    assert_eq!(api.get("/pulsar/workflows").await?.json["workflows"], json!([]));
    let applied = api.put("/pulsar/workflows", &first).await?;
    assert_eq!(names(&applied.json["created"]).len(), 3, "{applied:?}");
    assert_eq!(applied.json["in_effect"], true, "{applied:?}");

    let second = json!({ "workflows": { "a": { "lane": "ai" }, "c": {} }, "default": { "priority": 3 }, "prune": true });
    let mut dry = second.clone();
    dry["dry_run"] = json!(true);
    let (shown, applied) =
        (api.put("/pulsar/workflows", &dry).await?, api.put("/pulsar/workflows", &second).await?);
    for (list, expected) in [
        ("created", vec!["workflows.c"]),
        ("changed", vec!["workflows.a"]),
        ("deleted", vec!["workflows.b"]),
        ("unchanged", vec!["default"]),
    ] {
        assert_eq!(names(&shown.json[list]), expected, "{list}: {shown:?}");
        assert_eq!(names(&applied.json[list]), expected, "{list}: {applied:?}");
    }
    let answer = api.publish(json!({ "workflow_id": "a", "payload": {} })).await?;
    assert_eq!(route(&answer), ("ai", "workflow"), "{answer:?}");
    // Nothing of another tenant's is touched.
    assert_eq!(foreign.get("/pulsar/workflows/theirs").await?.status, StatusCode::OK);

    // One fault, and nothing of it is applied.
    let faulty =
        json!({ "workflows": { "a": {}, "d": { "lne": "ai" } }, "types": { "t": { "webhook_url": "x" } } });
    let refused = api.put("/pulsar/workflows", &faulty).await?;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
    assert!(refused.fields().contains(&"workflows.d.lne"), "{refused:?}");
    assert_eq!(api.get("/pulsar/workflows/a").await?.json["route"]["lane"], "ai");

    // Page by page.
    let page = api.get("/pulsar/workflows?limit=1").await?;
    assert_eq!(page.json["workflows"][0]["workflow_id"], "a", "{page:?}");
    let cursor = page.json["next_cursor"].as_str().unwrap();
    let page = api.get(&format!("/pulsar/workflows?limit=1&cursor={cursor}")).await?;
    assert_eq!(page.json["workflows"][0]["workflow_id"], "c", "{page:?}");
    let foreign = foreign.get(&format!("/pulsar/workflows?limit=1&cursor={cursor}")).await?;
    assert_eq!(foreign.json["type"], "/problems/bad-cursor", "{foreign:?}");
    world.finish().await
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_written() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = &world.api;
    for (body, fields) in [
        (json!({ "lne": "ai" }), vec!["lne"]),
        (json!({ "lane": "fast", "priority": 10 }), vec!["lane", "priority"]),
        (json!({ "retry": { "max_attempt": 1 } }), vec!["retry.max_attempt"]),
        (json!({ "webhook_url": "http://10.1.2.3/x" }), vec!["webhook_url"]),
        (json!({ "webhook_url": "http://169.254.169.254/latest" }), vec!["webhook_url"]),
        (json!({ "webhook_url": "http://no-such-host.invalid/x" }), vec!["webhook_url"]),
        (json!({ "webhook_url": "ftp://n8n.example/x" }), vec!["webhook_url"]),
        (json!({ "credential": "nobodys" }), vec!["credential"]),
        (
            json!({ "success": { "json_field": { "pointer": "ok", "equals": 1 } } }),
            vec!["success.json_field.pointer"],
        ),
        (json!({ "mode": "native", "completion": "callback" }), vec!["mode"]),
        (json!({ "on_failure": { "workflow_id": "crm" } }), vec!["on_failure.workflow_id"]),
    ] {
        let refused = api.put("/pulsar/workflows/crm", &body).await?;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}: {refused:?}");
        assert_eq!(refused.fields(), fields, "{body}: {refused:?}");
    }
    let near = api.put("/pulsar/workflows/crm", &json!({ "webhok_url": "x" })).await?;
    assert!(near.json["detail"].as_str().unwrap().contains("did you mean webhook_url"), "{near:?}");
    assert_eq!(world.sql.count("routes").await?, 0);
    world.finish().await
}

fn fired_at<'f>(fired: &'f [Fired], execution: &str) -> &'f str {
    fired.iter().find(|fired| fired.execution == execution).map_or("nowhere", |fired| &fired.workflow)
}

/// The operator's own addresses, and what has none.
#[tokio::test]
async fn a_workflow_is_fired_where_the_operator_says_and_refused_where_nobody_does() -> anyhow::Result<()> {
    let mut world = World::build()
        .set("webhook.default_url", "\"\"")
        .set("webhook.strict_routes", "true")
        .without_publisher()
        .without_consumer()
        .start()
        .await?;
    let base = world.endpoint.url().replace("/{workflow_id}", "");
    let lead = format!("{base}/of-the-operator/{{workflow_id}}");
    let environment = [("N8N_BASE_URL", base.as_str()), ("N8N_WEBHOOK_LEAD_SYNC", &lead)];
    world.consumer.start_ready(&environment).await?;
    world.publisher.start_ready(&environment).await?;
    let api = &world.api;
    let refused = api.publish(json!({ "workflow_id": "crm/new", "payload": {} })).await?;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::BAD_REQUEST, vec!["workflow_id"]),
        "{refused:?}"
    );

    let put = api.put("/pulsar/workflows/crm%2Fnew", &json!({})).await?;
    assert_eq!((put.status, &put.json["in_effect"]), (StatusCode::CREATED, &json!(true)), "{put:?}");
    let routed = api.accepted(json!({ "workflow_id": "crm/new", "payload": {} })).await?;
    // By its name the operator knows it: it needs no route.
    let named = api.accepted(json!({ "workflow_id": "lead-sync", "payload": {} })).await?;
    for id in [&routed, &named] {
        api.until(id, "succeeded").await;
    }
    let fired = world.endpoint.fired();
    assert_eq!(fired_at(&fired, &routed), "webhook/crm/new");
    assert_eq!(fired_at(&fired, &named), "of-the-operator/lead-sync");
    // Without a rule of the tenant's, by the type: short work is done at once, the rest goes through the queue.
    for (kind, status, mode) in [
        ("crm_sync", StatusCode::OK, "native"),
        ("webhook_reply", StatusCode::OK, "native"),
        ("ui_update", StatusCode::OK, "native"),
        ("ai_enrichment", StatusCode::ACCEPTED, "pulsar"),
        ("data_pipeline", StatusCode::ACCEPTED, "pulsar"),
        ("batch", StatusCode::ACCEPTED, "pulsar"),
    ] {
        let answer = api.publish(json!({ "workflow_id": "crm/new", "type": kind, "payload": {} })).await?;
        assert_eq!(
            (answer.status, &answer.json["route"]["mode"]),
            (status, &json!(mode)),
            "{kind}: {answer:?}"
        );
        assert_eq!(answer.json["route"]["decided_by"], "type", "{kind}: {answer:?}");
    }

    // Another workflow with the same name in the environment: nobody would know any more which one is meant. What runs
    // goes on.
    let put = api.put("/pulsar/workflows/lead-sync", &json!({})).await?;
    assert_eq!((put.status, &put.json["in_effect"]), (StatusCode::CREATED, &json!(true)), "{put:?}");
    let refused = api.put("/pulsar/workflows/lead_sync", &json!({})).await?;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::BAD_REQUEST, vec!["webhook_url"]),
        "{refused:?}"
    );
    let id = api.accepted(json!({ "workflow_id": "lead-sync", "payload": {} })).await?;
    api.until(&id, "succeeded").await;
    world.finish().await
}
