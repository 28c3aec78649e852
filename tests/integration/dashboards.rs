//! What dashboards and rules ask, a real Prometheus answers from a real bridge that has seen traffic.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bridge_tests::daemon::Daemon;
use bridge_tests::parts::{output, repository, shared};
use bridge_tests::settings::{QUICK_RETRY, Tenant};
use bridge_tests::{Part, Reply, World, eventually_within};
use serde_json::json;

/// Rates need some scrapes, and recording rules a look at those.
const PATIENCE: Duration = Duration::from_secs(120);

/// What Prometheus scrapes of this test, as long as it lives.
struct Targets(Vec<PathBuf>);

impl Targets {
    fn of(daemons: &[&Daemon]) -> anyhow::Result<Self> {
        let mut files = Self(Vec::new());
        for daemon in daemons {
            files.add(daemon.name(), &daemon.url())?;
        }
        files.add("pulsar", &shared("BRIDGE_TEST_PULSAR_HTTP"))?;
        files.add("span-metrics", &shared("BRIDGE_TEST_OTEL_COLLECTOR_METRICS"))?;
        files.add("otel-collector", &shared("BRIDGE_TEST_OTEL_COLLECTOR_SELF"))?;
        Ok(files)
    }

    fn add(&mut self, job: &str, url: &str) -> anyhow::Result<()> {
        let url = url::Url::parse(url)?;
        let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        // A job takes the files that begin with its name. Renamed: it would be read while it is written.
        let file =
            PathBuf::from(shared("BRIDGE_TEST_PROMETHEUS_TARGETS")).join(format!("{job}-dashboards.yml"));
        let new = file.with_extension("new");
        std::fs::write(&new, format!("- targets: [{address:?}]\n"))?;
        std::fs::rename(&new, &file)?;
        self.0.push(file);
        Ok(())
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        for file in &self.0 {
            // The directory ends with its Prometheus.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// On every lane: a success, a retry, a dead letter, and a repeated key.
async fn traffic(world: &World) -> anyhow::Result<()> {
    world.endpoint.script("flaky", [Reply::Status(500), Reply::Status(200)]);
    for lane in ["short", "long", "ai", "analytics"] {
        let body = |workflow| json!({ "workflow_id": workflow, "lane": lane, "payload": {} });
        world.api.accepted(body("good")).await?;
        world.api.accepted(body("flaky")).await?;
        world.endpoint.script("broken", [Reply::Status(400)]);
        let broken = world.api.accepted(body("broken")).await?;
        world.api.until(&broken, "dead_lettered").await;
        world.api.expect(&broken, "dead_lettered");
    }
    Ok(())
}

/// Where the real one is asked for (`./scripts/test --n8n`): its figures have questions too.
async fn n8n(world: &World) -> anyhow::Result<Option<Part>> {
    if std::env::var("BRIDGE_TEST_N8N").is_err() {
        return Ok(None);
    }
    let import = world.file("n8n");
    std::fs::create_dir_all(import.join("workflows"))?;
    let workflow = "workflows/receiver.json";
    std::fs::copy(repository().join("tests/n8n").join(workflow), import.join(workflow))?;
    Ok(Some(Part::n8n(&import, &shared("BRIDGE_TEST_OTEL_COLLECTOR_HTTP")).await?))
}

#[tokio::test]
async fn every_question_of_dashboards_and_rules_has_an_answer() -> anyhow::Result<()> {
    let canary = format!("t-canary-{:08x}", rand::random::<u32>());
    let world = World::build()
        .also(Tenant { id: canary.clone(), ..Tenant::new() })
        .set("canary.enabled", "true")
        .set("canary.tenant", &format!("{canary:?}"))
        .set("canary.interval_s", "2")
        .set("canary.timeout_s", "2")
        .traced()
        .route("flaky", QUICK_RETRY)
        .route("broken", QUICK_RETRY)
        .start()
        .await?;
    let mut scraped = Targets::of(&[&world.publisher, &world.consumer])?;
    let mut there = "canary,collector".to_owned();
    let n8n = n8n(&world).await?;
    if let Some(n8n) = &n8n {
        scraped.add("n8n", &n8n.value("N8N_URL")?)?;
        there.push_str(",n8n");
    }
    let prometheus = shared("BRIDGE_TEST_PROMETHEUS_URL");
    eventually_within(PATIENCE, "every question to have an answer", async || {
        traffic(&world).await.map_err(|error| format!("{error:#}"))?;
        let mut check = Command::new(repository().join("otel/dashboards/check.py"));
        check.args([prometheus.as_str(), "--range", "1m", "--with", &there]);
        let checked = output(check).await.map_err(|error| format!("{error:#}"))?;
        if checked.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&checked.stderr).into_owned())
    })
    .await;
    world.leave().await
}
