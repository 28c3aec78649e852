//! Webhooks that behave badly: each attempt is bounded, told apart and written down.

use std::time::Duration;

use bridge_tests::settings::QUICK_RETRY;
use bridge_tests::{Reply, World};
use tokio::time::Instant;

#[tokio::test]
async fn a_webhook_that_hangs_is_given_up_after_its_time() -> anyhow::Result<()> {
    let route = format!("timeout_ms = 300\n{QUICK_RETRY}");
    let world = World::build().route("hangs", &route).start().await?;
    world.endpoint.script("hangs", [Reply::Held, Reply::Status(200)]);
    let begun = Instant::now();
    let id = world.api.fire("hangs").await?;
    let seen = world.api.until(&id, "succeeded").await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(seen["attempts"][0]["outcome"], "retry", "{seen}");
    assert!(
        seen["attempts"][0]["error"].as_str().is_some_and(|error| error.contains("without an answer")),
        "{seen}"
    );
    assert_eq!(seen["attempt"], 2);
    world.finish().await
}

#[tokio::test]
async fn a_reset_is_unknown_and_the_route_may_forbid_a_repetition() -> anyhow::Result<()> {
    let world = World::build()
        .route("resets", QUICK_RETRY)
        .route("once-only", &format!("on_unknown = \"dead_letter\"\n{QUICK_RETRY}"))
        .start()
        .await?;
    world.endpoint.script("resets", [Reply::Reset, Reply::Status(200)]);
    world.endpoint.script("once-only", [Reply::Reset, Reply::Status(200)]);
    let (again, never) = (world.api.fire("resets").await?, world.api.fire("once-only").await?);
    world.api.expect(&never, "dead_lettered");
    assert_eq!(world.api.until(&again, "succeeded").await["attempt"], 2);
    let dead = world.api.until(&never, "dead_lettered").await;
    assert_eq!(dead["reason"], "unknown_outcome");
    assert_eq!(world.endpoint.fired_of(&never).len(), 1);
    world.finish().await
}

#[tokio::test]
async fn redirects_are_not_followed_and_private_addresses_are_refused() -> anyhow::Result<()> {
    let metadata = "webhook_url = \"http://169.254.169.254/latest/meta-data\"";
    let world = World::build().route("metadata", metadata).start().await?;
    world.endpoint.script("redirects", [Reply::Redirect("http://169.254.169.254/latest/meta-data")]);
    for (workflow, reason) in [("redirects", "permanent_answer"), ("metadata", "blocked_address")] {
        let id = world.api.fire(workflow).await?;
        world.api.expect(&id, "dead_lettered");
        let dead = world.api.until(&id, "dead_lettered").await;
        assert_eq!(dead["reason"], reason, "{dead}");
    }
    world.finish().await
}

#[tokio::test]
async fn an_endless_answer_is_cut() -> anyhow::Result<()> {
    let world = World::build()
        .set("webhook.max_answer_bytes", "100000")
        .set("webhook.max_result_bytes", "1000")
        .start()
        .await?;
    world.endpoint.script("huge", [Reply::Huge(1 << 30)]);
    let begun = Instant::now();
    let id = world.api.fire("huge").await?;
    world.api.until(&id, "succeeded").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "a GiB was not read: {:?}", begun.elapsed());
    let result =
        world.sql.one(&format!("SELECT length(body), truncated FROM results WHERE id = '{id}'")).await?;
    assert_eq!(result, "1000|t");
    world.finish().await
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_tried_again() -> anyhow::Result<()> {
    // Port 9 refuses; the host is trusted as the operator's own.
    let route = format!("webhook_url = \"http://127.0.0.1:9/hook\"\n{QUICK_RETRY}");
    let world = World::build()
        .route("absent", &route)
        .set("webhook.allow_private", "[\"127.0.0.1\"]")
        .start()
        .await?;
    let id = world.api.fire("absent").await?;
    world.api.expect(&id, "dead_lettered");
    let dead = world.api.until(&id, "dead_lettered").await;
    assert_eq!(
        (dead["reason"].as_str(), dead["attempt"].as_u64()),
        (Some("attempts_exhausted"), Some(4)),
        "{dead}"
    );
    assert!(dead["error"].as_str().is_some_and(|error| error.contains("nothing was sent")), "{dead}");
    world.finish().await
}
