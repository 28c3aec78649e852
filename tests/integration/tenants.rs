//! Two tenants of one bridge cannot reach each other's anything.

use bridge_protocol::Lane;
use bridge_tests::{World, eventually};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn another_tenants_token_and_ids_lead_nowhere() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let (mine, theirs) = (world.api_of(0), world.api_of(1));
    let body = json!({ "workflow_id": "w", "payload": { "of": "mine" }, "idempotency_key": "k" });
    let id = mine.publish(body.clone()).await?.id();

    let named =
        theirs.publish(json!({ "workflow_id": "w", "payload": {}, "tenant_id": mine.tenant })).await?;
    assert_eq!((named.status, named.fields()), (StatusCode::FORBIDDEN, vec!["tenant_id"]), "{named:?}");
    let unknown = theirs.publish(json!({ "workflow_id": "w", "payload": {}, "tenant_id": "nobody" })).await?;
    assert_eq!(unknown.status, StatusCode::FORBIDDEN, "whether a tenant exists is not told");
    assert_eq!(
        mine.with_token("not-a-token-at-all").publish(body.clone()).await?.status,
        StatusCode::UNAUTHORIZED
    );

    mine.until(&id, "succeeded").await;
    for (what, answer) in [
        ("show", theirs.get(&format!("/pulsar/executions/{id}")).await?),
        ("replay", theirs.post(&format!("/pulsar/executions/{id}/replay"), &json!({})).await?),
    ] {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}: {answer:?}");
    }
    let listed = theirs.get("/pulsar/executions").await?;
    assert_eq!(listed.json["executions"], json!([]), "{listed:?}");
    let cursor = theirs.get(&format!("/pulsar/executions?cursor={id}")).await?;
    assert_eq!(cursor.status, StatusCode::BAD_REQUEST, "{cursor:?}");

    // The same key is another key for another tenant.
    let other = theirs.publish(body).await?;
    assert_eq!(other.status, StatusCode::ACCEPTED, "{other:?}");
    assert_ne!(other.id(), id);
    theirs.until(&other.id(), "succeeded").await;
    let fired = world.endpoint.fired_of(&other.id()).remove(0);
    assert_eq!(fired.tenant, world.tenants[1].id);
    world.finish().await
}

#[tokio::test]
async fn changes_of_routes_and_holds_are_limited() -> anyhow::Result<()> {
    let world = World::build().tenants(2).set("publisher.route_changes_per_minute", "6").start().await?;
    let (route, hold) = (json!({ "lane": "ai" }), json!({ "lane": "ai", "reason": "r" }));
    for (path, body) in [
        ("/pulsar/workflows/w", &route),
        ("/pulsar/types/t", &route),
        ("/pulsar/default-route", &route),
        ("/pulsar/workflows", &json!({ "workflows": { "w": { "lane": "ai" } } })),
        ("/pulsar/holds/h", &hold),
    ] {
        let answer = world.api.put(path, body).await?;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
    }
    let released = world.api.delete("/pulsar/holds/h").await?;
    assert_eq!(released.status, StatusCode::OK, "{released:?}");
    for (path, body) in [
        ("/pulsar/workflows/w", &route),
        ("/pulsar/types/t", &route),
        ("/pulsar/default-route", &route),
        ("/pulsar/workflows", &json!({ "dry_run": true })),
        ("/pulsar/holds/h", &hold),
    ] {
        let refused = world.api.put(path, body).await?;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{path}: {refused:?}");
        assert!(refused.headers.contains_key("retry-after"));
    }
    for path in ["/pulsar/workflows/w", "/pulsar/types/t", "/pulsar/default-route", "/pulsar/holds/h"] {
        assert_eq!(world.api.delete(path).await?.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
    let other = world.api_of(1).put("/pulsar/workflows/w", &route).await?;
    assert_eq!(other.status, StatusCode::CREATED, "another tenant's limit is its own: {other:?}");
    assert_eq!(world.api.get("/pulsar/workflows").await?.status, StatusCode::OK);
    world.finish().await
}

#[tokio::test]
async fn a_message_on_another_tenants_topic_is_forged_and_never_fired() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let names = &world.broker.names;
    let (own, foreign) = (world.tenant_id(0), world.tenant_id(1));
    let (from, to) = (names.topic(&own, Lane::Long), names.topic(&foreign, Lane::Long));
    world.broker.witness(&from).await?;
    world.broker.witness(&names.dead_letter(&foreign, Lane::Long)).await?;
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    let copied = eventually("the message in its topic", async || {
        let seen = world.broker.seen(&from).await.map_err(|error| format!("{error:#}"))?;
        seen.into_iter().next().ok_or("nothing").map_err(str::to_owned)
    })
    .await;
    let message = world.broker.send(&to, &copied).await?;
    let notice = world.broker.notice(&foreign, Lane::Long, |notice| notice["kind"] == "forged").await;
    assert_eq!(notice["tenant_id"], foreign.as_str());
    let recorded = format!("rejected_messages WHERE tenant_id = '{foreign}' AND message_id = '{message}'");
    assert_eq!(world.sql.count(&recorded).await?, 1);
    assert_eq!(world.endpoint.fired_of(&id).len(), 1, "the copy was not fired");
    // Each lane is a topic of its own as well.
    let lane = names.topic(&own, Lane::Short);
    world.broker.send(&lane, &copied).await?;
    let recorded = format!("rejected_messages WHERE tenant_id = '{own}' AND topic = '{lane}'");
    eventually("the copy on another lane to be recorded", async || match world.sql.count(&recorded).await {
        Ok(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(world.endpoint.fired_of(&id).len(), 1);
    world.finish().await
}
