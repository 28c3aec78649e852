//! The broker loses connections, its process and all its data; no execution notices more than a delay.

use std::time::Duration;

use bridge_protocol::Lane;
use bridge_tests::{Part, Pulsar, Reply, World, eventually};
use chrono::{TimeDelta, Utc};
use http::StatusCode;
use serde_json::json;

use super::metrics::{answers, answers_at_once};

/// Its only attempt ends when nobody has reported on it.
const SILENT: &str = "completion = \"callback\"\ncallback_timeout_s = 10\n\
                      retry = { max_attempts = 1, base_ms = 10, factor = 1.0, max_ms = 10 }";

#[tokio::test]
async fn topics_that_are_unloaded_lose_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    let topic = world.broker.names.topic(&world.tenant(), Lane::Long);
    world.endpoint.script("w", [Reply::Slow(Duration::from_millis(10))]);
    let api = world.api.clone();
    let load = tokio::spawn(async move {
        let mut ids = Vec::new();
        for _ in 0..30 {
            ids.extend(api.many("w", 10).await?);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(ids)
    });
    for unload in 1..=3 {
        world.endpoint.wait_for("deliveries between unloads", |fired| fired.len() >= unload * 40).await;
        world.broker.admin.unload(&topic).await?;
        world.every_live_execution_has_its_timer().await?;
    }
    assert_eq!(load.await??.len(), 300);
    world.settle().await?;
    assert_eq!(world.duplicates(), [], "a redelivery is refused by the claim");
    world.finish().await
}

#[tokio::test]
async fn a_broker_that_dies_goes_away_and_forgets_everything_loses_nothing() -> anyhow::Result<()> {
    let broker = Part::pulsar().await?;
    let mut world = World::build()
        .pulsar(Pulsar::of(&broker)?)
        .route("parked", "is_active = false")
        .route("silent", SILENT)
        .start()
        .await?;
    killed_with_messages_in_flight(&world, &broker).await?;
    away_while_executions_are_accepted(&world, &broker).await?;
    wiped_while_executions_wait(&mut world, &broker).await?;
    timers_ring_while_it_says_nothing(&world, &broker).await?;
    world.finish().await
}

/// Only publishing needs the broker: whatever else a timer decides is done at its time.
async fn timers_ring_while_it_says_nothing(world: &World, broker: &Part) -> anyhow::Result<()> {
    let unreported = world.api.fire("silent").await?;
    world.api.expect(&unreported, "dead_lettered");
    world.api.until(&unreported, "waiting").await;
    let idle = answers(&[&world.publisher, &world.consumer]).await?;
    broker.freeze().await?;
    let expires = (Utc::now() + TimeDelta::seconds(10)).to_rfc3339();
    let expiring =
        world.api.accepted(json!({ "workflow_id": "w", "payload": {}, "expires_at": expires })).await?;
    world.api.expect(&expiring, "expired");
    is_missed(world).await;
    let dead = world.api.until(&unreported, "dead_lettered").await;
    assert_eq!(dead["reason"], "callback_timed_out", "{dead}");
    world.api.until(&expiring, "expired").await;
    is_missed(world).await;
    answers_at_once(&[&world.publisher, &world.consumer], &idle).await?;
    // What can only be published waits.
    let waits = world.api.fire("w").await?;
    assert_eq!(world.api.show(&waits).await?["state"], "accepted");
    world.every_live_execution_has_its_timer().await?;
    broker.thaw().await?;
    world.api.until(&waits, "succeeded").await;
    Ok(())
}

async fn killed_with_messages_in_flight(world: &World, broker: &Part) -> anyhow::Result<()> {
    world.endpoint.script("slow", [Reply::Slow(Duration::from_millis(50))]);
    let api = world.api.clone();
    let load = tokio::spawn(async move {
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.extend(api.many("slow", 10).await?);
        }
        anyhow::Ok(ids)
    });
    world.endpoint.wait_for("messages in flight", |fired| fired.len() >= 20).await;
    broker.kill().await?;
    let ids = load.await??;
    assert_eq!(ids.len(), 200, "accepted while the broker was dead");
    world.every_live_execution_has_its_timer().await?;
    broker.start().await?;
    world.settle().await
}

async fn away_while_executions_are_accepted(world: &World, broker: &Part) -> anyhow::Result<()> {
    broker.stop().await?;
    let answer = world.api.publish(json!({ "workflow_id": "w", "payload": {} })).await?;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    world.api.many("w", 20).await?;
    is_missed(world).await;
    broker.start().await?;
    world.settle().await
}

async fn is_missed(world: &World) {
    let ready = eventually("readiness to name the broker", async || {
        let ready = world.api.get("/health/ready").await.map_err(|error| error.to_string())?;
        if ready.json["status"] == "degraded" { Ok(ready) } else { Err(format!("{ready:?}")) }
    })
    .await;
    assert_eq!(ready.status, StatusCode::OK, "it accepts: {ready:?}");
}

async fn wiped_while_executions_wait(world: &mut World, broker: &Part) -> anyhow::Result<()> {
    let delayed =
        world.api.accepted(json!({ "workflow_id": "w", "payload": {}, "delay_seconds": 15 })).await?;
    let parked = world.api.fire("parked").await?;
    eventually("the parked one to be parked", async || {
        let seen = world.sql.one(&format!("SELECT parks FROM executions WHERE id = '{parked}'")).await;
        seen.map_err(|error| error.to_string())
            .and_then(|parks| if parks == "0" { Err(parks) } else { Ok(()) })
    })
    .await;
    // Their messages are in the topic and nobody reads them.
    world.consumer.leave().await?;
    let fresh = world.api.many("w", 30).await?;
    broker.kill().await?;
    broker.start_fresh().await?;
    world.every_live_execution_has_its_timer().await?;
    world.broker.provision(&world.tenant_ids()).await?;
    world.activate("parked").await?;
    world.consumer.start_ready(&[]).await?;
    world.publisher.ready().await;
    for id in fresh.iter().chain([&parked, &delayed]) {
        world.api.until(id, "succeeded").await;
        assert_eq!(world.endpoint.fired_of(id).len(), 1);
    }
    Ok(())
}
