//! The operator's commands, as a person types them.

use std::process::{Command, Output};

use bridge_tests::daemon::binary;
use bridge_tests::parts::{output, repository};
use bridge_tests::{World, eventually};
use serde_json::Value;

pub struct Operator<'a> {
    pub world: &'a World,
}

impl Operator<'_> {
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let bin = binary("bridgectl");
        command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME")))
            .env("BRIDGECTL", bin)
            .env("BRIDGE_CONFIG", self.world.file("bridge.toml"))
            .env("BRIDGE_URL", self.world.publisher.url())
            .env("BRIDGE_TOKEN", &self.world.admin_token)
            .env("BRIDGE_PULSAR__ADMIN_TOKEN_FILE", &self.world.pulsar.admin_token);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.command(binary("bridgectl"));
        command.args(arguments);
        output(command).await
    }

    pub async fn script(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.command(repository().join("scripts").join(name));
        command.args(arguments);
        output(command).await
    }
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn one_command_makes_a_tenant_that_n8n_can_log_in_as_and_the_second_changes_nothing()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let operator = Operator { world: &world };
    let tenant = bridge_tests::unique("acme");
    // What `bridgectl admin bootstrap` leaves behind.
    world.admin().post("/pulsar/keys/rotate", &serde_json::json!({ "key": "issuer" })).await?;
    let first = operator.script("setup-pulsar-topics.sh", &["--tenant", &tenant]).await?;
    let text = said(&first);
    assert!(first.status.success(), "{text}");
    for part in ["Access Token URL", "Client ID", "Client Secret", "nps_", "whsec_"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let second = operator.script("setup-pulsar-topics.sh", &["--tenant", &tenant]).await?;
    let again = said(&second);
    assert!(second.status.success() && again.contains("nothing to change"), "{again}");
    assert!(!again.contains("nps_") && !again.contains("whsec_"), "a secret is shown once:\n{again}");
    let dry = bridge_tests::unique("dry");
    let dry_run = operator.script("setup-pulsar-topics.sh", &["--tenant", &dry, "--dry-run"]).await?;
    assert!(dry_run.status.success(), "{}", said(&dry_run));
    assert!(!world.broker.admin.tenants().await?.contains(&dry), "a dry run made a tenant");

    // What was pasted works.
    let field = |name: &str| {
        let line =
            text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().last().unwrap().to_owned()
    };
    let (client, secret) = (field("Client ID"), field("Client Secret"));
    let token = eventually("the new client to be known", async || {
        let answer = world.api.login(&client, &secret, "publish").await.map_err(|error| error.to_string())?;
        answer.json["access_token"].as_str().map(str::to_owned).ok_or(answer.json.to_string())
    })
    .await;
    let api = world.api.of_tenant(&tenant, &token);
    let answer = api
        .call(
            http::Method::POST,
            "/pulsar/publish",
            Some(&serde_json::json!({ "workflow_id": "w", "payload": {} })),
        )
        .await?;
    assert_eq!(answer.status, 202, "{answer:?}");
    world.endpoint.wait_for_execution(&answer.id(), 1).await;
    world.finish().await
}

#[tokio::test]
async fn many_tenants_from_a_file_and_a_second_run_completes_an_interrupted_one() -> anyhow::Result<()> {
    let world = World::start().await?;
    let operator = Operator { world: &world };
    let prefix = bridge_tests::unique("many");
    let file = world.file("tenants.yml");
    let entries: String = (0..20).map(|n| format!("  - id: {prefix}-{n}\n")).collect();
    std::fs::write(&file, format!("tenants:\n{entries}"))?;
    let file = file.display().to_string();
    // Interrupted in its midst.
    let mut half = operator.command(binary("bridgectl"));
    half.args(["tenant", "apply", "-f", &file])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut child = half.spawn()?;
    eventually("the first tenants to be there", async || {
        let count = world.sql.count(&format!("tenants WHERE id LIKE '{prefix}-%'")).await;
        match count {
            Ok(count) if count >= 3 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    child.kill()?;
    child.wait()?;
    let second = operator.run(&["tenant", "apply", "-f", &file]).await?;
    assert!(second.status.success(), "{}", said(&second));
    // It is no terminal: how far it is stands on lines of their own, beside the answer.
    let progress = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(progress.contains("0 of 20 tenants") && !progress.contains('\r'), "{progress}");
    let tenants = world.broker.admin.tenants().await?;
    for n in 0..20 {
        assert!(tenants.contains(&format!("{prefix}-{n}")), "{prefix}-{n} is not at the broker");
    }
    let topics = world.broker.admin.topics(&format!("{prefix}-7/workflows")).await?;
    assert_eq!(topics.len(), 8, "{topics:?}");
    let third = operator.run(&["tenant", "apply", "-f", &file]).await?;
    assert!(said(&third).contains("nothing to change"), "{}", said(&third));
    world.finish().await
}

#[tokio::test]
async fn a_broker_that_refuses_is_quoted() -> anyhow::Result<()> {
    let world = World::start().await?;
    let operator = Operator { world: &world };
    let mut command = operator.command(binary("bridgectl"));
    command.env("BRIDGE_PULSAR__ADMIN_TOKEN_FILE", &world.pulsar.consumer_token);
    command.args(["tenant", "create", &bridge_tests::unique("refused")]);
    let refused = output(command).await?;
    let text = said(&refused);
    assert!(!refused.status.success(), "{text}");
    assert!(text.contains("401") || text.contains("403"), "{text}");
    assert!(
        text.contains("admin/v2") && text.contains("PULSAR_ADMIN_TOKEN_FILE"),
        "the call and the remedy: {text}"
    );
    world.finish().await
}

#[tokio::test]
async fn the_first_administrator_is_made_once() -> anyhow::Result<()> {
    let world = World::start().await?;
    let operator = Operator { world: &world };
    world.sql.rows("UPDATE credentials SET revoked_at = now() WHERE scopes & 64 <> 0").await?;
    let made = operator.run(&["admin", "bootstrap", "--json"]).await?;
    assert!(made.status.success(), "{}", said(&made));
    let json: Value = serde_json::from_slice(&made.stdout)?;
    let key = json["api_key"].as_str().unwrap_or_else(|| panic!("{json}")).to_owned();
    let admin = world.api.with_token(&key);
    eventually("the administrator to be known", async || {
        let answer = admin.get("/pulsar/tenants").await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let again = operator.run(&["admin", "bootstrap"]).await?;
    assert!(again.status.success() && !said(&again).contains("npb_"), "{}", said(&again));
    world.finish().await
}
