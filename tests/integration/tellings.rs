//! What tells of a bad end: kept until it can be told, and it tells of the same end when it is replayed.

use bridge_tests::{Reply, World, eventually};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn a_telling_waits_for_its_route_and_its_replay_tells_of_the_same_end() -> anyhow::Result<()> {
    let told = "on_failure = { workflow_id = \"alarm\" }";
    let world = World::build().set("webhook.strict_routes", "true").route("fragile", told).start().await?;
    let api = &world.api;
    world.endpoint.script("fragile", [Reply::Status(400)]);
    let id = api.fire("fragile").await?;
    api.expect(&id, "dead_lettered");
    // The alarm has no route, and without one nothing is fired here.
    eventually("the telling to be put off", async || {
        match world.sql.count("follow_ups WHERE tries > 0 AND not_before > now()").await {
            Ok(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let counted = "bridge_follow_ups_total{outcome=\"unroutable\"} ";
    let metrics = world.publisher.metrics().await?;
    let unroutable = metrics.lines().find_map(|line| line.strip_prefix(counted)).unwrap_or("0");
    assert_ne!(unroutable, "0", "it is counted, and can be alerted on");

    let put = api.put("/pulsar/workflows/alarm", &json!({})).await?;
    assert_eq!(put.status, StatusCode::CREATED, "{put:?}");
    let fired =
        world.endpoint.wait_for("the alarm", |fired| fired.iter().any(|f| f.workflow == "alarm")).await;
    let alarm = fired.iter().find(|fired| fired.workflow == "alarm").unwrap();
    assert_eq!(alarm.json()["payload"]["execution_id"], id.as_str());
    let telling = api.until(&alarm.execution, "succeeded").await;
    assert_eq!(telling["caused_by"], id.as_str(), "{telling}");
    eventually("the outbox to be empty", async || match world.sql.count("follow_ups").await {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;

    let again = api.post(&format!("/pulsar/executions/{}/replay", alarm.execution), &json!({})).await?;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
    let replayed = api.until(&again.id(), "succeeded").await;
    assert_eq!(replayed["caused_by"], id.as_str(), "{replayed}");
    world.finish().await
}
