//! Figures that cannot be read are not shown as they were: an old good value would hide that nobody looks.

use std::time::Duration;

use bridge_tests::daemon::Daemon;
use bridge_tests::{World, eventually_within};

use super::metrics::Scrape;

/// A look every ten seconds, and its time limit.
const PATIENCE: Duration = Duration::from_secs(90);

async fn until(daemon: &Daemon, name: &str, what: &str, is: impl Fn(f64) -> bool) {
    eventually_within(PATIENCE, &format!("{name} of {} to be {what}", daemon.name()), async || {
        let scrape = Scrape::of(daemon).await.map_err(|error| format!("{error:#}"))?;
        if scrape.has(name) && is(scrape.sum(name, &[])) {
            Ok(())
        } else {
            Err(scrape.sum(name, &[]).to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn without_postgres_the_figures_of_it_are_unknown_and_come_back() -> anyhow::Result<()> {
    let world = World::build().behind_proxy().start().await?;
    let (publisher, consumer) = (&world.publisher, &world.consumer);
    let proxy = world.proxy.as_ref().unwrap();
    let figures = [
        (publisher, "bridge_members"),
        (publisher, "bridge_oldest_due_timer_seconds"),
        (publisher, "bridge_oldest_unclaimed_seconds"),
        (publisher, "bridge_live_executions"),
        (publisher, "n8n_queue_size"),
        (consumer, "bridge_members"),
        (consumer, "bridge_oldest_due_timer_seconds"),
    ];
    for (daemon, name) in figures {
        until(daemon, name, "a number", f64::is_finite).await;
    }
    proxy.refuse();
    for (daemon, name) in figures {
        until(daemon, name, "unknown", f64::is_nan).await;
    }
    for daemon in [publisher, consumer] {
        let scrape = Scrape::of(daemon).await?;
        for what in ["members", "pulse"] {
            assert!(scrape.sum("bridge_measure_failures_total", &[("what", what)]) >= 1.0, "{what}");
        }
    }
    proxy.pass();
    for (daemon, name) in figures {
        until(daemon, name, "a number again", f64::is_finite).await;
    }
    world.leave().await
}

#[tokio::test]
async fn what_is_at_work_is_shown_beside_how_much_may_be() -> anyhow::Result<()> {
    let world = World::build()
        .set("database.accept_patience_ms", "20000")
        .set("publisher.inflight_requests", "77")
        .set("publisher.inflight_bytes", "33554432")
        .start()
        .await?;
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    until(&world.publisher, "bridge_inflight_requests_max", "77", |value| value == 77.0).await;
    until(&world.publisher, "bridge_inflight_requests", "none", |value| value == 0.0).await;
    let (publisher, consumer) = (Scrape::of(&world.publisher).await?, Scrape::of(&world.consumer).await?);
    assert_eq!(publisher.sum("bridge_inflight_bytes_max", &[]), 33_554_432.0);
    // Native routes have a breaker and slots of their own.
    for (scrape, name) in [(&publisher, "publisher"), (&consumer, "consumer")] {
        assert!(scrape.has("bridge_breakers_open") && scrape.sum("bridge_global_slots", &[]) > 0.0, "{name}");
        assert!(scrape.sum("bridge_store_pool_connections_max", &[("pool", "main")]) > 0.0, "{name}");
        assert!(scrape.sum("bridge_store_pool_wait_seconds_count", &[("pool", "main")]) > 0.0, "{name}");
    }
    assert_eq!(consumer.sum("bridge_process_seconds_count", &[("lane", "long")]), 1.0);
    let failures = "bridge_http_requests_total{method=\"POST\",route=\"/pulsar/publish\",status=\"503\"} 0";
    assert!(publisher.text.contains(failures), "{}", publisher.text);
    world.finish().await
}
