//! Payloads at rest: sealed for their tenant and their execution, and gone with the tenant's key.

use bridge_tests::settings::master_keys;
use bridge_tests::{Reply, World, eventually};
use http::StatusCode;
use serde_json::json;

const MARK: &str = "a-word-that-stands-in-clear-text";

async fn bodies(world: &World) -> anyhow::Result<String> {
    Ok(world.sql.rows("SELECT encode(body, 'escape') FROM payloads").await?.join("\n"))
}

fn sealed() -> bridge_tests::world::Builder {
    World::build().set("encryption.payloads", "true").route("held", "is_active = false")
}

#[tokio::test]
async fn payloads_are_sealed_delivered_and_mixed_with_older_ones() -> anyhow::Result<()> {
    let mut world = World::build().route("held", "is_active = false").start().await?;
    let clear = world.api.accepted(json!({ "workflow_id": "held", "payload": { "mark": MARK } })).await?;
    assert!(bodies(&world).await?.contains(MARK));
    world.publisher.leave().await?;
    world.publisher.start_ready(&[("BRIDGE_ENCRYPTION__PAYLOADS", "true")]).await?;

    let payload = json!({ "mark": format!("second {MARK}"), "large": "x".repeat(300_000) });
    let large = world.api.accepted(json!({ "workflow_id": "w", "payload": payload })).await?;
    let small = world
        .api
        .accepted(json!({ "workflow_id": "w", "payload": { "mark": format!("third {MARK}") } }))
        .await?;
    for id in [&large, &small] {
        world.api.until(id, "succeeded").await;
    }
    assert_eq!(world.endpoint.fired_of(&large)[0].json()["payload"], payload);
    let stored = bodies(&world).await?;
    assert!(stored.contains(MARK) && !stored.contains("second") && !stored.contains("third"));
    let shown = world.api.get(&format!("/pulsar/executions/{small}/payload")).await?;
    assert_eq!(shown.json["mark"], format!("third {MARK}"));

    let again = world.api.post(&format!("/pulsar/executions/{small}/replay"), &json!({})).await?;
    world.api.until(&again.id(), "succeeded").await;
    assert_eq!(world.endpoint.fired_of(&again.id())[0].json()["payload"]["mark"], format!("third {MARK}"));
    // The older one goes out as it was stored.
    world.activate("held").await?;
    world.consumer.leave().await?;
    world.consumer.start_ready(&[]).await?;
    world.api.until(&clear, "succeeded").await;
    world.finish().await
}

#[tokio::test]
async fn a_ciphertext_in_another_row_does_not_open() -> anyhow::Result<()> {
    let mut world = sealed().start().await?;
    let moved = world.api.accepted(json!({ "workflow_id": "held", "payload": { "n": 1 } })).await?;
    let other = world.api.accepted(json!({ "workflow_id": "held", "payload": { "n": 1 } })).await?;
    // The same plain text, so that only the binding tells them apart.
    world
        .sql
        .rows(&format!(
            "UPDATE payloads p SET body = o.body, data_key = o.data_key FROM payloads o WHERE p.id = '{moved}' AND o.id = '{other}'"
        ))
        .await?;
    world.api.expect(&moved, "dead_lettered");
    world.activate("held").await?;
    world.consumer.leave().await?;
    world.consumer.start_ready(&[]).await?;
    let dead = world.api.until(&moved, "dead_lettered").await;
    assert_eq!(dead["reason"], "payload_unreadable", "{dead}");
    world.api.until(&other, "succeeded").await;
    assert!(world.endpoint.fired_of(&moved).is_empty());
    world.finish().await
}

#[tokio::test]
async fn data_keys_rotate_and_a_destroyed_one_takes_its_payloads_along() -> anyhow::Result<()> {
    let mut world = sealed().tenants(2).start().await?;
    let (api, tenant) = (world.api.clone(), world.tenants[0].id.clone());
    let before = api.accepted(json!({ "workflow_id": "held", "payload": { "n": 1 } })).await?;
    let rotate = json!({ "key": "data", "tenant_id": tenant });
    let rotated = world.admin().post("/pulsar/keys/rotate", &rotate).await?;
    assert_eq!(rotated.status, StatusCode::OK, "{rotated:?}");
    let after = api.accepted(json!({ "workflow_id": "held", "payload": { "n": 2 } })).await?;
    let keys = format!("(SELECT DISTINCT data_key FROM payloads WHERE tenant_id = '{tenant}') k");
    assert_eq!(world.sql.count(&keys).await?, 2);
    for id in [&before, &after] {
        assert_eq!(api.get(&format!("/pulsar/executions/{id}/payload")).await?.status, StatusCode::OK);
    }
    let theirs = world.api_of(1).accepted(json!({ "workflow_id": "w", "payload": {} })).await?;
    let unsure = json!({ "key": "data", "tenant_id": tenant });
    assert_eq!(world.admin().post("/pulsar/keys/destroy", &unsure).await?.status, StatusCode::BAD_REQUEST);
    let sure = json!({ "key": "data", "tenant_id": tenant, "confirm": tenant });
    // What an active tenant publishes now would be lost with the keys.
    let active = world.admin().post("/pulsar/keys/destroy", &sure).await?;
    assert_eq!(active.status, StatusCode::CONFLICT, "{active:?}");
    assert!(active.json["type"].as_str().unwrap().ends_with("tenant-active"), "{active:?}");
    let path = format!("/pulsar/tenants/{tenant}");
    world.admin().put(&path, &json!({ "state": "suspended" })).await?;
    let destroyed = eventually("its accepts to be over", async || {
        let answer = world.admin().post("/pulsar/keys/destroy", &sure).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == StatusCode::OK { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert_eq!(destroyed.json["in_effect"], json!(true), "{destroyed:?}");
    world.admin().put(&path, &json!({ "state": "active" })).await?;
    assert!(destroyed.json.to_string().contains("for ever"), "{destroyed:?}");
    let gone = api.get(&format!("/pulsar/executions/{before}/payload")).await?;
    assert_eq!(gone.status, StatusCode::GONE, "{gone:?}");
    for id in [&before, &after] {
        api.expect(id, "dead_lettered");
    }
    world.activate("held").await?;
    world.consumer.leave().await?;
    world.consumer.start_ready(&[]).await?;
    for id in [&before, &after] {
        assert_eq!(api.until(id, "dead_lettered").await["reason"], "payload_unreadable");
    }
    world.api_of(1).until(&theirs, "succeeded").await;
    // Life goes on with a new key.
    let next = eventually("the tenant to be accepted again", async || {
        api.accepted(json!({ "workflow_id": "w", "payload": {} })).await.map_err(|error| error.to_string())
    })
    .await;
    api.until(&next, "succeeded").await;
    world.finish().await
}

#[tokio::test]
async fn the_master_key_rotates_without_a_pause() -> anyhow::Result<()> {
    let mut world = sealed().start().await?;
    world.endpoint.script("w", [Reply::Status(200)]);
    let before = world.api.accepted(json!({ "workflow_id": "w", "payload": { "n": 1 } })).await?;
    world.api.until(&before, "succeeded").await;
    let file = world.file("master.keys");
    let old = std::fs::read_to_string(&file)?;
    let new = master_keys("m2");
    std::fs::write(&file, format!("{new}\n{old}"))?;
    world.publisher.leave().await?;
    world.consumer.leave().await?;
    world.publisher.start_ready(&[]).await?;
    let sealed = world.admin().post("/pulsar/keys/rotate", &json!({ "key": "master" })).await?;
    assert_eq!(sealed.status, StatusCode::OK, "{sealed:?}");
    assert!(sealed.json["resealed"].as_u64() >= Some(2), "{sealed:?}");
    let again = world.admin().post("/pulsar/keys/rotate", &json!({ "key": "master" })).await?;
    assert_eq!(again.json["resealed"], 0, "{again:?}");
    // The old one is not needed any more.
    std::fs::write(&file, new)?;
    world.publisher.leave().await?;
    world.publisher.start_ready(&[]).await?;
    world.consumer.start_ready(&[]).await?;
    let shown = world.api.get(&format!("/pulsar/executions/{before}/payload")).await?;
    assert_eq!(shown.json, json!({ "n": 1 }));
    let after = world.api.fire("w").await?;
    world.api.until(&after, "succeeded").await;
    world.finish().await
}
