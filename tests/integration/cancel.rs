//! Cancelling one execution: in every state that can be cancelled, and in those that cannot.

use bridge_protocol::Lane;
use bridge_tests::settings::QUICK_RETRY;
use bridge_tests::{Api, Reply, World, eventually};
use http::{Method, StatusCode};
use serde_json::{Value, json};

async fn cancel(api: &Api, id: &str) -> anyhow::Result<Value> {
    api.expect(id, "cancelled");
    let answer =
        api.post(&format!("/pulsar/executions/{id}/cancel"), &json!({ "reason": "not needed" })).await?;
    anyhow::ensure!(answer.status == StatusCode::OK, "{answer:?}");
    anyhow::ensure!(answer.json["state"] == "cancelled", "{answer:?}");
    Ok(answer.json)
}

#[tokio::test]
async fn what_waits_is_cancelled_at_once_and_never_fired() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = &world.api;
    let held = api.put("/pulsar/holds/all", &json!({ "workflow_id": "held", "reason": "a test" })).await?;
    assert_eq!(held.json["in_effect"], true, "{held:?}");
    let accepted = api.fire("held").await?;
    let delayed =
        api.accepted(json!({ "workflow_id": "later", "payload": {}, "delay_seconds": 3600 })).await?;
    for id in [&accepted, &delayed] {
        let done = cancel(api, id).await?;
        assert_eq!(done["was"], "accepted", "{done}");
        let seen = api.show(id).await?;
        assert_eq!((seen["state"].as_str(), seen["due_at"].as_str()), (Some("cancelled"), None), "{seen}");
        assert!(seen["waiting_on"].is_null(), "{seen}");
    }
    let gone = api.delete("/pulsar/holds/all").await?;
    assert_eq!(gone.status, StatusCode::OK, "{gone:?}");
    // Behind the released ones: they would have been fired by now.
    let next = api.fire("held").await?;
    api.until(&next, "succeeded").await;
    assert!(world.endpoint.fired_of(&accepted).is_empty());
    world.finish().await
}

/// Its message lies in the topic, unread, or its webhook has answered and its report is still to come.
#[tokio::test]
async fn what_is_queued_and_what_waits_for_its_report_are_cancelled_at_once() -> anyhow::Result<()> {
    let mut world = World::build().without_consumer().start().await?;
    let api = world.api.clone();
    let topic = world.broker.names.topic(&world.tenant(), Lane::Long);
    let queued = api.fire("w").await?;
    eventually("the message to be in the topic", async || {
        match world.broker.admin.backlog(&topic, "bridge-consumer").await {
            Ok(found) if found.count == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(cancel(&api, &queued).await?["was"], "accepted");
    world.consumer.start_ready(&[]).await?;
    let reported = json!({ "workflow_id": "w", "payload": {}, "completion": "callback" });
    let waiting = api.accepted(reported).await?;
    // Behind the queued one, whose message has been read by then.
    let fired = world.endpoint.wait_for_execution(&waiting, 1).await.remove(0);
    assert!(world.endpoint.fired_of(&queued).is_empty(), "it was fired all the same");

    api.until(&waiting, "waiting").await;
    assert_eq!(cancel(&api, &waiting).await?["was"], "waiting");
    let before = api.show(&waiting).await?;
    let path = fired.headers["x-callback-url"].replace(&world.publisher.url(), "");
    for status in ["success", "error"] {
        let late = api.call_as(&[], Method::POST, &path, Some(&json!({ "status": status }))).await?;
        assert_eq!(
            (late.status, late.json["state"].as_str()),
            (StatusCode::CONFLICT, Some("cancelled")),
            "{late:?}"
        );
    }
    assert_eq!(api.show(&waiting).await?, before, "nothing has changed");
    world.finish().await
}

#[tokio::test]
async fn what_is_retried_gets_no_other_attempt() -> anyhow::Result<()> {
    let route = "retry = { max_attempts = 9, base_ms = 60000, factor = 1.0, max_ms = 60000 }";
    let world = World::build().route("flaky", route).start().await?;
    world.endpoint.script("flaky", [Reply::Status(503)]);
    let id = world.api.fire("flaky").await?;
    world.api.until(&id, "retrying").await;
    assert_eq!(cancel(&world.api, &id).await?["was"], "retrying");
    let seen = world.api.show(&id).await?;
    assert_eq!(seen["attempt"], 1, "{seen}");
    world.finish().await
}

#[tokio::test]
async fn what_runs_is_cancelled_as_well_as_can_be_and_the_answer_says_so() -> anyhow::Result<()> {
    let world = World::build().route("slow", QUICK_RETRY).start().await?;
    world.endpoint.script("slow", [Reply::Held]);
    let id = world.api.fire("slow").await?;
    world.endpoint.wait_for_execution(&id, 1).await;
    let done = cancel(&world.api, &id).await?;
    assert_eq!(done["was"], "running", "{done}");
    assert!(done["note"].as_str().is_some_and(|note| note.contains("best effort")), "{done}");
    world.endpoint.release("slow");
    // Its answer changes nothing, and the next execution of the workflow is fired as ever.
    let next = world.api.fire("slow").await?;
    world.endpoint.wait_for_execution(&next, 1).await;
    world.endpoint.release("slow");
    world.api.until(&next, "succeeded").await;
    let seen = world.api.show(&id).await?;
    assert_eq!((seen["state"].as_str(), seen["attempt"].as_u64()), (Some("cancelled"), Some(1)), "{seen}");
    assert_eq!(world.endpoint.fired_of(&id).len(), 1);
    world.finish().await
}

#[tokio::test]
async fn what_has_ended_says_what_it_allows() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    let path = format!("/pulsar/executions/{id}/cancel");
    let refused = world.api.post(&path, &json!({})).await?;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert_eq!(refused.json["type"], "/problems/not-cancellable", "{refused:?}");
    assert_eq!(refused.json["state"], "succeeded", "{refused:?}");
    let allowed = refused.json["allowed"].as_array().unwrap();
    assert!(allowed.contains(&json!("replay")), "{refused:?}");
    let foreign = world.api_of(1).post(&path, &json!({})).await?;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{foreign:?}");
    let faulty = world.api.post(&path, &json!({ "reasn": "x" })).await?;
    assert_eq!((faulty.status, faulty.fields()), (StatusCode::BAD_REQUEST, vec!["reasn"]), "{faulty:?}");
    world.finish().await
}
