//! The canary flies through every lane and comes back; whoever is not the canary's consumer finds nothing there.

use bridge_tests::settings::Tenant;
use bridge_tests::{World, eventually};
use serde_json::json;

use super::metrics::Scrape;

const LANES: [&str; 4] = ["short", "long", "ai", "analytics"];

async fn flying(interval: &str) -> anyhow::Result<World> {
    let canary = format!("t-canary-{:08x}", rand::random::<u32>());
    World::build()
        .also(Tenant { id: canary.clone(), ..Tenant::new() })
        .set("canary.enabled", "true")
        .set("canary.tenant", &format!("{canary:?}"))
        .set("canary.interval_s", interval)
        .set("canary.timeout_s", interval)
        .start()
        .await
}

#[tokio::test]
async fn a_canary_flies_through_every_lane_and_one_publisher_sends_it() -> anyhow::Result<()> {
    let world = flying("2").await?;
    let (mut other, environment) = world.another(bridge_tests::daemon::PUBLISHER);
    other.start_ready(&bridge_tests::world::borrowed(&environment)).await?;
    eventually("every lane's canary to come back, twice", async || {
        let mut back = Vec::new();
        for lane in LANES {
            let labels = [("lane", lane), ("outcome", "ok")];
            let mut ok = 0.0;
            for publisher in [&world.publisher, &other] {
                let scrape = Scrape::of(publisher).await.map_err(|error| error.to_string())?;
                ok += scrape.sum("bridge_canary_total", &labels);
            }
            back.push(ok);
        }
        if back.iter().all(|ok| *ok >= 2.0) { Ok(()) } else { Err(format!("{back:?}")) }
    })
    .await;
    let scrape = Scrape::of(&world.publisher).await?;
    assert!(scrape.sum("bridge_canary_last_success_seconds", &[("lane", "ai")]) > 1_700_000_000.0);
    // One for each lane and round, however many publishers there are.
    let of_it = format!("WHERE tenant_id = '{}'", world.tenants[1].id);
    let executions = world.sql.count(&format!("executions {of_it}")).await?;
    let rounds = world.sql.count(&format!("(SELECT DISTINCT key FROM idempotency_keys {of_it}) k")).await?;
    assert!(executions <= rounds + 4, "{executions} canaries in {rounds} rounds of lanes");
    // It is no traffic: among users' requests its successes would hide their failures.
    let consumer = Scrape::of(&world.consumer).await?;
    for name in [
        "bridge_webhook_requests_total",
        "bridge_webhook_seconds_count",
        "n8n_requests_total",
        "bridge_accept_to_fire_seconds_count",
        "bridge_evidence_total",
        "workflow_executions_total",
    ] {
        assert_eq!(consumer.sum(name, &[]), 0.0, "{name}");
    }
    let fired = world.endpoint.fired();
    assert!(fired.is_empty(), "the canary's webhook is the publisher: {fired:?}");
    // Nobody else gets there.
    let answer = world.api.post("/internal/canary", &json!({ "canary": true })).await?;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(other.leave().await?.success());
    world.leave().await
}

#[tokio::test]
async fn a_canary_that_does_not_come_back_is_lost() -> anyhow::Result<()> {
    let mut world = flying("1").await?;
    world.consumer.kill9().await?;
    eventually("a canary to be lost", async || {
        let scrape = Scrape::of(&world.publisher).await.map_err(|error| error.to_string())?;
        let lost = scrape.sum("bridge_canary_total", &[("outcome", "lost")]);
        if lost >= 1.0 { Ok(()) } else { Err(format!("{lost}")) }
    })
    .await;
    world.leave().await
}
