//! A daemon that would let everybody in, or nobody, says so and does not start.

use std::process::Command;
use std::time::Duration;

use bridge_tests::World;
use bridge_tests::daemon::{PUBLISHER, binary};
use bridge_tests::parts::output;
use serde_json::json;

/// Runs a publisher of this world to its end.
async fn refused(
    world: &World,
    environment: &[(&str, &str)],
    flags: &[&str],
) -> anyhow::Result<(i32, String)> {
    let mut command = Command::new("timeout");
    command.arg("20").arg(binary(PUBLISHER)).arg("--config").arg(world.file("bridge.toml")).args(flags);
    command
        .env_clear()
        .env("PATH", std::env::var("PATH")?)
        .env("PULSAR_AUTH_TOKEN_FILE", &world.pulsar.publisher_token)
        .envs(environment.iter().copied());
    let ended = output(command).await?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    Ok((ended.status.code().unwrap_or(-1), said))
}

#[tokio::test]
async fn without_a_way_to_log_in_the_publisher_does_not_start() -> anyhow::Result<()> {
    let mut world = World::build().without_publisher().start().await?;
    world.sql.rows("UPDATE credentials SET revoked_at = now()").await?;
    let (code, said) = refused(&world, &[], &[]).await?;
    assert!(code != 0 && code != 124, "{code}: {said}");
    assert!(said.contains("bridgectl admin bootstrap"), "{said}");

    let open = [("BRIDGE_PUBLISHER__BIND", "0.0.0.0:0")];
    let (code, said) = refused(&world, &open, &["--insecure-dev"]).await?;
    assert!(code != 0 && code != 124 && said.contains("loopback"), "{code}: {said}");

    let issuers = json!([{ "issuer": "http://issuer.example.com", "audience": "bridge" }]).to_string();
    let (code, said) = refused(&world, &[("BRIDGE_AUTH__ISSUERS", &issuers)], &[]).await?;
    assert!(code == 64 && said.contains("https"), "an issuer in clear: {code}: {said}");

    let (code, said) =
        refused(&world, &[("BRIDGE_ENCRYPTION__MASTER_KEYS_FILE", "/nowhere/keys")], &[]).await?;
    assert!(code == 64 && said.contains("master_keys"), "{code}: {said}");

    world.publisher.start_with(&[], &["--insecure-dev"])?;
    world.publisher.ready().await;
    let anybody = world.api.call_as(&[], http::Method::GET, "/pulsar/executions", None).await?;
    assert_eq!(anybody.status, 200, "{anybody:?}");
    // A page in the developer's browser says where it comes from, or names what led it here.
    for (header, value) in [("origin", "http://127.0.0.1"), ("origin", "null"), ("host", "evil.example")] {
        let headers = [(header, value.to_owned())];
        let page = world.api.call_as(&headers, http::Method::GET, "/pulsar/executions", None).await?;
        assert_eq!(page.status, 403, "{header}: {value}: {page:?}");
    }
    assert!(world.publisher.log().contains("insecure-dev"), "it warns");
    world.publisher.ask_to_leave()?;
    world.publisher.left(Duration::from_secs(20)).await;
    world.finish().await
}

#[tokio::test]
async fn tenants_in_the_configuration_file_are_told_where_they_live_now() -> anyhow::Result<()> {
    let world = World::build().without_publisher().start().await?;
    let file = world.file("bridge.toml");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, format!("{text}\n[[tenants]]\nid = \"acme\"\n"))?;
    let (code, said) = refused(&world, &[], &[]).await?;
    assert!(code == 64 && said.contains("bridgectl tenant create"), "{code}: {said}");
    std::fs::write(&file, text)?;
    world.finish().await
}
