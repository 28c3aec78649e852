//! What a caller gets for a bad request: the field, and what to do.

use std::time::Duration;

use bridge_tests::{World, eventually};
use chrono::{TimeDelta, Utc};
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

#[tokio::test]
async fn every_bad_field_is_named_with_its_fix() -> anyhow::Result<()> {
    let world = World::build().set("publisher.max_payload_bytes", "65536").start().await?;
    let past = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    let soon = (Utc::now() + TimeDelta::hours(1)).to_rfc3339();
    let later = (Utc::now() + TimeDelta::hours(2)).to_rfc3339();
    let publish = |fields: serde_json::Value| {
        let mut body = json!({ "workflow_id": "w", "payload": {} });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body.to_string()
    };
    let long = "x".repeat(70_000);
    // What is sent, the status, the field that is named.
    let table: Vec<(&str, String, u16, &str)> = vec![
        ("unknown tenant", publish(json!({ "tenant_id": "nobody" })), 403, "tenant_id"),
        ("bad tenant id", publish(json!({ "tenant_id": "Not A Tenant" })), 400, "tenant_id"),
        ("no workflow", json!({ "payload": {} }).to_string(), 400, "workflow_id"),
        ("a workflow that climbs", publish(json!({ "workflow_id": "a/../b" })), 400, "workflow_id"),
        ("no payload", json!({ "workflow_id": "w" }).to_string(), 400, "payload"),
        ("unknown lane", publish(json!({ "lane": "fast" })), 400, "lane"),
        ("unknown field", publish(json!({ "worklow_id": "w" })), 400, "worklow_id"),
        (
            "a delay and a time",
            publish(json!({ "delay_seconds": 3, "deliver_at": soon })),
            400,
            "delay_seconds",
        ),
        ("negative delay", publish(json!({ "delay_seconds": -3 })), 400, "delay_seconds"),
        ("endless delay", publish(json!({ "delay_seconds": 1e12 })), 400, "delay_seconds"),
        ("deliver_at in the past", publish(json!({ "deliver_at": past })), 400, "deliver_at"),
        ("deliver_at without zone", publish(json!({ "deliver_at": "2031-01-01 09:00" })), 400, "deliver_at"),
        ("expired already", publish(json!({ "expires_at": past })), 400, "expires_at"),
        (
            "expires before it is delivered",
            publish(json!({ "deliver_at": later, "expires_at": soon })),
            400,
            "expires_at",
        ),
        ("key with spaces", publish(json!({ "idempotency_key": "a b" })), 400, "idempotency_key"),
        ("key too long", publish(json!({ "idempotency_key": "k".repeat(256) })), 400, "idempotency_key"),
        ("metadata that is a list", publish(json!({ "metadata": [1] })), 400, "metadata"),
        ("NUL in metadata", publish(json!({ "metadata": { "a": "\u{0}" } })), 400, "metadata"),
        ("NUL in type", publish(json!({ "type": "a\u{0}" })), 400, "type"),
        ("no such completion", publish(json!({ "completion": "later" })), 400, "completion"),
        ("payload over the limit", publish(json!({ "payload": long })), 413, ""),
        ("half a body", r#"{"workflow_id": "w", "payload": {"#.to_owned(), 400, ""),
        ("no object", "\"w\"".to_owned(), 400, ""),
        ("nothing", String::new(), 400, ""),
    ];
    for (what, body, status, field) in &table {
        let headers = [("content-type", "application/json"), ("accept", "application/problem+json")];
        let answer = world.api.post_text("/pulsar/publish", body, &headers).await?;
        assert_eq!(answer.status.as_u16(), *status, "{what}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
        assert!(answer.json["type"].as_str().is_some_and(|kind| kind.starts_with("/problems/")), "{what}");
        let detail = answer.json["detail"].as_str().unwrap_or_default();
        assert!(detail.len() > 20, "{what}: {answer:?}");
        assert_eq!(answer.json["message"], answer.json["detail"], "{what}: n8n reads message");
        if !field.is_empty() {
            assert!(answer.fields().contains(field), "{what}: {answer:?}");
        }
    }
    let two =
        world.api.publish(json!({ "workflow_id": "", "payload": 1, "lane": "x", "colour": "red" })).await?;
    assert_eq!(two.fields().len(), 3, "all faults at once: {two:?}");
    assert_eq!(two.headers["content-type"], "application/json", "n8n parses only that");
    let form =
        world.api.post_text("/pulsar/publish", "workflow_id=w", &[("content-type", "text/plain")]).await?;
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(form.json["detail"].as_str().unwrap().contains("JSON"), "{form:?}");
    let header = [("content-type", "application/json"), ("idempotency-key", "two words")];
    let key = world.api.post_text("/pulsar/publish", &publish(json!({})), &header).await?;
    assert_eq!((key.status, key.fields()), (StatusCode::BAD_REQUEST, vec!["Idempotency-Key"]), "{key:?}");
    let batch = world.api.post("/pulsar/publish/batch", &json!({ "workflow_id": "w" })).await?;
    assert_eq!(batch.status, StatusCode::BAD_REQUEST, "{batch:?}");
    for path in ["/pulsar/executions/not-an-id", "/pulsar/nothing"] {
        assert_eq!(world.api.get(path).await?.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(world.sql.count("executions").await?, 0, "nothing bad was accepted");
    world.finish().await
}

#[tokio::test]
async fn a_database_out_of_reach_is_waited_for_and_then_told() -> anyhow::Result<()> {
    let world = World::build().behind_proxy().set("database.accept_patience_ms", "1500").start().await?;
    let proxy = world.proxy.as_ref().unwrap();
    let before = world.api.fire("w").await?;
    world.api.until(&before, "succeeded").await;

    proxy.refuse();
    let asked = Instant::now();
    let answers = futures::future::try_join_all(
        (0..20).map(|_| world.api.publish(json!({ "workflow_id": "w", "payload": {} }))),
    )
    .await?;
    let waited = asked.elapsed();
    for answer in answers {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        assert!(answer.headers["retry-after"].to_str()?.parse::<u32>()? > 0);
    }
    assert!(
        (Duration::from_millis(1000)..Duration::from_secs(5)).contains(&waited),
        "answered after {waited:?}"
    );

    // Back within the patience: the caller notices nothing but the time.
    let waiting = world.api.publish(json!({ "workflow_id": "w", "payload": { "n": 2 } }));
    let (answer, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        proxy.pass();
    });
    let answer = answer?;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    world.api.until(&answer.id(), "succeeded").await;

    // A network that says nothing is no other case.
    proxy.stall();
    let asked = Instant::now();
    let silent = world.api.publish(json!({ "workflow_id": "w", "payload": {} })).await?;
    assert_eq!(silent.status, StatusCode::SERVICE_UNAVAILABLE, "{silent:?}");
    assert!(asked.elapsed() < Duration::from_secs(5));
    proxy.cut();
    let last = eventually("the bridge to accept again", async || match world.api.fire("w").await {
        Ok(id) => Ok(id),
        Err(error) => Err(format!("{error:#}")),
    })
    .await;
    world.api.until(&last, "succeeded").await;
    world.finish().await
}
