//! A tenant from its first day to its last: made, limited, suspended, deleted; and the record of all of it.

use bridge_tests::{Reply, World, eventually};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn a_tenant_made_by_the_api_is_served_without_a_restart() -> anyhow::Result<()> {
    let world = World::start().await?;
    let id = bridge_tests::unique("fresh");
    let path = format!("/pulsar/tenants/{id}");
    let made = world.admin().put(&path, &json!({})).await?;
    assert_eq!((made.status, &made.json["outcome"]), (StatusCode::CREATED, &json!("created")), "{made:?}");
    assert!(made.json["webhook_secret"].as_str().unwrap().starts_with("whsec_"));
    let again = world.admin().put(&path, &json!({})).await?;
    assert_eq!((again.status, &again.json["outcome"]), (StatusCode::OK, &json!("unchanged")));
    assert!(again.json.get("webhook_secret").is_none(), "shown once");
    world.broker.provision(&[id.parse()?]).await?;
    let key = json!({ "name": "k", "kind": "api_key", "tenants": [id], "scopes": ["publish", "read"] });
    let key = world.admin().post("/pulsar/clients", &key).await?;
    let api = world.api.of_tenant(&id, key.json["api_key"].as_str().unwrap());
    let execution = eventually("the new tenant's key to be known", async || {
        api.fire("w").await.map_err(|error| error.to_string())
    })
    .await;
    api.until(&execution, "succeeded").await;
    for (what, body, field) in [
        ("an unknown field", json!({ "limit": {} }), "limit"),
        ("an unknown state", json!({ "state": "asleep" }), "state"),
        (
            "a limit of nothing",
            json!({ "limits": { "requests_per_second": 0 } }),
            "limits.requests_per_second",
        ),
    ] {
        let answer = world.admin().put(&path, &body).await?;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec![field]),
            "{what}: {answer:?}"
        );
    }
    let odd = world.admin().put("/pulsar/tenants/No%20Name", &json!({})).await?;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST, "{odd:?}");
    Ok(())
}

#[tokio::test]
async fn suspending_stops_accepting_and_firing_and_resuming_goes_on() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let path = format!("/pulsar/tenants/{}", world.tenants[0].id);
    // Fails until it is resumed, so that it is under way while the tenant is suspended.
    world.endpoint.script("again", [Reply::Status(503), Reply::Status(503), Reply::Status(200)]);
    let waiting =
        world.api.accepted(json!({ "workflow_id": "later", "payload": {}, "delay_seconds": 2 })).await?;
    let suspended = world.admin().put(&path, &json!({ "state": "suspended" })).await?;
    assert_eq!(
        (suspended.status, &suspended.json["in_effect"]),
        (StatusCode::OK, &json!(true)),
        "{suspended:?}"
    );
    let refused = world.api.publish(json!({ "workflow_id": "w", "payload": {} })).await?;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    assert!(refused.json["type"].as_str().unwrap().ends_with("tenant-suspended"));
    let held = format!("executions WHERE id = '{waiting}' AND parks > 0 AND attempt = 0");
    eventually("the delayed one to be held", async || match world.sql.count(&held).await {
        Ok(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(world.endpoint.fired_of(&waiting).is_empty(), "fired while suspended");
    let other = world.api_of(1).fire("w").await?;
    world.api_of(1).until(&other, "succeeded").await;
    let resumed = world.admin().put(&path, &json!({ "state": "active" })).await?;
    assert_eq!(resumed.json["in_effect"], true, "{resumed:?}");
    world.api.until(&waiting, "succeeded").await;
    let id = world.api.fire("again").await?;
    world.api.until(&id, "succeeded").await;
    world.finish().await
}

#[tokio::test]
async fn deleting_drains_exports_and_leaves_nothing_but_the_record() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let (tenant, admin) = (world.tenants[0].id.clone(), world.admin());
    let path = format!("/pulsar/tenants/{tenant}");
    world.endpoint.script("held", [Reply::Held]);
    let done = world.api.fire("w").await?;
    world.api.until(&done, "succeeded").await;
    let live = world.api.fire("held").await?;
    world.endpoint.wait_for_execution(&live, 1).await;

    assert_eq!(admin.delete(&format!("{path}?confirm=another")).await?.status, StatusCode::BAD_REQUEST);
    let begun = admin.delete(&format!("{path}?confirm={tenant}")).await?;
    assert_eq!((begun.status, &begun.json["live"]), (StatusCode::ACCEPTED, &json!(1)), "{begun:?}");
    let refused = world.api.publish(json!({ "workflow_id": "w", "payload": {} })).await?;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    world.endpoint.release("held");
    world.api.until(&live, "succeeded").await;

    let export = admin.get(&format!("{path}/export")).await?;
    let text = export.json.as_str().map_or_else(|| export.json.to_string(), str::to_owned);
    for id in [&done, &live] {
        assert!(text.contains(id.as_str()), "{id} is not exported: {text}");
    }
    eventually("it to be removed", async || {
        let answer =
            admin.delete(&format!("{path}?confirm={tenant}")).await.map_err(|error| error.to_string())?;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let tables = "SELECT table_name FROM information_schema.columns WHERE column_name = 'tenant_id' AND table_schema = 'public'";
    for table in world.sql.rows(tables).await? {
        if table != "audit_log" {
            let left = world.sql.count(&format!("\"{table}\" WHERE tenant_id = '{tenant}'")).await?;
            assert_eq!(left, 0, "{table} still holds rows of {tenant}");
        }
    }
    assert_eq!(admin.get(&path).await?.status, StatusCode::NOT_FOUND);
    eventually("its key to be refused", async || {
        let status = world.api.publish(json!({ "workflow_id": "w", "payload": {} })).await.unwrap().status;
        if status == StatusCode::UNAUTHORIZED { Ok(()) } else { Err(status) }
    })
    .await;
    let other = world.api_of(1).fire("w").await?;
    world.api_of(1).until(&other, "succeeded").await;
    let audit = admin.get(&format!("/pulsar/audit?tenant_id={tenant}")).await?;
    let actions: Vec<&str> = audit.json["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .collect();
    for action in ["tenant.create", "tenant.delete", "tenant.export", "tenant.removed"] {
        assert!(actions.contains(&action), "{action} is not in {actions:?}");
    }
    world.leave().await
}

/// Suspended for a reason: what it holds is not set free by deleting it.
#[tokio::test]
async fn deleting_a_suspended_tenant_fires_nothing() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let (tenant, admin) = (world.tenants[0].id.clone(), world.admin());
    let path = format!("/pulsar/tenants/{tenant}");
    let later = json!({ "workflow_id": "w", "payload": {}, "delay_seconds": 1 });
    let held = world.api.accepted(later).await?;
    admin.put(&path, &json!({ "state": "suspended" })).await?;
    let parked = format!("executions WHERE id = '{held}' AND parks > 0");
    eventually("it to be held", async || match world.sql.count(&parked).await {
        Ok(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let refused = admin.delete(&format!("{path}?confirm={tenant}")).await?;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    eventually("it to be removed", async || {
        let ask = format!("{path}?confirm={tenant}&abandon=true");
        let answer = admin.delete(&ask).await.map_err(|error| error.to_string())?;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert!(world.endpoint.fired_of(&held).is_empty());
    world.leave().await
}

#[tokio::test]
async fn the_audit_log_says_who_what_when_from_where_and_cannot_be_changed() -> anyhow::Result<()> {
    let world = World::start().await?;
    let path = format!("/pulsar/tenants/{}", world.tenants[0].id);
    let limits = json!({ "limits": { "requests_per_second": 5.0, "burst": 10 } });
    world.admin().put(&path, &limits).await?;
    let audit = world.admin().get("/pulsar/audit?action=tenant.change").await?;
    let entry = &audit.json["entries"][0];
    assert_eq!(entry["before"]["limits"]["requests_per_second"], json!(null), "{audit:?}");
    assert_eq!(entry["after"]["limits"]["requests_per_second"], json!(5.0));
    assert!(entry["actor"].as_str().unwrap().starts_with("npb_"), "{entry}");
    assert!(entry["source"].as_str().unwrap().starts_with("127.0.0.1"), "{entry}");
    assert!(entry["at"].is_string());
    for statement in ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"] {
        assert!(world.sql.rows(statement).await.is_err(), "{statement} was let through");
    }
    world.finish().await
}

#[tokio::test]
async fn limits_answer_429_and_403_and_say_what_is_left() -> anyhow::Result<()> {
    let world = World::build().tenants(3).start().await?;
    let set = async |number: usize, limits: serde_json::Value| {
        let path = format!("/pulsar/tenants/{}", world.tenants[number].id);
        let answer = world.admin().put(&path, &json!({ "limits": limits })).await?;
        anyhow::ensure!(answer.status == StatusCode::OK, "{answer:?}");
        world.directory_is_current().await;
        anyhow::Ok(())
    };
    let unlimited = world.api_of(0).publish(json!({ "workflow_id": "w", "payload": {} })).await?;
    assert!(!unlimited.headers.contains_key("ratelimit"), "no limit is set");
    set(0, json!({ "requests_per_second": 0.5, "burst": 3 })).await?;
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(world.api_of(0).publish(json!({ "workflow_id": "w", "payload": {} })).await?);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses[..3], [202, 202, 202], "the burst");
    let refused = answers.last().unwrap();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{statuses:?}");
    for header in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(refused.headers.contains_key(header), "{header} in {:?}", refused.headers);
    }
    set(1, json!({ "payload_bytes_per_day": 1000 })).await?;
    let big = json!({ "workflow_id": "w", "payload": "x".repeat(900) });
    assert_eq!(world.api_of(1).publish(big.clone()).await?.status, StatusCode::ACCEPTED);
    let over = world.api_of(1).publish(big).await?;
    assert_eq!(over.status, StatusCode::FORBIDDEN, "{over:?}");
    assert!(over.json["type"].as_str().unwrap().ends_with("quota-exceeded"));

    set(2, json!({ "open_executions": 2 })).await?;
    world.endpoint.script("held", [Reply::Held]);
    let held = [world.api_of(2).fire("held").await?, world.api_of(2).fire("held").await?];
    let third = world.api_of(2).publish(json!({ "workflow_id": "w", "payload": {} })).await?;
    assert_eq!(third.status, StatusCode::FORBIDDEN, "{third:?}");
    world.endpoint.wait_for_execution(&held[1], 1).await;
    world.endpoint.release("held");
    for id in &held {
        world.api_of(2).until(id, "succeeded").await;
    }
    eventually("there to be room again", async || {
        world.api_of(2).fire("w").await.map_err(|error| error.to_string())
    })
    .await;
    world.finish().await
}
