//! "Why is it not moving?", as the daemons' own heartbeats let the publisher answer it.

use bridge_tests::{Part, Pulsar, Reply, World, eventually};
use serde_json::Value;

/// Until it is said to wait for this; what is said.
async fn waits_for(world: &World, id: &str, kind: &str) -> Value {
    eventually(&format!("{id} to wait for {kind}"), async || {
        let seen = world.api.show(id).await.map_err(|error| format!("{error:#}"))?;
        if seen["waiting_on"]["kind"] == kind {
            Ok(seen["waiting_on"].clone())
        } else {
            Err(seen.to_string())
        }
    })
    .await
}

#[tokio::test]
async fn what_the_daemons_say_of_themselves_explains_why_nothing_moves() -> anyhow::Result<()> {
    let broker = Part::pulsar().await?;
    let quick = "retry = { max_attempts = 50, base_ms = 10, factor = 1.0, max_ms = 10 }";
    let mut world = World::build()
        .pulsar(Pulsar::of(&broker)?)
        .set("breaker.failures", "3")
        .set("breaker.open_ms", "12000")
        .set("breaker.max_open_ms", "12000")
        .route("failing", quick)
        .route("narrow", "max_concurrency = 1")
        .start()
        .await?;

    world.endpoint.script("failing", [Reply::Status(500)]);
    let failing = world.api.fire("failing").await?;
    let said = waits_for(&world, &failing, "breaker").await;
    assert!(said["until"].is_string() && said["detail"].as_str().unwrap().contains("/failing"), "{said}");
    world.endpoint.script("failing", [Reply::Status(200)]);

    world.endpoint.script("narrow", [Reply::Held]);
    let first = world.api.fire("narrow").await?;
    world.endpoint.wait_for_execution(&first, 1).await;
    let second = world.api.fire("narrow").await?;
    waits_for(&world, &second, "concurrency").await;
    world.endpoint.release("narrow");
    world.api.until(&second, "succeeded").await;

    assert!(world.consumer.leave().await?.success());
    let unread = world.api.fire("w").await?;
    waits_for(&world, &unread, "consumer_absent").await;
    world.consumer.start_ready(&[]).await?;
    world.api.until(&unread, "succeeded").await;

    broker.stop().await?;
    let unpublished = world.api.fire("w").await?;
    let said = waits_for(&world, &unpublished, "pulsar").await;
    eventually("the broker to be named as away", async || {
        let said =
            world.api.show(&unpublished).await.map_err(|error| format!("{error:#}"))?["waiting_on"].clone();
        let away =
            said["kind"] == "pulsar" && said["detail"].as_str().unwrap_or_default().contains("out of reach");
        if away { Ok(()) } else { Err(said.to_string()) }
    })
    .await;
    assert!(said["since"].is_string(), "{said}");
    broker.start().await?;
    world.finish().await
}
