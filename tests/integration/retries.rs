//! What follows a failed attempt: another one, or the dead letters and a replay.

use std::time::Duration;

use bridge_protocol::Lane;
use bridge_tests::settings::QUICK_RETRY;
use bridge_tests::{Reply, World};
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

#[tokio::test]
async fn a_failed_attempt_is_followed_by_another_and_retry_after_is_honoured() -> anyhow::Result<()> {
    let route = "retry = { max_attempts = 4, base_ms = 20, factor = 1.0, max_ms = 5000 }";
    let world = World::build().route("flaky", route).start().await?;
    world.endpoint.script(
        "flaky",
        [Reply::Status(500), Reply::RetryAfter { status: 429, seconds: 1 }, Reply::Status(200)],
    );
    let id = world.api.fire("flaky").await?;
    world.endpoint.wait_for_execution(&id, 2).await;
    let refused = Instant::now();
    let fired = world.endpoint.wait_for_execution(&id, 3).await;
    // A little less, for the way from the endpoint to here.
    assert!(refused.elapsed() >= Duration::from_millis(900), "fired again after {:?}", refused.elapsed());
    assert_eq!(fired.iter().map(|fired| fired.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    let seen = world.api.until(&id, "succeeded").await;
    let timeline: Vec<_> =
        seen["attempts"].as_array().unwrap().iter().map(|attempt| attempt["http_status"].as_u64()).collect();
    assert_eq!(timeline, [Some(500), Some(429), Some(200)], "{seen}");
    world.finish().await
}

#[tokio::test]
async fn a_permanent_answer_is_a_dead_letter_that_can_be_replayed() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = world.tenant();
    world.broker.witness(&world.broker.names.dead_letter(&tenant, Lane::Ai)).await?;
    world.endpoint.script("broken", [Reply::Status(400), Reply::Status(200)]);
    let id =
        world.api.accepted(json!({ "workflow_id": "broken", "lane": "ai", "payload": { "n": 1 } })).await?;
    world.api.expect(&id, "dead_lettered");
    let dead = world.api.until(&id, "dead_lettered").await;
    assert_eq!(
        (dead["reason"].as_str(), dead["http_status"].as_u64()),
        (Some("permanent_answer"), Some(400))
    );
    assert_eq!(world.endpoint.fired_of(&id).len(), 1, "a permanent answer is not repeated");
    let notice = world.broker.notice(&tenant, Lane::Ai, |notice| notice["execution_id"] == id.as_str()).await;
    assert_eq!(
        (notice["kind"].as_str(), notice["reason"].as_str()),
        (Some("dead_lettered"), Some("permanent_answer"))
    );
    let listed = world.api.get("/pulsar/executions?state=dead_lettered").await?;
    assert_eq!(listed.json["executions"][0]["execution_id"], id.as_str(), "{listed:?}");

    let replay = world.api.post(&format!("/pulsar/executions/{id}/replay"), &json!({})).await?;
    assert_eq!(replay.status, StatusCode::ACCEPTED, "{replay:?}");
    let again = replay.id();
    assert_ne!(again, id);
    assert_eq!(replay.json["replay_of"], id.as_str());
    let fired = world.endpoint.wait_for_execution(&again, 1).await.remove(0);
    assert_eq!((fired.attempt, fired.json()["payload"]["n"].as_u64()), (1, Some(1)));
    let new = world.api.until(&again, "succeeded").await;
    assert_eq!((new["replay_of"].as_str(), new["lane"].as_str()), (Some(id.as_str()), Some("ai")));
    let old = world.api.show(&id).await?;
    assert_eq!(
        (old["state"].as_str(), old["replayed_as"].as_str()),
        (Some("dead_lettered"), Some(again.as_str()))
    );
    world.finish().await
}

#[tokio::test]
async fn ten_failures_in_a_row_exhaust_the_attempts() -> anyhow::Result<()> {
    let route = "retry = { max_attempts = 10, base_ms = 10, factor = 1.1, max_ms = 30 }";
    let world = World::build().route("down", route).start().await?;
    let tenant = world.tenant();
    world.broker.witness(&world.broker.names.dead_letter(&tenant, Lane::Long)).await?;
    world.endpoint.script("down", [Reply::Status(500)]);
    let id = world.api.fire("down").await?;
    world.api.expect(&id, "dead_lettered");
    let dead = world.api.until(&id, "dead_lettered").await;
    assert_eq!(dead["reason"], "attempts_exhausted");
    assert_eq!(dead["attempts"].as_array().map(Vec::len), Some(10), "{dead}");
    let attempts: Vec<_> = world.endpoint.fired_of(&id).iter().map(|fired| fired.attempt).collect();
    assert_eq!(attempts, (1..=10).collect::<Vec<_>>());
    world.broker.notice(&tenant, Lane::Long, |notice| notice["reason"] == "attempts_exhausted").await;
    world.finish().await
}

#[tokio::test]
async fn a_breaker_parks_without_spending_attempts() -> anyhow::Result<()> {
    let world = World::build()
        .route("fragile", QUICK_RETRY)
        .set("breaker.failures", "3")
        .set("breaker.open_ms", "400")
        .start()
        .await?;
    world.endpoint.script("fragile", [vec![Reply::Status(503); 3], vec![Reply::Status(200)]].concat());
    let ids = world.api.many("fragile", 6).await?;
    for id in &ids {
        let seen = world.api.until(id, "succeeded").await;
        assert!(seen["attempt"].as_u64() <= Some(4), "{seen}");
    }
    world.finish().await
}
