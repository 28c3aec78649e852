//! A real n8n on both ends: its HTTP Request node publishes with its OAuth 2 credential, its Webhook nodes receive.
//! Installing it takes minutes, so these run where scripts/test was asked for it (`--n8n`, and always in CI).

use std::path::Path;

use bridge_tests::jaeger::{Jaeger, Span, Trace};
use bridge_tests::parts::shared;
use bridge_tests::{Part, World};
use serde_json::{Value, json};

use crate::access_matrix::service_account;

const HEADER: &str = "a-value-that-only-the-bridge-sends";
const JWT_SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";

/// What n8n imports, with this world's addresses and secrets.
fn filled(from: &Path, to: &Path, values: &[(&str, &str)]) -> anyhow::Result<()> {
    for kind in ["workflows", "credentials"] {
        std::fs::create_dir_all(to.join(kind))?;
        for entry in std::fs::read_dir(from.join(kind))? {
            let entry = entry?;
            let mut text = std::fs::read_to_string(entry.path())?;
            for (name, value) in values {
                text = text.replace(name, value);
            }
            std::fs::write(to.join(kind).join(entry.file_name()), text)?;
        }
    }
    Ok(())
}

async fn credential(world: &World, name: &str, body: Value) -> anyhow::Result<()> {
    let put = world.api.put(&format!("/pulsar/credentials/{name}"), &body).await?;
    anyhow::ensure!(put.status.is_success(), "{put:?}");
    Ok(())
}

#[tokio::test]
async fn n8n_publishes_by_oauth2_and_its_webhooks_run() -> anyhow::Result<()> {
    if std::env::var("BRIDGE_TEST_N8N").is_err() {
        eprintln!("skipped: no n8n here (./scripts/test --n8n)");
        return Ok(());
    }
    let jaeger = Jaeger::shared();
    let mut world = World::build()
        .traced()
        .without_consumer()
        .route("receiver-header", "credential = \"n8n-header\"")
        .route("receiver-jwt", "credential = \"n8n-jwt\"")
        .start()
        .await?;
    let rotated = world.admin().post("/pulsar/keys/rotate", &json!({ "key": "issuer" })).await?;
    anyhow::ensure!(rotated.status.is_success(), "{rotated:?}");
    let (client, secret) = service_account(&world, &world.tenant(), "publish").await?;
    credential(&world, "n8n-header", json!({ "kind": "header", "name": "x-bridge-key", "value": HEADER }))
        .await?;
    credential(&world, "n8n-jwt", json!({ "kind": "jwt", "secret": JWT_SECRET })).await?;

    let import = world.file("n8n");
    let url = world.publisher.url();
    let values = [
        ("__BRIDGE_URL__", url.as_str()),
        ("__CLIENT_ID__", &client),
        ("__CLIENT_SECRET__", &secret),
        ("__HEADER_VALUE__", HEADER),
        ("__JWT_SECRET__", JWT_SECRET),
    ];
    filled(&bridge_tests::parts::repository().join("tests/n8n"), &import, &values)?;
    // What the documentation tells people to import.
    let example = bridge_tests::parts::repository().join("docs/examples/n8n/callback.json");
    std::fs::copy(example, import.join("workflows/callback.json"))?;
    let n8n = Part::n8n(&import, &shared("BRIDGE_TEST_OTEL_COLLECTOR_HTTP")).await?;
    let n8n_url = n8n.value("N8N_URL")?;
    let webhooks = format!("{n8n_url}/webhook/{{workflow_id}}");
    world.consumer.start_ready(&[("FASTAPI_BRIDGE_WEBHOOK_URL", &webhooks)]).await?;

    let http = bridge_tests::http_client();
    for receiver in ["receiver", "receiver-header", "receiver-jwt"] {
        let asked = json!({ "workflow_id": receiver, "payload": { "lead": receiver } });
        let answer = http
            .post(format!("{n8n_url}/webhook/caller"))
            .header("content-type", "application/json")
            .body(asked.to_string())
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "the caller's workflow: {status} {text}");
        let published: Value = serde_json::from_str(&text)?;
        let published = published.as_array().and_then(|items| items.first()).unwrap_or(&published);
        let id = published["execution_id"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned();
        let seen = world.api.until(&id, "succeeded").await;
        let kept = format!("SELECT convert_from(body, 'UTF8') FROM results WHERE id = '{id}'");
        let result: Value = serde_json::from_str(&world.sql.one(&kept).await?)?;
        let received = result.get("received").or_else(|| result[0].get("received")).unwrap_or(&Value::Null);
        assert_eq!(received["execution_id"], id, "{receiver}: {result}");
        assert_eq!(received["payload"]["lead"], receiver, "{result}");
        assert_eq!(received["tenant_id"], world.tenants[0].id);
        assert!(seen["n8n_execution_id"].is_string(), "{seen}");
        assert_eq!(seen["n8n_execution_id"], result["executionId"], "{seen}");
        // From n8n through the bridge into n8n: its run hangs below our request, in the caller's trace.
        let runs =
            |trace: &Trace| -> Vec<Span> { trace.all("workflow.execute").into_iter().cloned().collect() };
        let below = |trace: &Trace| {
            let client =
                trace.all("POST 127.0.0.1").into_iter().find(|span| span.service == "bridge-consumer")?;
            runs(trace).into_iter().find(|run| run.parent.as_ref() == Some(&client.id))
        };
        let found = jaeger.of(&id, |found| found.len() == 1 && below(&found[0]).is_some()).await;
        let run = below(&found[0]).unwrap();
        assert_ne!(run.service, "bridge-consumer", "{run:#?}");
        let server = found[0].one("POST /pulsar/publish");
        assert!(server.parent.is_some(), "the caller's workflow is above: {server:#?}");
    }
    reports_at_its_end(&world).await?;
    world.leave().await
}

/// The example's workflow answers at once, works, and reports.
async fn reports_at_its_end(world: &World) -> anyhow::Result<()> {
    let asked = json!({ "workflow_id": "callback", "payload": { "lead": 42 }, "completion": "callback" });
    let id = world.api.accepted(asked).await?;
    let seen = world.api.until(&id, "succeeded").await;
    assert_eq!(seen["evidence"], "callback", "{seen}");
    let result = world.api.get(&format!("/pulsar/executions/{id}/result")).await?;
    assert_eq!(result.json["result"], json!({ "got": { "lead": 42 } }), "{result:?}");
    assert!(seen["n8n_execution_id"].as_str().is_some_and(|id| id.parse::<u64>().is_ok()), "{seen}");
    Ok(())
}
