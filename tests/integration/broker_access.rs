//! The daemons at a broker that asks who they are.

use std::time::Duration;

use bridge_bus::roles::{SigningKeyFile, mint};
use bridge_tests::parts::{Pulsar, shared};
use bridge_tests::world::borrowed;
use bridge_tests::{World, eventually};
use chrono::Utc;

/// A token of a role for some seconds, written where a daemon reads it.
fn write_token(pulsar: &Pulsar, file: &std::path::Path, role: &str, seconds: u64) -> anyhow::Result<()> {
    let key = SigningKeyFile::read(&pulsar.secret_key)?;
    let token = mint(role, &key, Some(Duration::from_secs(seconds)), Utc::now())?;
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, token)?;
    Ok(std::fs::rename(fresh, file)?)
}

#[tokio::test]
async fn a_consumer_with_the_publishers_role_gets_nothing_says_so_and_recovers() -> anyhow::Result<()> {
    let mut world = World::build().without_consumer().start().await?;
    let file = world.file("consumer.token");
    std::fs::copy(&world.pulsar.publisher_token, &file)?;
    let token = file.display().to_string();
    world.consumer.start(&[("PULSAR_AUTH_TOKEN_FILE", &token)])?;
    let id = world.api.fire("w").await?;
    let url = format!("{}/health/ready", world.consumer.url());
    eventually("readiness to name the refusal", async || {
        let answer = bridge_tests::http_client().get(&url).send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let told = text.contains("permission") || text.contains("authoriz") || text.contains("refused");
        if status == 503 && told { Ok(()) } else { Err(format!("{status} {text}")) }
    })
    .await;
    assert!(world.endpoint.fired_of(&id).is_empty());
    std::fs::copy(&world.pulsar.consumer_token, &file)?;
    world.consumer.ready().await;
    world.api.until(&id, "succeeded").await;
    world.finish().await
}

#[tokio::test]
async fn tokens_that_expire_are_renewed_without_losing_a_message() -> anyhow::Result<()> {
    let mut world = World::build().without_consumer().start().await?;
    let (publisher, consumer) = (world.file("publisher.token"), world.file("consumer.token"));
    let renew = {
        let (pulsar, publisher, consumer) = (world.pulsar.clone(), publisher.clone(), consumer.clone());
        move || {
            write_token(&pulsar, &publisher, "bridge-publisher", 4)?;
            write_token(&pulsar, &consumer, "bridge-consumer", 4)
        }
    };
    // Each is renewed in its middle, however long the daemons take to start.
    let renewing = tokio::spawn(async move {
        while renew().is_ok() {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    world.publisher.leave().await?;
    let paths = [publisher.display().to_string(), consumer.display().to_string()];
    world.publisher.start_ready(&[("PULSAR_AUTH_TOKEN_FILE", &paths[0])]).await?;
    world.consumer.start_ready(&[("PULSAR_AUTH_TOKEN_FILE", &paths[1])]).await?;
    let mut ids = Vec::new();
    // Three lifetimes of a token.
    for _ in 0..6 {
        ids.extend(world.api.many("w", 20).await?);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    for id in &ids {
        world.api.until(id, "succeeded").await;
    }
    assert_eq!(ids.len(), 120);
    assert!(!renewing.is_finished(), "a token could not be written");
    renewing.abort();
    world.finish().await
}

/// The issuer gives both tokens of four seconds; the broker closes each connection whose token has ended.
#[tokio::test]
async fn oauth_tokens_that_expire_are_fetched_anew_without_losing_a_message() -> anyhow::Result<()> {
    let mut world = World::build().without_consumer().start().await?;
    let login = |client: &str| -> Vec<(&'static str, String)> {
        vec![
            // In place of the harness's own login.
            ("PULSAR_AUTH_TOKEN_FILE", String::new()),
            ("PULSAR_OAUTH2_ISSUER_URL", shared("BRIDGE_TEST_OIDC_ISSUER")),
            ("PULSAR_OAUTH2_AUDIENCE", shared("BRIDGE_TEST_OIDC_PULSAR_AUDIENCE")),
            ("PULSAR_OAUTH2_SCOPE", "pulsar".to_owned()),
            ("PULSAR_OAUTH2_CLIENT_ID", shared(client)),
            ("PULSAR_OAUTH2_CLIENT_SECRET_FILE", shared("BRIDGE_TEST_OIDC_CLIENT_SECRET_FILE")),
        ]
    };
    world.publisher.leave().await?;
    let publisher = login("BRIDGE_TEST_OIDC_PULSAR_SHORT_PUBLISHER_CLIENT_ID");
    world.publisher.start_ready(&borrowed(&publisher)).await?;
    let consumer = login("BRIDGE_TEST_OIDC_PULSAR_SHORT_CONSUMER_CLIENT_ID");
    world.consumer.start_ready(&borrowed(&consumer)).await?;
    let mut ids = Vec::new();
    // Three lifetimes of a token.
    for _ in 0..6 {
        ids.extend(world.api.many("w", 20).await?);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    for id in &ids {
        world.api.until(id, "succeeded").await;
    }
    assert_eq!(ids.len(), 120);
    world.finish().await
}

#[tokio::test]
async fn the_whole_path_over_tls_with_an_own_authority() -> anyhow::Result<()> {
    let pulsar = Pulsar::shared();
    let world = World::build()
        .set("pulsar.service_url", &format!("{:?}", pulsar.tls_url))
        .set("pulsar.http_url", &format!("{:?}", pulsar.https_url))
        .set("pulsar.tls_ca_file", &format!("{:?}", pulsar.ca.display().to_string()))
        .start()
        .await?;
    for id in world.api.many("w", 20).await? {
        world.api.until(&id, "succeeded").await;
    }
    world.finish().await
}
