//! SIGKILL between every two steps of the path: whatever was accepted is delivered, and what is delivered twice is
//! known.

use std::time::Duration;

use bridge_protocol::Lane;
use bridge_tests::world::World;
use bridge_tests::{eventually, unique};
use http::StatusCode;
use serde_json::json;

const DEATH: Duration = Duration::from_secs(20);
/// A lease that lapses soon.
const BRIEF: &str =
    "timeout_ms = 400\nretry = { max_attempts = 4, base_ms = 20, factor = 1.5, max_ms = 100 }";

#[tokio::test]
async fn a_publisher_that_dies_at_any_place_loses_nothing() -> anyhow::Result<()> {
    let mut world = World::build().start().await?;
    for place in ["publisher.parsed", "publisher.accepted", "publisher.handed_off"] {
        world.publisher.leave().await?;
        world.publisher.start_ready(&[("BRIDGE_FAILPOINT", place)]).await?;
        // The caller hears nothing and does what callers do: it sends the request again, with its key.
        let key = unique(place);
        let body = json!({ "workflow_id": place, "payload": { "key": key }, "idempotency_key": key });
        let unheard = world.api.publish(body).await;
        assert!(unheard.is_err(), "{place}: {unheard:?}");
        assert!(!world.publisher.left(DEATH).await.success(), "{place}");
        world.publisher.start_ready(&[]).await?;
        let answer = world.api.insist(place, &key).await;
        let durable = place != "publisher.parsed";
        let wanted = if durable { StatusCode::OK } else { StatusCode::ACCEPTED };
        assert_eq!(answer.status, wanted, "{place}: {answer:?}");
        world.api.until(&answer.id(), "succeeded").await;
        let of = format!("executions WHERE workflow_id = '{place}'");
        assert_eq!(world.sql.count(&of).await?, 1, "{place}: one key, one execution");
        world.every_live_execution_has_its_timer().await?;
    }
    assert_eq!(world.duplicates(), []);
    world.finish().await
}

#[tokio::test]
async fn a_relay_that_dies_after_rearming_publishes_later() -> anyhow::Result<()> {
    let mut world = World::build().publisher_dies_at("relay.rearmed").start().await?;
    let body = json!({ "workflow_id": "w", "payload": {}, "delay_seconds": 0.3 });
    let id = world.api.accepted(body).await?;
    assert!(!world.publisher.left(DEATH).await.success());
    // Committed as published, and never was.
    let published = format!("executions WHERE id = '{id}' AND publishes = 1 AND state = 0");
    assert_eq!(world.sql.count(&published).await?, 1);
    world.every_live_execution_has_its_timer().await?;
    world.publisher.start_ready(&[]).await?;
    world.api.until(&id, "succeeded").await;
    assert_eq!(world.duplicates(), []);
    world.finish().await
}

#[tokio::test]
async fn a_consumer_that_dies_at_any_place_loses_nothing() -> anyhow::Result<()> {
    let places = ["received", "verified", "slotted", "claimed", "fired", "finished", "acked"];
    let mut build = World::build().without_consumer();
    for place in places {
        build = build.route(&format!("at-{place}"), BRIEF);
    }
    let mut world = build.start().await?;
    let topic = world.broker.names.topic(&world.tenant(), Lane::Long);
    let mut repeated = 0;
    for place in places {
        let failpoint = format!("consumer.{place}");
        world.consumer.start_ready(&[("BRIDGE_FAILPOINT", &failpoint)]).await?;
        let id = world.api.fire(&format!("at-{place}")).await?;
        assert!(!world.consumer.left(DEATH).await.success(), "{place}");
        world.every_live_execution_has_its_timer().await?;
        world.consumer.start_ready(&[]).await?;
        let seen = world.api.until(&id, "succeeded").await;
        let deliveries = world.endpoint.fired_of(&id).len();
        // Only between the answer and its record may a delivery be repeated.
        let (attempts, wanted) = match place {
            "claimed" => (2, 1),
            "fired" => (2, 2),
            _ => (1, 1),
        };
        assert_eq!((seen["attempt"].as_u64(), deliveries), (Some(attempts), wanted), "{place}: {seen}");
        repeated += usize::from(deliveries > 1);
        if attempts == 2 {
            assert_eq!(seen["attempts"][0]["outcome"], "lease_lapsed", "{place}: {seen}");
        }
        // A message that is left over would let the next consumer die too early.
        eventually("every message to be acknowledged", async || {
            match world.broker.admin.backlog(&topic, "bridge-consumer").await {
                Ok(backlog) if backlog.count == 0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        world.consumer.kill9().await?;
    }
    assert_eq!(repeated, 1);
    world.consumer.start_ready(&[]).await?;
    world.finish().await
}

#[tokio::test]
async fn a_consumer_that_dies_while_firing_is_taken_over_once() -> anyhow::Result<()> {
    let mut world = World::build().route("slow", BRIEF.replace("400", "1500").as_str()).start().await?;
    let (mut second, environment) = world.another("bridge-consumer");
    world.endpoint.script("slow", [bridge_tests::Reply::Held, bridge_tests::Reply::Status(200)]);
    let id = world.api.fire("slow").await?;
    world.endpoint.wait_for_execution(&id, 1).await;
    world.consumer.kill9().await?;
    second.start_ready(&bridge_tests::world::borrowed(&environment)).await?;
    let seen = world.api.until(&id, "succeeded").await;
    let fired = world.endpoint.fired_of(&id);
    assert_eq!(fired.iter().map(|fired| fired.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(seen["attempts"][0]["outcome"], "lease_lapsed", "{seen}");
    // The first message comes again to the second consumer and is refused.
    let behind = world.api.fire("w").await?;
    world.api.until(&behind, "succeeded").await;
    assert_eq!(world.endpoint.fired_of(&id).len(), 2);
    world.consumer.start_ready(&[]).await?;
    assert!(second.leave().await?.success());
    world.finish().await
}

#[tokio::test]
async fn daemons_killed_under_load_lose_nothing() -> anyhow::Result<()> {
    let mut world = World::build().route("load", BRIEF).start().await?;
    let keys: Vec<String> = (0..150).map(|number| format!("load-{number}")).collect();
    let api = world.api.clone();
    let calls = keys.iter().enumerate().map(|(number, key)| {
        let api = &api;
        async move {
            // Spread over the two deaths.
            tokio::time::sleep(Duration::from_millis(number as u64 * 10)).await;
            api.insist("load", key).await.id()
        }
    });
    let deaths = async {
        world.endpoint.wait_for("some deliveries", |fired| fired.len() >= 20).await;
        world.consumer.kill9().await?;
        world.consumer.start(&[])?;
        world.endpoint.wait_for("more deliveries", |fired| fired.len() >= 50).await;
        world.publisher.kill9().await?;
        world.publisher.start_ready(&[]).await
    };
    let (ids, died) = tokio::join!(futures::future::join_all(calls), deaths);
    died?;
    assert_eq!(ids.len(), 150);
    world.settle().await?;
    eventually("every key to have one execution", async || match world.sql.count("executions").await {
        Ok(150) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    eprintln!("delivered more than once: {}", world.duplicates().len());
    world.finish().await
}
