//! One bad neighbour does not hold up the others on its topic.

use bridge_tests::{Reply, World};

#[tokio::test]
async fn a_hanging_workflow_does_not_delay_the_healthy_ones_behind_it() -> anyhow::Result<()> {
    let world = World::build()
        .route("hanging", "max_concurrency = 1\ntimeout_ms = 30000")
        // Fewer places than hanging messages: they must be given back.
        .set("consumer.topic_permits", "16")
        .start()
        .await?;
    world.endpoint.script("hanging", [Reply::Held]);
    let hanging = world.api.many("hanging", 40).await?;
    world.endpoint.wait_for("the first hanging request", |fired| fired.len() == 1).await;
    let healthy = world.api.many("healthy", 60).await?;
    let of = |workflow: &'static str| {
        move |fired: &[bridge_tests::Fired]| fired.iter().filter(|fired| fired.workflow == workflow).count()
    };
    world.endpoint.wait_for("every healthy delivery", |fired| of("healthy")(fired) == healthy.len()).await;
    let fired = world.endpoint.fired();
    assert_eq!(of("hanging")(&fired), 1, "max_concurrency is 1");
    assert!(
        !world.endpoint.answered().iter().any(|(workflow, _)| workflow == "hanging"),
        "none was released yet"
    );
    for id in &healthy {
        world.api.until(id, "succeeded").await;
    }
    world.every_live_execution_has_its_timer().await?;
    world.endpoint.release("hanging");
    for id in &hanging {
        let seen = world.api.until(id, "succeeded").await;
        assert_eq!(seen["attempt"], 1, "waiting spends no attempt: {seen}");
    }
    world.finish().await
}

#[tokio::test]
async fn a_flooded_topic_does_not_delay_another_tenant() -> anyhow::Result<()> {
    let world = World::build()
        .tenants(2)
        .set("consumer.host_slots", "4")
        .set("consumer.global_slots", "4")
        .start()
        .await?;
    world.endpoint.script("flood", [Reply::Slow(std::time::Duration::from_millis(30))]);
    let flood = world.api_of(0).many("flood", 200).await?;
    let other = world.api_of(1);
    let id = other.fire("calm").await?;
    world.endpoint.wait_for_execution(&id, 1).await;
    let before = world.endpoint.fired().iter().filter(|fired| fired.workflow == "flood").count();
    assert!(before < flood.len(), "the calm tenant waited for the whole flood");
    world.finish().await
}
