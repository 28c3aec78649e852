//! What the daemons write: each step of an execution in one line that can be found, and never what is secret.

use std::collections::BTreeMap;

use bridge_protocol::Scopes;
use bridge_tests::endpoint::Reply;
use bridge_tests::jaeger::{Jaeger, Trace};
use bridge_tests::secrets::{MARK, found};
use bridge_tests::settings::{QUICK_RETRY, Tenant};
use bridge_tests::{World, eventually};
use http::StatusCode;
use serde_json::{Value, json};

use super::access_matrix::service_account;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn lines(world: &World) -> Vec<Value> {
    let logs = world.publisher.log() + &world.consumer.log();
    logs.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn each_step_of_an_execution_is_one_line_with_the_same_fields() -> anyhow::Result<()> {
    let world = World::build()
        .route("flaky", QUICK_RETRY)
        .set("telemetry.log_level", "\"info,bridge_steps=debug\"")
        .start()
        .await?;
    world.endpoint.script("flaky", [Reply::Status(500), Reply::Status(200)]);
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let body = json!({ "workflow_id": "flaky", "lane": "ai", "payload": {} }).to_string();
    let id = world.api.post_text("/pulsar/publish", &body, &headers).await?.id();
    let decided = world.api.until(&id, "succeeded").await["route"].clone();
    assert_eq!(decided["decided_by"], "request", "{decided}");
    let steps = eventually("the last step to be written", async || {
        let of_it = lines(&world).into_iter().filter(|line| line["execution_id"] == id.as_str());
        let steps: Vec<Value> = of_it.filter(|line| line["target"] == "bridge_steps").collect();
        if steps.iter().any(|line| line["step"] == "ended") { Ok(steps) } else { Err(format!("{steps:?}")) }
    })
    .await;
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &steps {
        let step = line["step"].as_str().unwrap_or_default();
        *count.entry(step).or_default() += 1;
        assert_eq!(
            (&line["tenant_id"], &line["workflow_id"], &line["lane"], &line["trace_id"]),
            (&json!(world.tenants[0].id), &json!("flaky"), &json!("ai"), &json!(TRACE)),
            "{line}"
        );
        if step == "accepted" {
            assert_eq!(
                (line["mode"].as_str(), line["decided_by"].as_str(), line["decided_because"].as_str()),
                (Some("pulsar"), Some("request"), decided["reason"].as_str()),
                "{line}"
            );
            assert_eq!(line["completion"], "response", "{line}");
        } else {
            assert!(line["message_id"].is_string() && line["attempt"].is_u64(), "{line}");
        }
    }
    assert_eq!(count, BTreeMap::from([("accepted", 1), ("published", 2), ("retrying", 1), ("ended", 1)]));
    world.finish().await
}

#[tokio::test]
async fn the_level_changes_while_the_daemon_runs() -> anyhow::Result<()> {
    let world = World::build().set("telemetry.step_log", "\"problems\"").start().await?;
    let said = |id: &str, step: &str| {
        lines(&world).iter().any(|line| line["execution_id"] == id && line["step"] == step)
    };
    let changed = async |times: usize| {
        eventually("the level to be changed", async || {
            let log = world.publisher.log();
            let found = log.matches("the log's level was changed").count();
            if found >= times { Ok(()) } else { Err(format!("{found} times")) }
        })
        .await;
    };
    let quiet = world.api.fire("w").await?;
    world.publisher.signal("USR1")?;
    changed(1).await;
    let loud = world.api.fire("w").await?;
    eventually("a debug line", async || if said(&loud, "published") { Ok(()) } else { Err("not yet") }).await;
    world.publisher.signal("USR1")?;
    changed(2).await;
    let silent = world.api.fire("w").await?;

    let file = world.file("bridge.toml");
    let text = std::fs::read_to_string(&file)?.replace("\"problems\"", "\"all\"");
    std::fs::write(&file, text)?;
    world.publisher.signal("HUP")?;
    changed(3).await;
    let shown = world.api.fire("w").await?;
    eventually("a step", async || if said(&shown, "accepted") { Ok(()) } else { Err("not yet") }).await;
    assert!(said(&loud, "accepted") && !said(&quiet, "accepted") && !said(&silent, "accepted"));

    // What cannot be read changes nothing.
    std::fs::write(&file, "telemetry.log_level = 7\n")?;
    world.publisher.signal("HUP")?;
    changed(4).await;
    let still = world.api.fire("w").await?;
    eventually("a step", async || if said(&still, "accepted") { Ok(()) } else { Err("not yet") }).await;
    world.finish().await
}

/// Everything that is secret is planted with a mark, much is done that goes well and badly, and both daemons write all
/// that they ever could. No mark may be found.
#[tokio::test]
async fn no_secret_and_no_payload_is_ever_written() -> anyhow::Result<()> {
    let payload = format!("{MARK}-payload");
    let everything = "\"debug,bridge=trace\"";
    let world = World::build()
        .also(Tenant::new())
        .route("flaky", QUICK_RETRY)
        .route("broken", QUICK_RETRY)
        .route("unreadable", QUICK_RETRY)
        .set("telemetry.log_level", everything)
        .set("encryption.payloads", "true")
        .traced()
        .start()
        .await?;
    world.endpoint.script("flaky", [Reply::Status(503), Reply::Reset, Reply::Status(200)]);
    world.endpoint.script(
        "broken",
        [Reply::Body { status: 400, content_type: "text/plain", body: "pLaNtEdMaRk-answer" }],
    );
    world.endpoint.script(
        "good",
        [Reply::Body {
            status: 200,
            content_type: "application/json",
            body: "{\"a\":\"pLaNtEdMaRk-result\"}",
        }],
    );

    // Credentials of every kind, good and bad.
    let scopes = Scopes::ALL_OF_TENANT.to_string();
    let (client, client_secret) = service_account(&world, &world.tenant(), &scopes).await?;
    world.admin().post("/pulsar/keys/rotate", &json!({ "key": "issuer" })).await?;
    let issued = world.api.login(&client, &client_secret, &scopes).await?;
    assert_eq!(issued.status, StatusCode::OK, "{issued:?}");
    let token = issued.json["access_token"].as_str().unwrap_or_default().to_owned();
    world.api.login(&client, &format!("{MARK}-wrong-secret"), &scopes).await?;
    world.api.with_token(&format!("npb_{MARK}_wrong")).get("/pulsar/executions").await?;
    world.api.with_token(&format!("{MARK}.{MARK}.{MARK}")).get("/pulsar/executions").await?;
    let bearer = json!({ "kind": "bearer", "token": format!("{MARK}-outgoing") });
    let put = world.api.put("/pulsar/credentials/crm", &bearer).await?;
    assert!(put.status.is_success(), "{put:?}");
    let malformed = json!({ "kind": "bearer", "token": { "of": format!("{MARK}-malformed") } });
    world.api.put("/pulsar/credentials/crm2", &malformed).await?;

    // Payloads, on good ways and bad ones.
    let publish = async |workflow: &str| {
        let body = json!({
            "workflow_id": workflow, "payload": { "secret": payload.as_str() }, "metadata": { "secret": format!("{MARK}-metadata") },
        });
        world.api.with_token(&token).accepted(body).await
    };
    for workflow in ["good", "flaky"] {
        publish(workflow).await?;
    }
    let broken = publish("broken").await?;
    world.api.expect(&broken, "dead_lettered");
    world
        .api
        .post_text(
            "/pulsar/publish",
            &format!("{{\"payload\": \"{MARK}-cut"),
            &[("content-type", "application/json")],
        )
        .await?;
    world
        .api
        .publish(json!({ "workflow_id": 7, "lane": "none", "payload": { "x": payload.as_str() } }))
        .await?;
    world.api.publish(json!({ "workflow_id": "good", "payload": format!("{MARK}\u{0}") })).await?;
    world.settle().await?;
    world.api.get(&format!("/pulsar/executions/{broken}/payload")).await?;
    let replayed = world.api.post(&format!("/pulsar/executions/{broken}/replay"), &json!({})).await?;
    world.api.expect(&replayed.id(), "dead_lettered");
    world.settle().await?;

    let mut secrets = world.secrets()?;
    secrets.push(("the client secret", client_secret));
    secrets.push(("an access token", token));
    let mut faults = Vec::new();
    for daemon in [&world.publisher, &world.consumer] {
        let log = daemon.log();
        assert!(
            log.contains("\"level\":\"DEBUG\""),
            "{} wrote little: the test proves nothing",
            daemon.name()
        );
        faults.extend(found(daemon.name(), &log, &secrets));
        faults.extend(found("/metrics", &daemon.metrics().await?, &secrets));
    }
    // Nor is it in what the spans say.
    let (jaeger, tenant) = (Jaeger::shared(), world.tenants[0].id.as_str());
    for service in ["bridge-publisher", "bridge-consumer"] {
        let fired = |found: &[Trace]| found.iter().any(|trace| !trace.all("POST 127.0.0.1").is_empty());
        jaeger.by(service, "tenant.id", tenant, fired).await;
        let told = jaeger.text(service, "tenant.id", tenant).await.map_err(anyhow::Error::msg)?;
        faults.extend(found(service, &told, &secrets));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    world.finish().await
}
