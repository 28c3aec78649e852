//! Later, or not at all.

use std::time::Duration;

use bridge_tests::World;
use bridge_tests::world::A_MOMENT;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn a_delayed_execution_is_not_delivered_before_its_time() -> anyhow::Result<()> {
    let world = World::start().await?;
    let id =
        world.api.accepted(json!({ "workflow_id": "later", "payload": {}, "delay_seconds": "1.5" })).await?;
    let waiting = world.api.show(&id).await?;
    assert_eq!(
        (waiting["state"].as_str(), waiting["waiting_on"]["kind"].as_str()),
        (Some("accepted"), Some("delay"))
    );
    let due: DateTime<Utc> = waiting["deliver_at"].as_str().unwrap().parse()?;
    world.every_live_execution_has_its_timer().await?;
    let live = world.api.post(&format!("/pulsar/executions/{id}/replay"), &json!({})).await?;
    assert_eq!(live.status, StatusCode::CONFLICT, "what has not ended cannot be replayed: {live:?}");
    let at = (Utc::now() + TimeDelta::milliseconds(1200)).to_rfc3339();
    let other =
        world.api.accepted(json!({ "workflow_id": "later", "payload": {}, "deliver_at": at })).await?;
    world.endpoint.wait_for_execution(&id, 1).await;
    assert!(Utc::now() >= due, "delivered {} before its time", due - Utc::now());
    world.endpoint.wait_for_execution(&other, 1).await;
    world.finish().await
}

#[tokio::test]
async fn an_inactive_route_holds_and_what_expires_meanwhile_is_not_delivered() -> anyhow::Result<()> {
    let world = World::build().route("held", "is_active = false").start().await?;
    let expires = (Utc::now() + TimeDelta::milliseconds(1800)).to_rfc3339();
    let id =
        world.api.accepted(json!({ "workflow_id": "held", "payload": {}, "expires_at": expires })).await?;
    world.api.expect(&id, "expired");
    let seen = world.api.until(&id, "expired").await;
    assert_eq!((seen["reason"].as_str(), seen["attempt"].as_u64()), (Some("expired"), Some(0)));
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(world.endpoint.fired_of(&id).len(), 0);
    world.finish().await
}

#[tokio::test]
async fn an_expired_delay_is_never_delivered() -> anyhow::Result<()> {
    let world = World::build().without_consumer().start().await?;
    let expires = (Utc::now() + TimeDelta::seconds(1)).to_rfc3339();
    let id = world.api.accepted(json!({ "workflow_id": "w", "payload": {}, "expires_at": expires })).await?;
    world.api.expect(&id, "expired");
    world.api.until(&id, "expired").await;
    let mut world = world;
    // Its message waits in the topic.
    world.consumer.start_ready(&[]).await?;
    let behind = world.api.fire("w").await?;
    world.endpoint.wait_for_execution(&behind, 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.endpoint.fired_of(&id).len(), 0);
    world.finish().await
}
