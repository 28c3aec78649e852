//! Holds: accepted as ever, nothing fired, no attempt spent; and everything goes on when they end.

use std::time::Duration;

use bridge_tests::{Reply, World, eventually, eventually_within};
use http::StatusCode;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(2);

async fn hold(world: &World, id: &str, body: Value) -> anyhow::Result<()> {
    let mut body = body;
    body["reason"] = json!("n8n is being moved");
    let put = world.api.put(&format!("/pulsar/holds/{id}"), &body).await?;
    anyhow::ensure!(put.status.is_success() && put.json["in_effect"] == true, "{put:?}");
    Ok(())
}

async fn release(world: &World, id: &str) -> anyhow::Result<()> {
    let gone = world.api.delete(&format!("/pulsar/holds/{id}")).await?;
    anyhow::ensure!(gone.status == StatusCode::OK && gone.json["in_effect"] == true, "{gone:?}");
    Ok(())
}

/// Until its message was put off without an attempt.
async fn held(world: &World, id: &str) -> Value {
    let seen = eventually(&format!("{id} to be held"), async || {
        let parked = format!("executions WHERE id = '{id}' AND parks > 0 AND attempt = 0");
        match world.sql.count(&parked).await {
            Ok(1) => world.api.show(id).await.map_err(|error| format!("{error:#}")),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(world.endpoint.fired_of(id).is_empty(), "{id} was fired: {seen}");
    assert_eq!(
        (seen["state"].as_str(), seen["waiting_on"]["kind"].as_str()),
        (Some("accepted"), Some("hold")),
        "{seen}"
    );
    seen
}

#[tokio::test]
async fn a_held_workflow_is_accepted_and_fired_when_it_is_released() -> anyhow::Result<()> {
    let world = World::start().await?;
    hold(&world, "move", json!({ "workflow_id": "crm" })).await?;
    let ids = world.api.many("crm", 5).await?;
    let other = world.api.fire("other").await?;
    world.api.until(&other, "succeeded").await;
    for id in &ids {
        let seen = held(&world, id).await;
        let detail = seen["waiting_on"]["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("move") && detail.contains("n8n is being moved"), "{seen}");
    }
    let listed = world.api.get("/pulsar/holds").await?;
    assert_eq!(listed.json["holds"][0]["workflow_id"], "crm", "{listed:?}");
    release(&world, "move").await?;
    for id in &ids {
        // Well before the end of what they were put off for.
        eventually_within(WITHIN + Duration::from_secs(3), "it to be fired", async || {
            if world.endpoint.fired_of(id).is_empty() { Err(world.api.show(id).await) } else { Ok(()) }
        })
        .await;
        let done = world.api.until(id, "succeeded").await;
        assert_eq!(done["attempt"], 1, "no attempt was spent: {done}");
    }
    let audit = world.admin().get("/pulsar/audit?limit=50").await?;
    let actions: Vec<_> = audit.json["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .collect();
    assert!(actions.contains(&"hold.put") && actions.contains(&"hold.delete"), "{actions:?}");
    world.finish().await
}

#[tokio::test]
async fn a_hold_is_by_lane_by_host_or_of_the_whole_tenant() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let host =
        world.endpoint.url().trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
    let neighbour = world.api_of(1);
    for (what, body) in [
        ("lane", json!({ "lane": "ai" })),
        ("host", json!({ "host": host })),
        ("host of every port", json!({ "host": "127.0.0.1" })),
        ("tenant", json!({})),
    ] {
        hold(&world, "h", body).await?;
        let id = world.api.accepted(json!({ "workflow_id": "w", "lane": "ai", "payload": what })).await?;
        held(&world, &id).await;
        if what == "lane" {
            let short =
                world.api.accepted(json!({ "workflow_id": "w", "lane": "short", "payload": {} })).await?;
            world.api.until(&short, "succeeded").await;
        }
        let theirs = neighbour.accepted(json!({ "workflow_id": "w", "lane": "ai", "payload": {} })).await?;
        neighbour.until(&theirs, "succeeded").await;
        release(&world, "h").await?;
        world.api.until(&id, "succeeded").await;
    }
    world.finish().await
}

#[tokio::test]
async fn an_inactive_route_is_a_hold() -> anyhow::Result<()> {
    let world = World::start().await?;
    let put = async |active: bool| {
        let put = world.api.put("/pulsar/workflows/crm", &json!({ "is_active": active })).await?;
        anyhow::ensure!(put.status.is_success() && put.json["in_effect"] == true, "{put:?}");
        anyhow::Ok(())
    };
    put(false).await?;
    let id = world.api.fire("crm").await?;
    held(&world, &id).await;
    put(true).await?;
    let done = world.api.until(&id, "succeeded").await;
    assert_eq!(done["attempt"], 1, "{done}");
    world.finish().await
}

/// The one that has its slot was fired before; the one behind it is not.
#[tokio::test]
async fn who_waits_for_a_slot_when_the_hold_comes_is_held() -> anyhow::Result<()> {
    let world = World::build().set("consumer.slot_wait_ms", "20000").start().await?;
    let narrow = world.api.put("/pulsar/workflows/narrow", &json!({ "max_concurrency": 1 })).await?;
    assert_eq!(narrow.json["in_effect"], true, "{narrow:?}");
    world.endpoint.script("narrow", [Reply::Held, Reply::Status(200)]);
    let first = world.api.fire("narrow").await?;
    world.endpoint.wait_for_execution(&first, 1).await;
    let second = world.api.fire("narrow").await?;
    eventually("both messages to be in hand", async || {
        let metrics = world.consumer.metrics().await.map_err(|error| error.to_string())?;
        if metrics.contains("bridge_messages_in_hand 2") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    hold(&world, "h", json!({})).await?;
    world.endpoint.release("narrow");
    world.api.until(&first, "succeeded").await;
    held(&world, &second).await;
    release(&world, "h").await?;
    world.api.until(&second, "succeeded").await;
    world.finish().await
}

#[tokio::test]
async fn a_hold_of_another_tenant_is_not_there() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    hold(&world, "mine", json!({})).await?;
    let other = world.api_of(1);
    assert_eq!(other.delete("/pulsar/holds/mine").await?.status, StatusCode::NOT_FOUND);
    let listed = other.get("/pulsar/holds").await?;
    assert_eq!(listed.json["holds"], json!([]), "{listed:?}");
    for (body, field) in [
        (json!({}), "reason"),
        (json!({ "reason": "r", "lane": "fast" }), "lane"),
        (json!({ "reason": "r", "host": "http://n8n/" }), "host"),
        (json!({ "reason": "r", "workflow": "w" }), "workflow"),
    ] {
        let refused = world.api.put("/pulsar/holds/x", &body).await?;
        assert_eq!((refused.status, refused.fields()), (StatusCode::BAD_REQUEST, vec![field]), "{refused:?}");
    }
    release(&world, "mine").await?;
    world.finish().await
}
