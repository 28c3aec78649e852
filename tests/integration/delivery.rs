//! From the POST to the webhook.

use std::time::Duration;

use bridge_protocol::{WebhookSecret, verify_webhook_signature};
use bridge_tests::{Reply, World};
use chrono::Utc;
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn every_lane_delivers_a_signed_request() -> anyhow::Result<()> {
    let world = World::start().await?;
    for lane in ["short", "long", "ai", "analytics"] {
        let body = format!(
            r#"{{"workflow_id":"crm/{lane}","lane":"{lane}","payload":{{"b": 1.0, "a":[ ]}},"metadata":{{"user":"u7"}}}}"#
        );
        let answer =
            world.api.post_text("/pulsar/publish", &body, &[("content-type", "application/json")]).await?;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let id = answer.id();
        assert_eq!(answer.json["lane"], lane);
        assert_eq!(answer.json["route"]["decided_by"], "request");
        let location = answer.headers["location"].to_str()?;
        assert!(location.ends_with(&format!("/pulsar/executions/{id}")), "{location}");

        let fired = world.endpoint.wait_for_execution(&id, 1).await.remove(0);
        assert_eq!(fired.workflow, format!("crm/{lane}"));
        assert_eq!((fired.attempt, fired.tenant.as_str()), (1, world.tenants[0].id.as_str()));
        assert_eq!(fired.headers["webhook-id"], id);
        assert_eq!(fired.headers["content-type"], "application/json");
        assert_eq!(fired.headers["idempotency-key"], id);
        let secret = WebhookSecret::parse(&world.tenants[0].webhook_secret)?;
        let timestamp: i64 = fired.headers["webhook-timestamp"].parse()?;
        let signature = &fired.headers["webhook-signature"];
        let now = Utc::now().timestamp();
        let tolerance = Duration::from_secs(60);
        assert!(verify_webhook_signature(&[secret], &id, timestamp, &fired.body, signature, now, tolerance));
        let text = std::str::from_utf8(&fired.body)?;
        assert!(text.contains(r#"{"b": 1.0, "a":[ ]}"#), "the payload is kept byte for byte: {text}");
        let envelope = fired.json();
        assert_eq!(envelope["execution_id"], id.as_str());
        assert_eq!(envelope["lane"], lane);
        assert_eq!(envelope["metadata"]["user"], "u7");

        let seen = world.api.until(&id, "succeeded").await;
        assert_eq!(seen["evidence"], "response");
        assert_eq!(seen["attempt"], 1);
        assert!(seen["message_id"].as_str().is_some_and(|id| id.contains(':')), "{seen}");
    }
    assert_eq!(world.duplicates(), []);
    world.finish().await
}

#[tokio::test]
async fn an_immediate_answer_of_n8n_is_only_a_start() -> anyhow::Result<()> {
    let world = World::start().await?;
    let started = r#"{"message":"Workflow was started"}"#;
    world
        .endpoint
        .script("started", [Reply::Body { status: 200, content_type: "application/json", body: started }]);
    let id = world.api.fire("started").await?;
    let seen = world.api.until(&id, "succeeded").await;
    assert_eq!(seen["evidence"], "started");
    world.finish().await
}

#[tokio::test]
async fn a_string_payload_that_is_json_is_kept_and_warned_about() -> anyhow::Result<()> {
    let world = World::start().await?;
    let answer = world.api.publish(json!({ "workflow_id": "w", "payload": "{\"a\":1}" })).await?;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.json["warnings"].as_array().map(Vec::len), Some(1), "{answer:?}");
    let fired = world.endpoint.wait_for_execution(&answer.id(), 1).await.remove(0);
    assert_eq!(fired.json()["payload"], "{\"a\":1}");
    world.finish().await
}
