//! Native mode: the publisher fires by itself and answers with what came back, once, and whatever happens to it.

use std::time::Duration;

use bridge_tests::{Answer, Reply, World, eventually_within};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const NATIVE: &str = "mode = \"native\"";
/// Short enough to see a lease lapse.
const BRIEF: &str = "mode = \"native\"\ntimeout_ms = 1000";

fn lead(workflow: &str) -> Value {
    json!({ "workflow_id": workflow, "payload": { "lead": 7 }, "metadata": { "from": "test" } })
}

fn problem(answer: &Answer) -> &str {
    answer.json["type"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn the_webhooks_answer_is_the_answer() -> anyhow::Result<()> {
    // Nobody consumes: what goes through the broker would never be fired.
    let world = World::build().route("crm", NATIVE).without_consumer().start().await?;
    let body = r#"{ "contact" : 1.00, "tags": [ ] }"#;
    world.endpoint.script("crm", [Reply::Body { status: 200, content_type: "application/json", body }]);
    let answer = world.api.publish(lead("crm")).await?;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.json["result"], json!({ "contact": 1.00, "tags": [] }));
    let (status, mode) = (&answer.json["status"], &answer.json["route"]["mode"]);
    assert_eq!(
        (status, mode, &answer.json["evidence"]),
        (&json!("succeeded"), &json!("native"), &json!("response"))
    );

    let id = answer.id();
    let fired = world.endpoint.fired_of(&id).remove(0);
    assert_eq!((fired.attempt, &fired.json()["payload"]), (1, &json!({ "lead": 7 })));
    assert!(fired.headers.contains_key("webhook-signature"), "{:?}", fired.headers);
    let seen = world.api.show(&id).await?;
    assert_eq!(
        (&seen["state"], &seen["mode"], &seen["attempt"]),
        (&json!("succeeded"), &json!("native"), &json!(1))
    );
    let result = world.api.get(&format!("/pulsar/executions/{id}/result")).await?;
    assert_eq!(
        (result.status, &result.json["result"]),
        (StatusCode::OK, &answer.json["result"]),
        "{result:?}"
    );
    world.finish().await
}

#[tokio::test]
async fn a_failure_is_told_at_once_and_tried_no_second_time() -> anyhow::Result<()> {
    let world = World::build().route("crm", NATIVE).route("slow", BRIEF).start().await?;
    let body = "no such lead";
    world.endpoint.script(
        "crm",
        [Reply::Body { status: 422, content_type: "text/plain", body }, Reply::Status(503), Reply::Reset],
    );
    for (status, kind, http_status, reason) in [
        (StatusCode::BAD_GATEWAY, "/problems/webhook-failed", Some(422), "permanent_answer"),
        (StatusCode::BAD_GATEWAY, "/problems/webhook-failed", Some(503), "attempts_exhausted"),
        (StatusCode::GATEWAY_TIMEOUT, "/problems/webhook-timeout", None, "unknown_outcome"),
    ] {
        let answer = world.api.publish(lead("crm")).await?;
        assert_eq!((answer.status, problem(&answer)), (status, kind), "{answer:?}");
        assert_eq!(answer.json["http_status"].as_u64(), http_status, "{answer:?}");
        let id = answer.id();
        world.api.expect(&id, "failed");
        let seen = world.api.show(&id).await?;
        assert_eq!(
            (seen["state"].as_str(), seen["reason"].as_str()),
            (Some("failed"), Some(reason)),
            "{seen}"
        );
        if http_status == Some(422) {
            let result = world.api.get(&format!("/pulsar/executions/{id}/result")).await?;
            assert_eq!(result.json["result"], body, "{result:?}");
        }
    }
    world.endpoint.script("slow", [Reply::Held]);
    let answer = world.api.publish(lead("slow")).await?;
    assert_eq!((answer.status, problem(&answer)), (StatusCode::GATEWAY_TIMEOUT, "/problems/webhook-timeout"));
    world.api.expect(&answer.id(), "failed");
    world.endpoint.release("slow");
    assert_eq!(world.duplicates(), [], "nothing is fired twice");
    world.finish().await
}

/// Dies right after the accept, and between the webhook's answer and its record.
#[tokio::test]
async fn a_publisher_that_dies_leaves_an_execution_that_its_timer_ends() -> anyhow::Result<()> {
    for (place, fired) in [("native.accepted", 0), ("native.fired", 1)] {
        let mut world = World::build().route("crm", BRIEF).publisher_dies_at(place).start().await?;
        let lost = world.api.publish(lead("crm")).await;
        assert!(lost.is_err(), "{place}: {lost:?}");
        world.publisher.kill9().await?;
        world.publisher.start_ready(&[]).await?;
        let live = world.api.get("/pulsar/executions").await?;
        let id = live.json["executions"][0]["execution_id"].as_str().unwrap().to_owned();
        world.api.expect(&id, "failed");
        // The lease, and the grace of half a minute that the accept gives to whoever may still be at work.
        let seen = eventually_within(Duration::from_secs(60), "its timer to end it", async || {
            let seen = world.api.show(&id).await.map_err(|error| format!("{error:#}"))?;
            if seen["state"] == "failed" { Ok(seen) } else { Err(seen.to_string()) }
        })
        .await;
        assert_eq!(
            (seen["reason"].as_str(), seen["attempt"].as_u64()),
            (Some("unknown_outcome"), Some(1)),
            "{seen}"
        );
        assert_eq!(world.endpoint.fired_of(&id).len(), fired, "{place}");
        world.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_that_hangs_up_stops_nothing_and_its_repeat_gets_the_answer() -> anyhow::Result<()> {
    let world = World::build().route("crm", NATIVE).start().await?;
    world.endpoint.script("crm", [Reply::Held]);
    let mut body = lead("crm");
    body["idempotency_key"] = json!("once");
    let (api, asked) = (world.api.clone(), body.clone());
    let impatient = tokio::spawn(async move { api.publish(asked).await });
    let id = world.endpoint.wait_for("the request", |fired| !fired.is_empty()).await[0].execution.clone();
    impatient.abort();
    assert!(impatient.await.is_err());

    let (api, asked) = (world.api.clone(), body.clone());
    let repeat = tokio::spawn(async move { api.publish(asked).await });
    world.endpoint.release("crm");
    let answer = repeat.await??;
    assert_eq!((answer.status, answer.id()), (StatusCode::OK, id.clone()), "{answer:?}");
    assert_eq!(
        (&answer.json["replayed"], &answer.json["status"]),
        (&json!(true), &json!("succeeded")),
        "{answer:?}"
    );
    assert_eq!(world.endpoint.fired_of(&id).len(), 1);
    world.finish().await
}

#[tokio::test]
async fn what_cannot_be_fired_at_once_goes_through_the_queue() -> anyhow::Result<()> {
    let world = World::build().route("crm", NATIVE).start().await?;
    let held =
        world.api.put("/pulsar/holds/all", &json!({ "workflow_id": "crm", "reason": "a test" })).await?;
    assert!(held.status.is_success(), "{held:?}");
    let answer = world.api.publish(lead("crm")).await?;
    assert_eq!(
        (answer.status, &answer.json["route"]["mode"]),
        (StatusCode::ACCEPTED, &json!("pulsar")),
        "{answer:?}"
    );
    assert!(world.api.delete("/pulsar/holds/all").await?.status.is_success());
    world.api.until(&answer.id(), "succeeded").await;

    for (field, value) in [("lane", json!("short")), ("delay_seconds", json!(1))] {
        let mut body = lead("crm");
        body[field] = value;
        let answer = world.api.publish(body).await?;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let reason = answer.json["route"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("pulsar instead of native"), "{reason}");
    }
    let batch = world.api.post("/pulsar/publish/batch", &json!([lead("crm")])).await?;
    assert_eq!(batch.json[0]["status"], 202, "{batch:?}");
    world.finish().await
}

#[tokio::test]
async fn types_and_a_switched_off_queue_make_it_native() -> anyhow::Result<()> {
    let world = World::build()
        .publisher_environment("DEALSCALE_PULSAR_QUEUE_ENABLED", "false")
        .without_consumer()
        .start()
        .await?;
    let answer = world.api.publish(lead("plain")).await?;
    assert_eq!(
        (answer.status, &answer.json["route"]["mode"]),
        (StatusCode::OK, &json!("native")),
        "{answer:?}"
    );
    let mut typed = lead("typed");
    typed["type"] = json!("ai_enrichment");
    let answer = world.api.publish(typed).await?;
    assert_eq!(
        (answer.status, &answer.json["route"]["decided_by"]),
        (StatusCode::ACCEPTED, &json!("type")),
        "{answer:?}"
    );
    let cancelled = world
        .api
        .call(Method::POST, &format!("/pulsar/executions/{}/cancel", answer.id()), Some(&json!({})))
        .await?;
    assert_eq!(cancelled.status, StatusCode::OK, "{cancelled:?}");
    world.api.expect(&answer.id(), "cancelled");
    world.finish().await
}

/// Its request is under way: the answer comes, but the end is the cancellation.
#[tokio::test]
async fn a_cancelled_one_says_so_to_its_caller() -> anyhow::Result<()> {
    let world = World::build().route("crm", NATIVE).start().await?;
    world.endpoint.script("crm", [Reply::Held]);
    let api = world.api.clone();
    let caller = tokio::spawn(async move { api.publish(lead("crm")).await });
    let id = world.endpoint.wait_for("the request", |fired| !fired.is_empty()).await[0].execution.clone();
    let done =
        world.api.call(Method::POST, &format!("/pulsar/executions/{id}/cancel"), Some(&json!({}))).await?;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    world.api.expect(&id, "cancelled");
    world.endpoint.release("crm");
    let answer = tokio::time::timeout(Duration::from_secs(20), caller).await???;
    assert_eq!(
        (answer.status, &answer.json["state"]),
        (StatusCode::CONFLICT, &json!("cancelled")),
        "{answer:?}"
    );
    world.finish().await
}

#[tokio::test]
async fn a_replay_goes_through_the_queue_and_says_so() -> anyhow::Result<()> {
    let world = World::build().route("crm", NATIVE).start().await?;
    let first = world.api.publish(lead("crm")).await?;
    let decided = first.json["route"]["reason"].as_str().unwrap().to_owned();
    let mut id = first.id();
    // Of the replay of a replay the first reason is told as well.
    for way in [", through the queue although that one was native", ""] {
        let replay = world.api.post(&format!("/pulsar/executions/{id}/replay"), &json!({})).await?;
        assert_eq!((replay.status, &replay.json["route"]["mode"]), (StatusCode::ACCEPTED, &json!("pulsar")));
        let reason = format!("a replay of {id}, on its lane{way}; first decided: {decided}");
        assert_eq!(replay.json["route"]["reason"], reason);
        id = replay.id();
        world.api.until(&id, "succeeded").await;
    }
    world.finish().await
}

/// It is asked to leave and may not wait as long as the webhook takes: the end is written, and is honest.
#[tokio::test]
async fn what_a_leaving_publisher_cuts_off_ends_as_unknown() -> anyhow::Result<()> {
    let mut world = World::build().route("crm", NATIVE).set("publisher.drain_ms", "500").start().await?;
    assert!(world.publisher.log().contains("longer than publisher.drain_ms"), "it was not warned of");
    world.endpoint.script("crm", [Reply::Held]);
    let api = world.api.clone();
    let caller = tokio::spawn(async move { api.publish(lead("crm")).await });
    let id = world.endpoint.wait_for("the request", |fired| !fired.is_empty()).await[0].execution.clone();
    world.publisher.leave().await?;
    // Whether the answer came through before the connection was cut is nobody's promise.
    drop(caller.await?);
    let end = world
        .sql
        .one(&format!("SELECT state || ' ' || reason || ' ' || error FROM executions WHERE id = '{id}'"))
        .await?;
    assert!(end.starts_with("5 unknown_outcome the publisher was asked to leave"), "{end}");
    world.endpoint.release("crm");
    world.api.expect(&id, "failed");
    world.publisher.start_ready(&[]).await?;
    assert_eq!(world.endpoint.fired_of(&id).len(), 1);
    world.finish().await
}
