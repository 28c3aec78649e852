//! Replaying and cancelling many: counted first, paced, paused, resumed after a restart, and never twice.

use std::collections::BTreeMap;
use std::time::Duration;

use bridge_tests::{Api, Reply, World, eventually};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Dead letters of a workflow that works from now on.
async fn dead(world: &World, count: usize) -> anyhow::Result<Vec<String>> {
    world.endpoint.script("broken", [Reply::Status(400)]);
    let ids = world.api.many("broken", count).await?;
    for id in &ids {
        world.api.expect(id, "dead_lettered");
        world.api.until(id, "dead_lettered").await;
    }
    world.endpoint.script("broken", [Reply::Status(200)]);
    Ok(ids)
}

fn filter() -> Value {
    json!({ "state": "dead_lettered", "workflow_id": "broken" })
}

async fn begin(api: &Api, path: &str, body: Value) -> anyhow::Result<String> {
    let answer = api.call(Method::POST, path, Some(&body)).await?;
    anyhow::ensure!(answer.status == StatusCode::ACCEPTED, "{answer:?}");
    let id = answer.json["job_id"].as_str().unwrap_or_default().to_owned();
    let location = answer.headers["location"].to_str()?;
    anyhow::ensure!(location.ends_with(&format!("/pulsar/jobs/{id}")), "{answer:?}");
    Ok(id)
}

async fn job(api: &Api, id: &str) -> Result<Value, String> {
    let answer = api.get(&format!("/pulsar/jobs/{id}")).await.map_err(|error| error.to_string())?;
    if answer.status == StatusCode::OK { Ok(answer.json) } else { Err(format!("{answer:?}")) }
}

async fn until(api: &Api, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("job {id} to be {what}"), async || {
        let seen = job(api, id).await?;
        if is(&seen) { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await
}

async fn steer(api: &Api, id: &str, act: &str) -> anyhow::Result<bridge_tests::Answer> {
    Ok(api.call(Method::POST, &format!("/pulsar/jobs/{id}/{act}"), None).await?)
}

/// How often each of them was replayed.
async fn replays(world: &World, ids: &[String]) -> BTreeMap<String, usize> {
    let mut of = BTreeMap::new();
    for id in ids {
        let count = world.sql.count(&format!("executions WHERE replay_of = '{id}'")).await.unwrap();
        of.insert(id.clone(), count as usize);
    }
    of
}

fn done(job: &Value) -> bool {
    job["state"] == "done"
}

#[tokio::test]
async fn many_are_counted_and_then_replayed() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let api = &world.api;
    let ids = dead(&world, 12).await?;
    let asked = json!({ "filter": filter(), "dry_run": true });
    let counted = api.call(Method::POST, "/pulsar/replay", Some(&asked)).await?;
    assert_eq!((counted.status, counted.json["count"].as_u64()), (StatusCode::OK, Some(12)), "{counted:?}");
    let wrong = json!({ "filter": filter(), "expect": 11 });
    let wrong = api.call(Method::POST, "/pulsar/replay", Some(&wrong)).await?;
    assert_eq!(wrong.status, StatusCode::CONFLICT, "{wrong:?}");
    assert_eq!(world.sql.count("jobs").await?, 0);

    let id = begin(api, "/pulsar/replay", json!({ "filter": filter(), "expect": 12 })).await?;
    let seen = until(api, &id, "done", done).await;
    assert_eq!((seen["total"].as_u64(), seen["done"].as_u64()), (Some(12), Some(12)), "{seen}");
    assert_eq!((seen["skipped"].as_u64(), seen["failed"].as_u64()), (Some(0), Some(0)), "{seen}");
    assert_eq!(seen["filter"]["workflow_id"], "broken", "{seen}");
    assert!(replays(&world, &ids).await.values().all(|count| *count == 1));
    for id in &ids {
        let old = api.show(id).await?;
        let again = old["replayed_as"].as_str().unwrap_or_else(|| panic!("{old}"));
        api.until(again, "succeeded").await;
    }
    let listed = api.get("/pulsar/jobs").await?;
    assert_eq!(listed.json["jobs"][0]["job_id"], id.as_str(), "{listed:?}");
    // Of another tenant's job nobody learns anything.
    let foreign = world.api_of(1);
    for act in ["pause", "resume", "cancel"] {
        assert_eq!(steer(&foreign, &id, act).await?.status, StatusCode::NOT_FOUND, "{act}");
    }
    assert_eq!(foreign.get(&format!("/pulsar/jobs/{id}")).await?.status, StatusCode::NOT_FOUND);
    assert_eq!(foreign.get("/pulsar/jobs").await?.json["jobs"], json!([]));
    // It is over: nothing moves it any more.
    assert_eq!(steer(api, &id, "pause").await?.status, StatusCode::CONFLICT);
    world.finish().await
}

#[tokio::test]
async fn a_job_keeps_its_pace_is_paused_and_goes_on_after_a_restart() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    let ids = dead(&world, 20).await?;
    let api = world.api.clone();
    let began = Instant::now();
    let id = begin(&api, "/pulsar/replay", json!({ "filter": filter(), "per_second": 5 })).await?;
    until(&api, &id, "under way", |job| job["done"].as_u64() >= Some(3)).await;
    let paused = steer(&api, &id, "pause").await?;
    assert_eq!((paused.status, paused.json["state"].as_str()), (StatusCode::OK, Some("paused")));
    // What was in hand when it was paused is replayed once, though it is not counted yet.
    eventually("the job to be left", async || {
        if world.publisher.log().contains("a job is left") {
            Ok(())
        } else {
            Err(world.publisher.log_tail(5))
        }
    })
    .await;
    let made: usize = replays(&world, &ids).await.values().sum();
    assert!(made < 20, "it was not paused");

    assert_eq!(steer(&api, &id, "resume").await?.status, StatusCode::OK);
    until(&api, &id, "further", |job| job["done"].as_u64() > Some(made as u64)).await;
    world.publisher.kill9().await?;
    world.publisher.start_ready(&[]).await?;
    // The dead one's lease has to end before another takes it.
    let seen = bridge_tests::eventually_within(Duration::from_secs(90), "the job to be done", async || {
        let seen = job(&api, &id).await?;
        if done(&seen) { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await;
    assert_eq!((seen["done"].as_u64(), seen["failed"].as_u64()), (Some(20), Some(0)), "{seen}");
    assert!(began.elapsed() >= Duration::from_millis(3800), "20 at 5 a second took {:?}", began.elapsed());
    let replayed = replays(&world, &ids).await;
    assert!(replayed.values().all(|count| *count == 1), "{replayed:?}");
    world.finish().await
}

#[tokio::test]
async fn a_job_waits_for_its_tenants_rate() -> anyhow::Result<()> {
    let world = World::start().await?;
    let ids = dead(&world, 6).await?;
    let limits = json!({ "limits": { "requests_per_second": 2, "burst": 1 } });
    let put = world.admin().put(&format!("/pulsar/tenants/{}", world.api.tenant), &limits).await?;
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    world.directory_is_current().await;
    let began = Instant::now();
    let id = begin(&world.api, "/pulsar/replay", json!({ "filter": filter(), "per_second": 1000 })).await?;
    let seen = until(&world.api, &id, "done", done).await;
    assert_eq!((seen["done"].as_u64(), seen["failed"].as_u64()), (Some(6), Some(0)), "{seen}");
    assert!(began.elapsed() >= Duration::from_secs(2), "six at two a second took {:?}", began.elapsed());
    assert!(replays(&world, &ids).await.values().all(|count| *count == 1));
    world.finish().await
}

async fn limit(world: &World, tenant: &str, limits: Value) -> anyhow::Result<()> {
    let put = world.admin().put(&format!("/pulsar/tenants/{tenant}"), &json!({ "limits": limits })).await?;
    anyhow::ensure!(put.status == StatusCode::OK, "{put:?}");
    world.directory_is_current().await;
    Ok(())
}

/// With a filter that the table of dead letters answers, and with one that it does not.
#[tokio::test]
async fn letters_that_somebody_has_seen_to_are_skipped() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = &world.api;
    let ids = dead(&world, 5).await?;
    let by_hand = api.post(&format!("/pulsar/executions/{}/replay", ids[0]), &json!({})).await?;
    assert_eq!(by_hand.status, StatusCode::ACCEPTED, "{by_hand:?}");
    let note = json!({ "note": "known" });
    let away = api.post(&format!("/pulsar/dead-letters/{}/discard", ids[1]), &note).await?;
    assert_eq!(away.status, StatusCode::OK, "{away:?}");
    let mixed = json!({ "state": ["dead_lettered", "failed"], "workflow_id": "broken" });
    for (filter, open, settled) in [(filter(), 3, 2), (mixed, 0, 5)] {
        let asked = json!({ "filter": filter, "dry_run": true });
        let counted = api.call(Method::POST, "/pulsar/replay", Some(&asked)).await?;
        let numbers = (counted.json["count"].as_u64(), counted.json["skipped"].as_u64());
        assert_eq!(numbers, (Some(open), Some(settled)), "{counted:?}");
        let id = begin(api, "/pulsar/replay", json!({ "filter": filter, "expect": open })).await?;
        let seen = until(api, &id, "done", done).await;
        assert_eq!((seen["done"].as_u64(), seen["skipped"].as_u64()), (Some(open), Some(settled)), "{seen}");
    }
    let of = replays(&world, &ids).await;
    assert_eq!(of[&ids[1]], 0, "it was put away");
    assert!(of.iter().all(|(id, count)| *count == usize::from(*id != ids[1])), "{of:?}");
    // Whoever names one means it.
    let again = api.post(&format!("/pulsar/executions/{}/replay", ids[0]), &json!({})).await?;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
    world.finish().await
}

#[tokio::test]
async fn a_job_that_is_held_up_says_why_and_takes_no_place_from_others() -> anyhow::Result<()> {
    let world = World::build()
        .tenants(2)
        .set("publisher.jobs_at_once", "1")
        .set("publisher.job_pause_ms", "1000")
        .start()
        .await?;
    let (api, other) = (world.api.clone(), world.api_of(1));
    let ids = dead(&world, 3).await?;
    limit(&world, &api.tenant, json!({ "payload_bytes_per_day": 1 })).await?;
    let id = begin(&api, "/pulsar/replay", json!({ "filter": filter() })).await?;
    let stuck = until(&api, &id, "held up", |job| job["held_up"].is_string()).await;
    assert_eq!((stuck["state"].as_str(), stuck["done"].as_u64()), (Some("running"), Some(0)), "{stuck}");
    assert!(stuck["held_up"].as_str().unwrap().contains("payload_bytes_per_day"), "{stuck}");
    assert!(stuck["error"].is_null(), "{stuck}");

    let later = other.accepted(json!({ "workflow_id": "w", "payload": {}, "delay_seconds": 3600 })).await?;
    other.expect(&later, "cancelled");
    let theirs = begin(&other, "/pulsar/cancel", json!({ "filter": { "workflow_id": "w" } })).await?;
    until(&other, &theirs, "done", done).await;
    assert_eq!(job(&api, &id).await.unwrap()["state"], "running");

    limit(&world, &api.tenant, json!({ "payload_bytes_per_day": null })).await?;
    let seen = until(&api, &id, "done", done).await;
    assert_eq!((seen["done"].as_u64(), seen["failed"].as_u64()), (Some(3), Some(0)), "{seen}");
    assert!(seen["held_up"].is_null(), "{seen}");
    assert!(replays(&world, &ids).await.values().all(|count| *count == 1));
    world.finish().await
}

/// The same error each time: it ends, says why, and goes on when somebody has mended it.
#[tokio::test]
async fn a_job_that_can_never_go_on_fails_with_its_reason() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (api, ids) = (&world.api, dead(&world, 3).await?);
    for (broken, why) in [
        (r#"{"states": ["dead_lettered"], "metadata": "no JSON"}"#, "could not be listed"),
        (r#"{"colour": "red"}"#, "does not read"),
    ] {
        let slow = json!({ "filter": filter(), "per_second": 0.01 });
        let id = begin(api, "/pulsar/replay", slow).await?;
        assert_eq!(steer(api, &id, "pause").await?.status, StatusCode::OK);
        let good = world.sql.one(&format!("SELECT filter FROM jobs WHERE id = '{id}'")).await?;
        let put = async |filter: &str| {
            let sql = format!("UPDATE jobs SET filter = '{filter}', per_second = 100 WHERE id = '{id}'");
            world.sql.rows(&sql).await
        };
        put(broken).await?;
        assert_eq!(steer(api, &id, "resume").await?.status, StatusCode::OK);
        let failed = until(api, &id, "failed", |job| job["state"] == "failed").await;
        assert!(failed["error"].as_str().unwrap().contains(why), "{failed}");
        put(&good).await?;
        let resumed = steer(api, &id, "resume").await?;
        assert_eq!((resumed.status, &resumed.json["error"]), (StatusCode::OK, &Value::Null), "{resumed:?}");
        until(api, &id, "done", done).await;
    }
    assert!(replays(&world, &ids).await.values().all(|count| *count == 1));
    world.finish().await
}

/// The refusal by the quota comes first: this payload could not even be opened.
#[tokio::test]
async fn what_a_quota_does_not_allow_is_not_read() -> anyhow::Result<()> {
    let world = World::build().set("encryption.payloads", "true").start().await?;
    let (api, ids) = (&world.api, dead(&world, 1).await?);
    world.sql.rows("UPDATE payloads SET body = decode('00', 'hex') || body").await?;
    let path = format!("/pulsar/executions/{}/replay", ids[0]);
    let unreadable = api.post(&path, &json!({})).await?;
    assert_eq!(unreadable.json["type"], "/problems/payload-unreadable", "{unreadable:?}");
    limit(&world, &api.tenant, json!({ "payload_bytes_per_day": 1 })).await?;
    let refused = api.post(&path, &json!({})).await?;
    assert_eq!(
        (refused.status, refused.json["type"].as_str()),
        (StatusCode::FORBIDDEN, Some("/problems/quota-exceeded")),
        "{refused:?}"
    );
    world.finish().await
}

#[tokio::test]
async fn many_are_cancelled_and_those_that_do_not_fit_are_not() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = &world.api;
    api.put("/pulsar/holds/stop", &json!({ "workflow_id": "held", "reason": "a test" })).await?;
    let held = api.many("held", 15).await?;
    held.iter().for_each(|id| api.expect(id, "cancelled"));
    let other = api.accepted(json!({ "workflow_id": "other", "payload": {}, "delay_seconds": 3600 })).await?;
    let id = begin(api, "/pulsar/cancel", json!({ "filter": { "workflow_id": "held" } })).await?;
    let seen = until(api, &id, "done", done).await;
    assert_eq!((seen["kind"].as_str(), seen["done"].as_u64()), (Some("cancel"), Some(15)), "{seen}");
    for id in &held {
        assert_eq!(api.show(id).await?["state"], "cancelled");
        assert!(world.endpoint.fired_of(id).is_empty());
    }
    assert_eq!(api.show(&other).await?["state"], "accepted");
    api.expect(&other, "cancelled");
    api.post(&format!("/pulsar/executions/{other}/cancel"), &json!({})).await?;

    let faulty = json!({ "filter": { "state": "succeeded", "lanes": "ai" }, "per_second": 0 });
    let faulty = api.call(Method::POST, "/pulsar/cancel", Some(&faulty)).await?;
    assert_eq!(faulty.fields(), ["filter.lanes", "filter.state", "per_second"], "{faulty:?}");
    world.finish().await
}
