//! SIGTERM under load: what was begun is ended, nothing is dropped, nothing is done twice.

use std::time::Duration;

use bridge_tests::{Reply, World};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn a_consumer_that_is_asked_to_leave_ends_what_it_began() -> anyhow::Result<()> {
    let mut world = World::build().set("consumer.topic_permits", "32").start().await?;
    world.endpoint.script("slow", [Reply::Slow(Duration::from_millis(150))]);
    world.api.many("slow", 120).await?;
    world.endpoint.wait_for("the load", |fired| fired.len() >= 20).await;
    let status = world.consumer.leave().await?;
    assert!(status.success(), "{status}");
    let ended = world.endpoint.answered().len();
    assert_eq!(ended, world.endpoint.fired().len(), "a request was cut off");
    let recorded = world.sql.count("executions WHERE state = 4").await?;
    assert_eq!(recorded as usize, ended, "a delivery was not recorded");
    world.every_live_execution_has_its_timer().await?;
    world.consumer.start_ready(&[]).await?;
    world.settle().await?;
    assert_eq!(world.duplicates(), []);
    world.finish().await
}

#[tokio::test]
async fn a_publisher_that_is_asked_to_leave_answers_what_it_took() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let calls = (0..300).map(|number| {
        let api = world.api.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(number * 3)).await;
            api.publish(json!({ "workflow_id": "w", "payload": { "n": number } })).await
        })
    });
    let calls: Vec<_> = calls.collect();
    world.endpoint.wait_for("the load", |fired| fired.len() >= 30).await;
    let status = world.publisher.leave().await?;
    assert!(status.success(), "{status}");
    let mut accepted = 0;
    for call in calls {
        match call.await? {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => accepted += 1,
            Ok(answer) => assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}"),
            // It came too late: nobody listened. That none of these was taken is counted below.
            Err(error) => assert!(error.is_connect() || error.is_request(), "{error:?}"),
        }
    }
    assert!(accepted >= 30, "{accepted}");
    assert_eq!(world.sql.count("executions").await?, accepted, "every row had its answer");
    world.publisher.start_ready(&[]).await?;
    world.settle().await?;
    world.finish().await
}
