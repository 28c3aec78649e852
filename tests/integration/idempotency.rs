//! The same request twice, and many requests at once.

use bridge_tests::World;
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn a_repeat_is_the_same_execution_and_another_request_is_a_conflict() -> anyhow::Result<()> {
    let world = World::start().await?;
    let body = json!({ "workflow_id": "once", "payload": { "n": 1 }, "idempotency_key": "order-1" });
    let first = world.api.publish(body.clone()).await?;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    let repeats = futures::future::try_join_all((0..8).map(|_| world.api.publish(body.clone()))).await?;
    for repeat in repeats {
        assert_eq!((repeat.status, repeat.id()), (StatusCode::OK, first.id()), "{repeat:?}");
        assert_eq!(repeat.json["replayed"], true);
    }
    let mut without_key = body.clone();
    without_key.as_object_mut().unwrap().remove("idempotency_key");
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-1")];
    let by_header = world.api.post_text("/pulsar/publish", &without_key.to_string(), &headers).await?;
    assert_eq!((by_header.status, by_header.id()), (StatusCode::OK, first.id()));

    for (field, value) in [
        ("payload", json!({ "n": 2 })),
        ("workflow_id", json!("twice")),
        ("lane", json!("ai")),
        ("delay_seconds", json!(60)),
        ("metadata", json!({ "x": 1 })),
    ] {
        let mut other = body.clone();
        other[field] = value;
        let conflict = world.api.publish(other).await?;
        assert_eq!(conflict.status, StatusCode::CONFLICT, "{field}: {conflict:?}");
        assert_eq!(conflict.id(), first.id(), "it names whose key it is");
    }
    world.api.until(&first.id(), "succeeded").await;
    let late = world.api.publish(body).await?;
    assert_eq!((late.status, late.json["status"].as_str()), (StatusCode::OK, Some("succeeded")));
    assert_eq!(world.endpoint.counts().values().sum::<usize>(), 1);
    world.finish().await
}

#[tokio::test]
async fn a_batch_answers_each_item_in_order() -> anyhow::Result<()> {
    let world = World::start().await?;
    let owner =
        world.api.publish(json!({ "workflow_id": "w", "payload": 1, "idempotency_key": "taken" })).await?;
    let batch = json!([
        { "workflow_id": "w", "payload": { "n": 0 } },
        { "workflow_id": "w", "payload": { "n": 1 }, "lane": "fast" },
        { "workflow_id": "w", "payload": 2, "idempotency_key": "taken" },
        { "workflow_id": "w", "payload": 1, "idempotency_key": "taken" },
        { "workflow_id": "w", "payload": { "n": 4 }, "idempotency_key": "fresh" },
        { "payload": { "n": 5 }, "colour": "red" },
        { "workflow_id": "w", "payload": { "n": 6 }, "metadata": { "text": "a\u{0}b" } },
        { "workflow_id": "w", "payload": { "n": 7 }, "tenant_id": "somebody-else" },
    ]);
    let answer = world.api.post("/pulsar/publish/batch", &batch).await?;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let items = answer.json.as_array().unwrap();
    let statuses: Vec<_> = items.iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 400, 409, 200, 202, 400, 400, 403], "{}", answer.json);
    for (index, item) in items.iter().enumerate() {
        assert_eq!(item["index"], index);
    }
    assert_eq!(items[3]["execution_id"], owner.id().as_str());
    let fields: Vec<_> = items[5]["problem"]["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert!(fields.contains(&"workflow_id") && fields.contains(&"colour"), "{fields:?}");
    let accepted = [&items[0], &items[4]].map(|item| item["execution_id"].as_str().unwrap().to_owned());
    for id in &accepted {
        world.endpoint.wait_for_execution(id, 1).await;
    }
    world.finish().await
}
