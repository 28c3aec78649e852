//! The API against its own description: what is asked is made from the document, and every answer is held against it.

use std::path::PathBuf;
use std::process::Command;

use bridge_tests::parts::{output, repository};
use bridge_tests::{Reply, World};
use http::{Method, StatusCode};
use serde_json::{Value, json};

/// For each of the two callers: the whole of it stays under two minutes.
const SECONDS: &str = "35";

#[tokio::test]
async fn every_answer_is_one_that_the_document_describes() -> anyhow::Result<()> {
    let Some(python) = std::env::var_os("BRIDGE_TEST_OPENAPI_PYTHON").map(PathBuf::from) else {
        assert!(std::env::var_os("BRIDGE_TEST_LOGS").is_none(), "scripts/test must set it");
        eprintln!(
            "skipped: ./scripts/test sets BRIDGE_TEST_OPENAPI_PYTHON (./scripts/parts fetch openapi-check)"
        );
        return Ok(());
    };
    let world = World::build()
        .tenants(2)
        .set("publisher.result_wait_max_s", "1")
        .set("database.accept_patience_ms", "20000")
        .start()
        .await?;
    let directory = tempfile::Builder::new().prefix("bridge-openapi-").tempdir()?;
    let known = things_to_find(&world).await?;
    std::fs::write(directory.path().join("known.json"), known.to_string())?;
    let mut check = Command::new(python);
    check
        .arg(repository().join("scripts/openapi-check/check.py"))
        .args(["--url", &world.publisher.url(), "--seconds", SECONDS, "--directory"])
        .arg(directory.path())
        .env("BRIDGE_CHECK_TENANT_TOKEN", &world.tenants[0].token)
        .env("BRIDGE_CHECK_ADMIN_TOKEN", &world.admin_token);
    let checked = output(check).await?;
    let said = [checked.stdout, checked.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(checked.status.success(), "{}", said.join("\n"));
    // Nobody saw a 5xx; nor may anything have broken beneath.
    let log = world.publisher.log();
    assert!(!log.contains("panicked"), "{}", world.publisher.log_tail(40));
    world.leave().await
}

/// Something of each kind, so that more than 404 is met.
async fn things_to_find(world: &World) -> anyhow::Result<Value> {
    world.endpoint.script("refused", [Reply::Status(400)]);
    let dead = world.api.fire("refused").await?;
    world.api.expect(&dead, "dead_lettered");
    world.api.until(&dead, "dead_lettered").await;
    let good = world.api.fire("good").await?;
    world.api.until(&good, "succeeded").await;
    let body = json!({ "workflow_id": "good", "payload": {}, "delay_seconds": 3600 });
    let later = world.api.post("/pulsar/publish", &body).await?.id();
    world.api.put("/pulsar/credentials/known", &json!({ "kind": "bearer", "token": "secret-0" })).await?;
    world.api.put("/pulsar/workflows/known", &json!({ "lane": "short" })).await?;
    world.api.put("/pulsar/types/known", &json!({ "lane": "ai" })).await?;
    world.api.put("/pulsar/holds/known", &json!({ "workflow_id": "held", "reason": "a test" })).await?;
    let filter = json!({ "filter": { "state": ["succeeded"] }, "per_second": 1 });
    let job = world.api.post("/pulsar/replay", &filter).await?;
    let client = json!({ "name": "n8n", "kind": "api_key", "tenants": [world.tenant()], "scopes": ["read"] });
    let client = world.admin().post("/pulsar/clients", &client).await?;
    Ok(json!({
        "id of Executions": [good, later, dead],
        "id of Results": [good, later, dead],
        "id of Dead letters": [dead],
        "id of Many at once": [job.json["job_id"]],
        "id of Holds": ["known"],
        "id of Tenants": [world.tenants[1].id, "fuzzed"],
        "id of Clients": [client.json["client_id"]],
        "name": ["known"],
        "workflow_id": ["known", "good"],
        "type": ["known"],
        "tenant_id": [world.tenants[0].id],
        "confirm": [world.tenants[1].id],
    }))
}

#[tokio::test]
async fn the_document_and_its_page_are_served_to_everybody() -> anyhow::Result<()> {
    let world = World::build().without_consumer().start().await?;
    let get = async |path: &str| world.api.call_as(&[], Method::GET, path, None).await;
    let served = get("/openapi.json").await?;
    let committed = std::fs::read_to_string(repository().join("docs/reference/openapi.json"))?;
    assert_eq!(served.json, serde_json::from_str::<Value>(&committed)?);
    let page = get("/docs").await?;
    assert_eq!(
        (page.status, page.headers["content-type"].to_str()?),
        (StatusCode::OK, "text/html; charset=utf-8")
    );
    assert!(page.headers["content-security-policy"].to_str()?.starts_with("default-src 'none'"));
    // What names nothing is told as everything else is.
    let unreadable = get("/pulsar/executions/%FF").await?;
    assert_eq!(
        (unreadable.status, &unreadable.json["type"]),
        (StatusCode::NOT_FOUND, &json!("/problems/not-found"))
    );
    world.leave().await
}
