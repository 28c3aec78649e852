//! Messages that must not be believed, and those that are only old.

use bridge_protocol::{Claims, ExecutionId, Keyring, Lane, PayloadHash, VERSION};
use bridge_tests::api::payload_of;
use bridge_tests::settings::keyring;
use bridge_tests::{World, eventually};
use chrono::Utc;

/// A message as this world's publisher would sign it for a topic.
fn claims(world: &World, topic: &str, id: ExecutionId, attempt: u16) -> Claims {
    let now = Utc::now().timestamp();
    Claims {
        v: VERSION,
        iss: "a test".to_owned(),
        aud: topic.to_owned(),
        sub: id,
        tid: world.tenant(),
        iat: now,
        exp: now + 3600,
        jti: bridge_tests::unique("jti"),
        att: attempt,
        psh: PayloadHash::of(payload_of("w").to_string().as_bytes()),
    }
}

async fn counter(world: &World, name: &str) -> anyhow::Result<f64> {
    let text = world.consumer.metrics().await?;
    let values =
        text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    Ok(values.filter_map(|value| value.parse::<f64>().ok()).sum())
}

async fn until_counted(world: &World, name: &str, wanted: f64) {
    eventually(&format!("{name} to be {wanted}"), async || match counter(world, name).await {
        Ok(value) if value >= wanted => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn forged_messages_are_recorded_and_announced_and_the_good_one_behind_is_delivered()
-> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = world.tenant();
    let topic = world.broker.names.topic(&tenant, Lane::Long);
    world.broker.witness(&world.broker.names.dead_letter(&tenant, Lane::Long)).await?;
    let id = ExecutionId::new(Utc::now(), &mut rand::rng());
    let good = world.keyring.sign(&claims(&world, &topic, id, 1))?;
    let stranger = Keyring::from_toml(&keyring("test-1"))?;
    let mut flipped = good.clone().into_bytes();
    let at = good.rfind('.').unwrap() + 5;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    let other_tenant = Claims { tid: "somebody".parse()?, ..claims(&world, &topic, id, 1) };
    let other_topic = claims(&world, "persistent://a/workflows/dealscale.workflow.long", id, 1);
    let forgeries = [
        ("a stranger's key", stranger.sign(&claims(&world, &topic, id, 1))?),
        ("a changed signature", String::from_utf8(flipped)?),
        ("a truncated message", good[..good.len() - 9].to_owned()),
        ("another tenant", world.keyring.sign(&other_tenant)?),
        ("another topic", world.keyring.sign(&other_topic)?),
        ("no signature", format!("{}.", good.rsplit_once('.').unwrap().0)),
        ("garbage", "\u{0}\u{1}not a message <script>".to_owned()),
        ("nothing", String::new()),
        ("oversize", "x".repeat(100_000)),
    ];
    for (what, message) in &forgeries {
        world.broker.send(&topic, message).await.map_err(|error| error.context(*what))?;
    }
    let behind = world.api.fire("w").await?;
    world.endpoint.wait_for_execution(&behind, 1).await;
    let recorded = format!("rejected_messages WHERE tenant_id = '{tenant}'");
    eventually("every forgery to be recorded", async || {
        let rows = world
            .sql
            .rows(&format!("SELECT reason FROM {recorded}"))
            .await
            .map_err(|error| error.to_string())?;
        if rows.len() == forgeries.len() { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
    eventually("every forgery to be announced", async || {
        let seen = world.broker.notices(&tenant, Lane::Long).await.map_err(|error| format!("{error:#}"))?;
        let forged = seen.iter().filter(|notice| notice["kind"] == "forged").count();
        if forged >= forgeries.len() { Ok(()) } else { Err(format!("{forged} of {}", forgeries.len())) }
    })
    .await;
    let heads = world.sql.one(&format!("SELECT max(length(head)) FROM {recorded}")).await?;
    assert!(heads.parse::<u32>()? <= 256, "only the head of a forgery is kept");
    assert_eq!(world.endpoint.fired().len(), 1, "nothing forged was fired");
    world.finish().await
}

#[tokio::test]
async fn a_flood_of_forgeries_is_capped() -> anyhow::Result<()> {
    let world = World::build().set("consumer.forged_per_minute", "5").start().await?;
    let topic = world.broker.names.topic(&world.tenant(), Lane::Long);
    for number in 0..40 {
        world.broker.send(&topic, &format!("forged {number}")).await?;
    }
    let behind = world.api.fire("w").await?;
    world.endpoint.wait_for_execution(&behind, 1).await;
    until_counted(&world, "bridge_messages_forged_total", 40.0).await;
    let recorded = world.sql.count("rejected_messages").await?;
    // The minute may have turned on the way.
    assert!((5..=10).contains(&recorded), "{recorded} recorded under a cap of 5");
    world.finish().await
}

#[tokio::test]
async fn stale_messages_are_acknowledged_and_the_execution_is_still_delivered() -> anyhow::Result<()> {
    let mut world = World::build().without_consumer().start().await?;
    let topic = world.broker.names.topic(&world.tenant(), Lane::Long);
    let id = world.api.fire("w").await?;
    let execution: ExecutionId = id.parse()?;
    // Its own message is lost; what is left in the topic is of no use to anyone.
    eventually("its message in the topic", async || {
        match world.broker.admin.backlog(&topic, "bridge-consumer").await {
            Ok(found) if found.count > 0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    world.broker.admin.skip_all(&topic, "bridge-consumer").await?;
    let newer = Keyring::from_toml(&keyring("tomorrow"))?;
    let fresh = claims(&world, &topic, execution, 1);
    let unknown = ExecutionId::new(Utc::now(), &mut rand::rng());
    for message in [
        newer.sign(&fresh)?,
        world.keyring.sign(&Claims { v: VERSION + 1, ..fresh.clone() })?,
        world.keyring.sign(&Claims {
            exp: Utc::now().timestamp() - 3600,
            iat: fresh.iat - 7200,
            ..fresh.clone()
        })?,
        world.keyring.sign(&claims(&world, &topic, unknown, 1))?,
    ] {
        world.broker.send(&topic, &message).await?;
    }
    world.consumer.start_ready(&[]).await?;
    until_counted(&world, "bridge_messages_stale_total", 3.0).await;
    // The timer publishes it again.
    world.api.until(&id, "succeeded").await;
    let fired = world.endpoint.fired_of(&id);
    assert_eq!(fired.len(), 1, "{fired:?}");

    // A duplicate and an older attempt of what is over.
    let psh = PayloadHash::of(payload_of("w").to_string().as_bytes());
    for attempt in [1, 1, 2] {
        world
            .broker
            .send(&topic, &world.keyring.sign(&Claims { psh, ..claims(&world, &topic, execution, attempt) })?)
            .await?;
    }
    let behind = world.api.fire("w").await?;
    world.endpoint.wait_for_execution(&behind, 1).await;
    until_counted(&world, "bridge_claims_total{answer=\"terminal\"}", 3.0).await;
    assert_eq!(world.endpoint.fired_of(&id).len(), 1, "nothing is fired twice");
    assert_eq!(world.sql.count("rejected_messages").await?, 0, "stale is not forged");
    eventually("the topic to be empty", async || {
        match world.broker.admin.backlog(&topic, "bridge-consumer").await {
            Ok(found) if found.count == 0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    world.finish().await
}
