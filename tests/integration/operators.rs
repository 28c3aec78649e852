//! A tenant's life as its operator types it: every command on a real bridge, each with what it says and its exit code.

use std::os::unix::fs::PermissionsExt;

use bridge_tests::parts::output;
use bridge_tests::{Api, World, eventually};
use http::StatusCode;
use serde_json::{Value, json};

use crate::provisioning::{Operator, said};

const NOT_FOUND: i32 = 3;

impl Operator<'_> {
    /// What a command says that must succeed.
    async fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.run(arguments).await?;
        anyhow::ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
        Ok(said(&output))
    }

    async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.run(&[arguments, &["--json"]].concat()).await?;
        anyhow::ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// What a command says that must not succeed, and its exit code.
    async fn refused(&self, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
        let output = self.run(arguments).await?;
        anyhow::ensure!(!output.status.success(), "{arguments:?}: {}", said(&output));
        Ok((output.status.code().unwrap_or(-1), said(&output)))
    }
}

async fn status(api: &Api) -> anyhow::Result<StatusCode> {
    let body = json!({ "workflow_id": "w", "payload": {} });
    Ok(api.call(http::Method::POST, "/pulsar/publish", Some(&body)).await?.status)
}

fn text(json: &Value, field: &str) -> String {
    json[field].as_str().unwrap_or_else(|| panic!("no {field} in {json}")).to_owned()
}

#[tokio::test]
async fn a_tenants_life_from_the_command_line() -> anyhow::Result<()> {
    let world = World::build().set("encryption.payloads", "true").start().await?;
    let operator = Operator { world: &world };
    world.admin().post("/pulsar/keys/rotate", &json!({ "key": "issuer" })).await?;
    let tenant = bridge_tests::unique("life");
    operator.ok(&["tenant", "create", &tenant, "--rate", "50", "--burst", "100"]).await?;
    let shown = operator.ok(&["tenant", "show", &tenant]).await?;
    assert!(shown.contains("active") && shown.contains("50 requests/s (burst 100)"), "{shown}");
    assert!(operator.ok(&["tenant", "list"]).await?.contains(&tenant));

    let create =
        ["client", "create", "ops", "--tenant", &tenant, "--kind", "api-key", "--scopes", "publish,read"];
    let made = operator.json(&create).await?;
    let (client, first) = (text(&made, "client_id"), text(&made, "api_key"));
    let first = world.api.of_tenant(&tenant, &first);
    assert_eq!(status(&first).await?, StatusCode::ACCEPTED, "in effect, it was said: {made}");
    let listed = operator.ok(&["client", "list", "--tenant", &tenant]).await?;
    assert!(listed.contains(&client) && listed.contains("publish read"), "{listed}");
    let rotated = operator.json(&["client", "rotate", &client, "--overlap", "1h"]).await?;
    let second = world.api.of_tenant(&tenant, &text(&rotated, "api_key"));
    for api in [&first, &second] {
        assert_eq!(status(api).await?, StatusCode::ACCEPTED, "both are good for an hour");
    }
    let revoked = operator.ok(&["client", "revoke", &client]).await?;
    assert!(revoked.contains("is revoked; in force on every daemon"), "{revoked}");
    for api in [&first, &second] {
        assert_eq!(status(api).await?, StatusCode::UNAUTHORIZED);
    }
    assert!(operator.ok(&["client", "revoke", &client]).await?.contains("already revoked"));
    assert!(operator.ok(&["client", "list", "--tenant", &tenant]).await?.contains("revoked "));
    assert_eq!(operator.refused(&["client", "revoke", "npb_nobody000000"]).await?.0, NOT_FOUND);

    assert!(operator.ok(&["key", "rotate", "webhook", "--tenant", &tenant]).await?.contains("whsec_"));
    let data = operator.ok(&["key", "rotate", "data", "--tenant", &tenant]).await?;
    assert!(data.contains("new data key"), "{data}");

    let suspended = operator.ok(&["tenant", "suspend", &tenant]).await?;
    assert!(suspended.contains("is suspended; in force"), "{suspended}");
    assert!(operator.ok(&["tenant", "suspend", &tenant]).await?.contains("already suspended"));
    assert_eq!(operator.refused(&["tenant", "suspend", "nobody-of-that-name"]).await?.0, NOT_FOUND);
    operator.refused(&["key", "destroy", "data", "--tenant", &tenant, "--confirm", "another"]).await?;
    // Refused as long as something may still be written with it.
    let destroy = ["key", "destroy", "data", "--tenant", &tenant, "--confirm", &tenant];
    let destroyed = eventually("the data keys to be destroyed", async || {
        operator.ok(&destroy).await.map_err(|error| error.to_string())
    })
    .await;
    assert!(destroyed.contains("for ever"), "{destroyed}");
    operator.ok(&["tenant", "resume", &tenant]).await?;

    operator.refused(&["tenant", "delete", &tenant, "--confirm", "another"]).await?;
    let file = world.file("export.ndjson");
    let path = file.display().to_string();
    let gone = ["tenant", "delete", &tenant, "--confirm", &tenant, "--export", &path, "--abandon"];
    let gone = operator.ok(&gone).await?;
    assert!(gone.contains(&format!("tenant {tenant} is removed")), "{gone}");
    assert!(std::fs::read_to_string(&file)?.lines().count() >= 3, "its executions are exported");
    assert_eq!(operator.refused(&["tenant", "show", &tenant]).await?.0, NOT_FOUND);
    assert!(!world.broker.admin.tenants().await?.contains(&tenant), "at the broker too");

    // What the record says of it stays.
    let listed = operator.ok(&["audit", "list", "--tenant", &tenant, "--limit", "200"]).await?;
    let file = world.file("audit.ndjson");
    let path = file.display().to_string();
    let exported = operator.ok(&["audit", "export", "--tenant", &tenant, "--out", &path]).await?;
    assert!(exported.contains("acts are in"), "{exported}");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let acts: Vec<Value> =
        std::fs::read_to_string(&file)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for action in [
        "tenant.create",
        "client.create",
        "client.rotate",
        "client.revoke",
        "key.rotate",
        "tenant.suspend",
        "key.destroy",
        "tenant.resume",
        "tenant.delete",
        "tenant.removed",
    ] {
        assert!(listed.contains(action), "{action} is not in:\n{listed}");
        assert!(acts.iter().any(|act| act["action"] == action), "{action} is not in {acts:?}");
    }
    world.leave().await
}

#[tokio::test]
async fn what_changes_a_file_or_one_execution_is_in_the_record_too() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let operator = Operator { world: &world };
    let (mut second, environment) = world.another(bridge_tests::daemon::PUBLISHER);
    second.start_ready(&bridge_tests::world::borrowed(&environment)).await?;
    let ring = world.file("keyring.toml").display().to_string();
    let lines = async |expected: usize| {
        eventually(&format!("{expected} changes of the keyring to be written down"), async || {
            let query = "/pulsar/audit?action=keyring.change";
            let answer = world.admin().get(query).await.map_err(|error| error.to_string())?;
            let entries = answer.json["entries"].as_array().cloned().unwrap_or_default();
            if entries.len() == expected { Ok(entries) } else { Err(format!("{entries:?}")) }
        })
        .await
    };
    let rotated = operator.json(&["key", "rotate", "signing", "--keyring", &ring]).await?;
    let new = text(&rotated, "kid");
    let entry = lines(1).await.remove(0);
    assert_eq!((&entry["before"]["signing"], &entry["after"]["signing"]), (&json!("test-1"), &json!(new)));
    operator.ok(&["key", "rotate", "signing", "--keyring", &ring, "--retire", "test-1"]).await?;
    // Two publishers took it over, and one line each is there.
    let retired = lines(2).await.remove(1);
    assert_eq!(retired["after"]["keys"], json!([new]), "{retired}");

    let later =
        world.api.accepted(json!({ "workflow_id": "w", "payload": {}, "delay_seconds": 600 })).await?;
    world.api.expect(&later, "cancelled");
    let cancel = format!("/pulsar/executions/{later}/cancel");
    world.api.call(http::Method::POST, &cancel, Some(&json!({ "reason": "a test" }))).await?;
    let audit = world.admin().get("/pulsar/audit?action=execution.cancel").await?;
    let entry = &audit.json["entries"][0];
    assert_eq!((&entry["target"], &entry["after"]["reason"]), (&json!(later), &json!("a test")), "{audit:?}");
    assert_eq!(entry["tenant_id"], world.tenants[0].id.as_str());

    // A credential that two tenants share stands in both their records.
    let both = [&world.tenants[0].id, &world.tenants[1].id];
    let made = json!({ "name": "both", "kind": "api_key", "tenants": both, "scopes": ["read"] });
    let made = world.admin().post("/pulsar/clients", &made).await?;
    for tenant in both {
        let query = format!("/pulsar/audit?action=client.create&tenant_id={tenant}");
        let audit = world.admin().get(&query).await?;
        let entries = audit.json["entries"].as_array().unwrap();
        assert!(entries.iter().any(|entry| entry["target"] == made.json["client_id"]), "{tenant}: {audit:?}");
    }
    second.leave().await?;
    world.finish().await
}

#[tokio::test]
async fn the_auth_script_makes_the_roles_tokens_once() -> anyhow::Result<()> {
    let world = World::build().without_consumer().start().await?;
    let operator = Operator { world: &world };
    let (key, out) = (world.pulsar.secret_key.display().to_string(), world.file("tokens"));
    let directory = out.display().to_string();
    let arguments = ["--tenant", &world.tenants[0].id, "--key", &key, "--out", &directory];
    let first = operator.script("setup-pulsar-auth.sh", &arguments).await?;
    assert!(first.status.success(), "{}", said(&first));
    let tokens = || -> anyhow::Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&out)? {
            let path = entry?.path();
            assert_eq!(path.metadata()?.permissions().mode() & 0o077, 0, "{path:?} is for its owner only");
            found.push((path.display().to_string(), std::fs::read_to_string(&path)?));
        }
        found.sort();
        Ok(found)
    };
    let made = tokens()?;
    assert_eq!(made.len(), 3, "publisher, consumer and the tenant: {made:?}");
    let again = operator.script("setup-pulsar-auth.sh", &arguments).await?;
    assert!(again.status.success() && said(&again).contains("nothing to change"), "{}", said(&again));
    assert_eq!(tokens()?, made, "a token that is good is kept");
    let mut nowhere =
        operator.command(bridge_tests::parts::repository().join("scripts/setup-pulsar-auth.sh"));
    nowhere.args(["--out", &directory]);
    let nowhere = output(nowhere).await?;
    assert!(!nowhere.status.success() && said(&nowhere).contains("--key"), "{}", said(&nowhere));

    // What it made is what the broker takes.
    let mut world = world;
    let token = out.join("bridge-consumer.token").display().to_string();
    world.consumer.start_ready(&[("PULSAR_AUTH_TOKEN_FILE", &token)]).await?;
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    world.finish().await
}
