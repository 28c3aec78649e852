//! Keys change while messages are in flight; nothing is lost, and what is old is never taken for forged.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge_protocol::{Lane, WebhookSecret, webhook_signature};
use bridge_tests::settings::{eddsa_keyrings, key_entry};
use bridge_tests::{Reply, World, eventually};
use serde_json::json;

async fn signed_by(world: &World, topic: &str) -> anyhow::Result<Vec<String>> {
    let bodies = world.broker.seen(topic).await?;
    let kid = |body: &String| {
        let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body.split('.').next()?).ok()?;
        let head: serde_json::Value = serde_json::from_slice(&head).ok()?;
        head["kid"].as_str().map(str::to_owned)
    };
    Ok(bodies.iter().filter_map(kid).collect())
}

async fn forged(world: &World) -> anyhow::Result<u64> {
    world.sql.count("rejected_messages").await
}

#[tokio::test]
async fn the_keyring_rotates_while_messages_are_in_flight() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (topic, ring) = (world.broker.names.topic(&world.tenant(), Lane::Long), world.file("keyring.toml"));
    world.broker.witness(&topic).await?;
    world.endpoint.script("w", [Reply::Slow(Duration::from_millis(5))]);
    let (api, stop) = (world.api.clone(), tokio_util::sync::CancellationToken::new());
    let load = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut accepted = 0;
            while !stop.is_cancelled() {
                accepted += api.many("w", 5).await?.len();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(accepted)
        }
    });
    let old = eventually("a message of the first key", async || {
        let seen = world.broker.seen(&topic).await.map_err(|error| error.to_string())?;
        seen.into_iter().next().ok_or("none".to_owned())
    })
    .await;
    let first = std::fs::read_to_string(&ring)?;
    let second = key_entry("test-2");
    // Both are known, the new one signs.
    let both = format!("{}\n{second}", first.replace("signing = \"test-1\"", "signing = \"test-2\""));
    std::fs::write(&ring, &both)?;
    eventually("messages of the new key", async || {
        // Only what comes from now on.
        world.broker.forget(&topic).await.map_err(|error| error.to_string())?;
        let kids = signed_by(&world, &topic).await.map_err(|error| error.to_string())?;
        if kids.iter().any(|kid| kid == "test-2") {
            Ok(())
        } else {
            Err(format!("{} of the old", kids.len()))
        }
    })
    .await;
    // The old one is retired.
    std::fs::write(&ring, both.replace("kid = \"test-1\"\n", "kid = \"test-1\"\nretired = true\n"))?;
    eventually("the consumer to drop the old key", async || {
        let keys = world.sql.rows("SELECT detail->>'keys' FROM members WHERE kind = 'consumer'").await;
        match keys {
            Ok(keys) if keys.iter().all(|keys| !keys.contains("test-1")) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stop.cancel();
    assert!(load.await?? > 0);
    assert_eq!(forged(&world).await?, 0, "an old key's message was taken for forged");
    // A message of the retired key, as it may still lie in a backlog.
    world.broker.send(&topic, &old).await?;
    let metric = "bridge_messages_stale_total{reason=\"retired_key\"}";
    eventually("it to be counted as stale", async || {
        let text = world.consumer.metrics().await.map_err(|error| error.to_string())?;
        let line = text.lines().find(|line| line.starts_with(metric)).unwrap_or_default().to_owned();
        if line.ends_with(" 0") || line.is_empty() { Err(line) } else { Ok(()) }
    })
    .await;
    assert_eq!(forged(&world).await?, 0);
    world.finish().await
}

#[tokio::test]
async fn a_new_key_waits_until_every_live_consumer_knows_it() -> anyhow::Result<()> {
    let world = World::start().await?;
    let topic = world.broker.names.topic(&world.tenant(), Lane::Long);
    world.broker.witness(&topic).await?;
    // A consumer that reads another file, and has not heard of the change.
    let ring = std::fs::read_to_string(world.file("keyring.toml"))?;
    let behind = world.file("behind.toml");
    std::fs::write(&behind, &ring)?;
    let (mut second, mut environment) = world.another(bridge_tests::daemon::CONSUMER);
    environment.push(("BRIDGE_SIGNING__KEYRING_FILE", behind.display().to_string()));
    second.start_ready(&bridge_tests::world::borrowed(&environment)).await?;

    let newer = ring.replace("signing = \"test-1\"", "signing = \"test-2\"") + "\n" + &key_entry("test-2");
    std::fs::write(world.file("keyring.toml"), &newer)?;
    eventually("the publisher to have read the new ring", async || {
        let keys = world.sql.rows("SELECT detail->>'keys' FROM members WHERE kind = 'publisher'").await;
        match keys {
            Ok(keys) if keys.iter().any(|keys| keys.contains("test-2")) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    assert_eq!(signed_by(&world, &topic).await?, ["test-1"], "one consumer does not know the new key");
    std::fs::write(&behind, &newer)?;
    eventually("the new key to sign", async || {
        world.api.fire("w").await.map_err(|error| error.to_string())?;
        let kids = signed_by(&world, &topic).await.map_err(|error| error.to_string())?;
        if kids.iter().any(|kid| kid == "test-2") { Ok(()) } else { Err(format!("{kids:?}")) }
    })
    .await;
    world.settle().await?;
    second.leave().await?;
    assert_eq!(forged(&world).await?, 0);
    world.finish().await
}

#[tokio::test]
async fn the_consumer_needs_no_signing_secret() -> anyhow::Result<()> {
    let mut world = World::build()
        .set("signing.algorithm", "\"eddsa\"")
        .without_consumer()
        .without_publisher()
        .start()
        .await?;
    let (private, public) = eddsa_keyrings("ed-1");
    std::fs::write(world.file("keyring.toml"), private)?;
    let file = world.file("public.toml");
    std::fs::write(&file, &public)?;
    assert!(!public.contains("PRIVATE"));
    let file = file.display().to_string();
    world.publisher.start_ready(&[]).await?;
    world.consumer.start_ready(&[("BRIDGE_SIGNING__KEYRING_FILE", file.as_str())]).await?;
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    world.finish().await
}

#[tokio::test]
async fn webhook_secrets_overlap_while_they_rotate() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = &world.tenants[0];
    let ask = json!({ "key": "webhook", "tenant_id": tenant.id, "overlap_seconds": 3600 });
    let rotated = world.admin().post("/pulsar/keys/rotate", &ask).await?;
    let fresh = rotated.json["webhook_secret"].as_str().unwrap_or_else(|| panic!("{rotated:?}")).to_owned();
    assert_eq!(rotated.json["in_effect"], true, "{rotated:?}");
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    let fired = world.endpoint.fired_of(&id).remove(0);
    let header = |name: &str| fired.headers[name].clone();
    let signatures = header("webhook-signature");
    assert_eq!(signatures.split(' ').count(), 2, "{signatures}");
    for secret in [&fresh, &tenant.webhook_secret] {
        let secret = WebhookSecret::parse(secret)?;
        let stamp = header("webhook-timestamp").parse()?;
        let made = webhook_signature(&[secret], &header("webhook-id"), stamp, &fired.body);
        assert!(signatures.split(' ').any(|signature| signature == made), "{made} is not in {signatures}");
    }
    // A third replaces the second's predecessor at once.
    let third = json!({ "key": "webhook", "tenant_id": tenant.id, "overlap_seconds": 0 });
    world.admin().post("/pulsar/keys/rotate", &third).await?;
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    assert_eq!(world.endpoint.fired_of(&id)[0].headers["webhook-signature"].split(' ').count(), 1);
    world.finish().await
}

/// The text of a secret that a table holds sealed must not be in it.
#[tokio::test]
async fn no_secret_stands_in_the_database() -> anyhow::Result<()> {
    let world = World::start().await?;
    let plain = world.tenants[0].webhook_secret.trim_start_matches("whsec_").to_owned();
    let token = json!({ "kind": "bearer", "token": "a-token-nobody-may-read" });
    world.api.put("/pulsar/credentials/n8n", &token).await?;
    let seen = world.api.get("/pulsar/credentials/n8n").await?;
    assert!(!seen.json.to_string().contains("nobody-may-read"), "{seen:?}");
    for table in ["webhook_secrets", "webhook_credentials", "issuer_keys", "credentials", "audit_log"] {
        let rows = world.sql.rows(&format!("SELECT t::text FROM {table} t")).await?.join("\n");
        let raw = STANDARD.decode(&plain)?;
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let token_hex: String = b"nobody-may-read".iter().map(|byte| format!("{byte:02x}")).collect();
        for secret in [plain.as_str(), &hex, "nobody-may-read", &token_hex, &world.tenants[0].token] {
            assert!(!rows.contains(secret), "{table} holds {secret}");
        }
    }
    world.finish().await
}
