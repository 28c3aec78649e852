//! Results: waited for, read, reported by callback, told to another workflow, kept no longer than wanted.

use std::time::Duration;

use bridge_tests::settings::QUICK_RETRY;
use bridge_tests::{Answer, Fired, Reply, World};
use chrono::{TimeDelta, Utc};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

fn kind(answer: &Answer) -> &str {
    answer.json["type"].as_str().unwrap_or_default()
}

async fn result(world: &World, id: &str, wait: &str) -> anyhow::Result<Answer> {
    Ok(world.api.get(&format!("/pulsar/executions/{id}/result{wait}")).await?)
}

fn id_of(item: &Value) -> String {
    item["execution_id"].as_str().unwrap_or_else(|| panic!("no execution in {item}")).to_owned()
}

/// Publishes for a callback and returns the execution and where to report, as path and query.
async fn with_callback(world: &World, workflow: &str) -> anyhow::Result<(String, String)> {
    let body = json!({ "workflow_id": workflow, "payload": {}, "completion": "callback" });
    let id = world.api.accepted(body).await?;
    let fired = world.endpoint.wait_for_execution(&id, 1).await.remove(0);
    let url = &fired.headers["x-callback-url"];
    assert_eq!(fired.json()["callback_url"], url.as_str());
    let path = url.strip_prefix(&world.publisher.url()).expect("the publisher's address").to_owned();
    Ok((id, path))
}

async fn report(world: &World, path: &str, body: Value) -> anyhow::Result<Answer> {
    Ok(world.api.call_as(&[], Method::POST, path, Some(&body)).await?)
}

#[tokio::test]
async fn a_caller_may_wait_for_the_result() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.endpoint.script("held", [Reply::Held]);
    let body = json!({ "workflow_id": "quick", "payload": {} }).to_string();
    let headers = [("content-type", "application/json"), ("prefer", "respond-async, wait=20")];
    let answer = world.api.post_text("/pulsar/publish", &body, &headers).await?;
    assert_eq!((answer.status, &answer.json["status"]), (StatusCode::OK, &json!("succeeded")), "{answer:?}");
    assert_eq!(answer.json["result"], json!({ "ok": true }));
    assert_eq!(answer.headers["preference-applied"], "wait=20");

    let begun = Instant::now();
    let answer =
        world.api.post("/pulsar/publish?wait=0.3", &json!({ "workflow_id": "held", "payload": {} })).await?;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let id = answer.id();
    let not_yet = result(&world, &id, "").await?;
    assert_eq!(not_yet.status, StatusCode::ACCEPTED, "{not_yet:?}");
    assert!(
        not_yet.json["links"]["result"].as_str().is_some_and(|link| link.ends_with("/result")),
        "{not_yet:?}"
    );

    let (api, path) = (world.api.clone(), format!("/pulsar/executions/{id}/result?wait=20"));
    let waiting = tokio::spawn(async move { api.get(&path).await });
    world.endpoint.release("held");
    let answer = waiting.await??;
    assert_eq!((answer.status, &answer.json["state"]), (StatusCode::OK, &json!("succeeded")), "{answer:?}");
    assert_eq!(result(&world, &id, "?wait=soon").await?.fields(), ["wait"]);
    assert_eq!(
        result(&world, "01890a5d-ac96-774b-bcce-b302099a8057", "").await?.status,
        StatusCode::NOT_FOUND
    );
    world.finish().await
}

#[tokio::test]
async fn results_are_shown_as_what_they_are() -> anyhow::Result<()> {
    // Sealed at rest: the caller sees no difference.
    let world = World::build().set("encryption.payloads", "true").start().await?;
    let replies = [
        ("application/json; charset=utf-8", r#"{"n": 1.00}"#),
        ("text/html", "<p>done</p>"),
        ("application/json", "{ half"),
    ];
    world
        .endpoint
        .script("w", replies.map(|(content_type, body)| Reply::Body { status: 200, content_type, body }));
    for (content_type, body) in replies {
        let id = world.api.fire("w").await?;
        let answer = result(&world, &id, "?wait=20").await?;
        let shown = serde_json::from_str::<Value>(body).unwrap_or_else(|_| json!(body));
        assert_eq!(
            (&answer.json["result"], &answer.json["content_type"]),
            (&shown, &json!(content_type)),
            "{answer:?}"
        );
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    let open = "results WHERE data_key IS NULL OR position('done'::bytea in body) > 0";
    assert_eq!(world.sql.count(open).await?, 0, "no result lies open");
    world.finish().await
}

/// Each hangs on its own connection, and all of them cost one look a tick.
#[tokio::test]
async fn many_waiting_callers_cost_one_look_and_free_their_places() -> anyhow::Result<()> {
    let world = World::build().set("publisher.waiters", "50").start().await?;
    world.endpoint.script("held", [Reply::Held]);
    let id = world.api.fire("held").await?;
    let path = format!("/pulsar/executions/{id}/result?wait=60");
    let hang = || {
        let (api, path) = (world.api.clone(), path.clone());
        tokio::spawn(async move {
            loop {
                let answer = api.get(&path).await;
                // A look below may have had the last place for a moment.
                if !answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE) {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let mut callers: Vec<_> = (0..50).map(|_| hang()).collect();
    let full = bridge_tests::eventually("the places to be taken", async || {
        match result(&world, &id, "?wait=0.1").await {
            Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => Ok(answer),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(kind(&full), "/problems/too-many-waiters");
    assert!(full.headers.contains_key("retry-after"), "{full:?}");
    // Without waiting there is always an answer.
    assert_eq!(result(&world, &id, "").await?.status, StatusCode::ACCEPTED);

    for caller in callers.drain(..25) {
        caller.abort();
    }
    bridge_tests::eventually("the places to be free again", async || {
        match result(&world, &id, "?wait=0.1").await {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    world.endpoint.release("held");
    for caller in callers {
        let answer = caller.await??;
        assert_eq!(
            (answer.status, &answer.json["state"]),
            (StatusCode::OK, &json!("succeeded")),
            "{answer:?}"
        );
    }
    world.finish().await
}

/// Each waits for another execution: still one look a tick.
#[tokio::test]
async fn callers_that_wait_for_many_executions_cost_one_look_together() -> anyhow::Result<()> {
    const CALLERS: usize = 60;
    // Between two looks there is never less.
    const TICK: Duration = Duration::from_millis(100);
    let world = World::start().await?;
    let later = json!({ "workflow_id": "later", "payload": {}, "delay_seconds": 3600 });
    let batch = world.api.post("/pulsar/publish/batch", &Value::Array(vec![later; CALLERS])).await?;
    let ids: Vec<String> = batch.json.as_array().unwrap().iter().map(id_of).collect();
    let callers: Vec<_> = ids
        .iter()
        .map(|id| {
            let (api, path) = (world.api.clone(), format!("/pulsar/executions/{id}/result?wait=20"));
            tokio::spawn(async move {
                loop {
                    let answer = api.get(&path).await;
                    // It still lives, or the machine was too busy to look.
                    if answer.as_ref().map_or(true, |answer| answer.status == StatusCode::OK) {
                        return answer;
                    }
                }
            })
        })
        .collect();
    let metric = async |name: &str| -> Result<f64, String> {
        let text = world.publisher.metrics().await.map_err(|error| format!("{error:#}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().parse().map_err(|_| format!("{name} is {line:?}"))
    };
    bridge_tests::eventually("all of them to wait", async || match metric("bridge_waiting_callers").await {
        Ok(count) if count == CALLERS as f64 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let (begun, before) = (Instant::now(), metric("bridge_waiter_looks_total").await.unwrap());
    // Some looks later.
    let after =
        bridge_tests::eventually("some looks", async || match metric("bridge_waiter_looks_total").await {
            Ok(count) if count >= before + 5.0 => Ok(count),
            other => Err(format!("{other:?}")),
        })
        .await;
    let ticks = begun.elapsed().as_secs_f64() / TICK.as_secs_f64();
    assert!(after - before <= ticks + 1.0, "{} looks in {ticks} ticks", after - before);

    for id in &ids {
        world.api.expect(id, "cancelled");
        let path = format!("/pulsar/executions/{id}/cancel");
        assert_eq!(world.api.post(&path, &json!({})).await?.status, StatusCode::OK);
    }
    for caller in callers {
        let answer = caller.await??;
        assert_eq!(
            (answer.status, &answer.json["state"]),
            (StatusCode::OK, &json!("cancelled")),
            "{answer:?}"
        );
    }
    world.finish().await
}

#[tokio::test]
async fn a_publisher_that_leaves_sends_its_waiting_callers_away() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    world.endpoint.script("held", [Reply::Held]);
    let api = world.api.clone();
    let body = json!({ "workflow_id": "held", "payload": {} });
    let caller = tokio::spawn(async move { api.post("/pulsar/publish?wait=60", &body).await });
    world.endpoint.wait_for("the request", |fired| !fired.is_empty()).await;
    let begun = Instant::now();
    world.publisher.leave().await?;
    let answer = caller.await??;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    world.endpoint.release("held");
    world.publisher.start_ready(&[]).await?;
    world.finish().await
}

#[tokio::test]
async fn a_reported_result_is_the_executions_and_wakes_who_waits() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (id, path) = with_callback(&world, "w").await?;
    world.api.until(&id, "waiting").await;
    let (api, waited_for) = (world.api.clone(), format!("/pulsar/executions/{id}/result?wait=20"));
    let waiting = tokio::spawn(async move { api.get(&waited_for).await });
    let good = json!({ "status": "success", "result": { "score": 0.7 }, "n8n_execution_id": 231 });
    assert_eq!(report(&world, &path, good).await?.status, StatusCode::OK);
    let answer = waiting.await??;
    assert_eq!(
        (&answer.json["result"], &answer.json["evidence"], &answer.json["n8n_execution_id"]),
        (&json!({ "score": 0.7 }), &json!("callback"), &json!("231")),
        "{answer:?}"
    );

    let (id, path) = with_callback(&world, "bad").await?;
    world.api.expect(&id, "failed");
    let failed =
        report(&world, &path, json!({ "status": "error", "error": { "message": "no lead" } })).await?;
    assert_eq!((failed.status, &failed.json["state"]), (StatusCode::OK, &json!("failed")), "{failed:?}");
    let seen = world.api.show(&id).await?;
    assert_eq!((&seen["reason"], &seen["error"]), (&json!("reported_failure"), &json!("no lead")), "{seen}");
    world.finish().await
}

#[tokio::test]
async fn a_callback_that_is_not_the_bridges_learns_nothing() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let (id, path) = with_callback(&world, "w").await?;
    let (_, token) = path.split_once("token=").unwrap();
    let plain = world.api.fire("plain").await?;
    let (own, other) = (&world.tenants[0].id, &world.tenants[1].id);
    let wrong = format!("cb_1_{}", "A".repeat(43));
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    let mut answers = Vec::new();
    for (id, tenant, token) in [
        (id.as_str(), own.as_str(), wrong.as_str()),
        (&id, other, token),
        (&id, "nobody", token),
        (&plain, own, token),
        (unknown, own, token),
        ("junk", own, token),
        (&id, own, ""),
        (&id, own, &token.replace("cb_1_", "cb_2_")),
    ] {
        let path = format!("/pulsar/executions/{id}/result?tenant_id={tenant}&token={token}");
        let answer = report(&world, &path, json!({ "status": "success" })).await?;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path} {answer:?}");
        answers.push(answer.json);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "one word for all: {answers:?}");
    assert_eq!(world.api.until(&id, "waiting").await["state"], "waiting");

    let large = json!({ "status": "success", "result": "x".repeat(100_000) });
    let refused = report(&world, &path, large).await?;
    assert_eq!(
        (refused.status, kind(&refused)),
        (StatusCode::PAYLOAD_TOO_LARGE, "/problems/result-too-large")
    );
    assert_eq!(report(&world, &path, json!({ "state": "ok" })).await?.fields(), ["state", "status"]);
    assert_eq!(report(&world, &path, json!({ "status": "ok" })).await?.status, StatusCode::OK);
    for daemon in [&world.publisher, &world.consumer] {
        assert!(!daemon.log().contains(token), "{} wrote a token into its log", daemon.name());
    }
    world.finish().await
}

#[tokio::test]
async fn a_bad_end_is_told_to_the_workflow_that_wants_to_know() -> anyhow::Result<()> {
    let told = format!("{QUICK_RETRY}\non_failure = {{ workflow_id = \"alarm\" }}");
    // The alarm fails too, and nobody is told of that.
    let alarm = "retry = { max_attempts = 1 }\non_failure = { workflow_id = \"alarm\" }";
    let world = World::build().route("fragile", &told).route("alarm", alarm).start().await?;
    world.endpoint.script("fragile", [Reply::Status(400)]);
    world.endpoint.script("alarm", [Reply::Status(400)]);
    let id = world.api.fire("fragile").await?;
    world.api.expect(&id, "dead_lettered");
    let fired =
        world.endpoint.wait_for("the alarm", |fired| fired.iter().any(|f| f.workflow == "alarm")).await;
    let alarm = fired.iter().find(|fired| fired.workflow == "alarm").unwrap();
    let payload = &alarm.json()["payload"];
    assert_eq!(
        (&payload["execution_id"], &payload["state"], &payload["reason"], &payload["workflow_id"]),
        (&json!(id), &json!("dead_lettered"), &json!("permanent_answer"), &json!("fragile"))
    );
    let telling = world.api.until(&alarm.execution, "dead_lettered").await;
    assert_eq!(telling["caused_by"], id.as_str(), "{telling}");
    bridge_tests::eventually("the outbox to be empty", async || match world.sql.count("follow_ups").await {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let alarms = world.endpoint.fired().iter().filter(|fired| fired.workflow == "alarm").count();
    assert_eq!(alarms, 1);
    world.finish().await
}

#[tokio::test]
async fn every_bad_end_is_told_of() -> anyhow::Result<()> {
    let told = "on_failure = { workflow_id = \"alarm\" }";
    let world =
        World::build().route("w", told).route("held", &format!("is_active = false\n{told}")).start().await?;
    let (failed, path) = with_callback(&world, "w").await?;
    world.api.expect(&failed, "failed");
    let error = json!({ "status": "error", "error": "no lead" });
    assert_eq!(report(&world, &path, error).await?.status, StatusCode::OK);
    let expires = (Utc::now() + TimeDelta::milliseconds(800)).to_rfc3339();
    let body = json!({ "workflow_id": "held", "payload": {}, "expires_at": expires });
    let expired = world.api.accepted(body).await?;
    world.api.expect(&expired, "expired");
    let is_alarm = |fired: &&Fired| fired.workflow == "alarm";
    let fired =
        world.endpoint.wait_for("two alarms", |fired| fired.iter().filter(is_alarm).count() == 2).await;
    let mut said: Vec<_> = fired
        .iter()
        .filter(is_alarm)
        .map(|fired| {
            let payload = fired.json()["payload"].clone();
            ["execution_id", "state", "reason"]
                .map(|name| payload[name].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    said.sort_by_key(|[_, state, _]| state.clone());
    assert_eq!(
        said,
        [[expired.as_str(), "expired", "expired"], [failed.as_str(), "failed", "reported_failure"]]
    );
    world.finish().await
}

#[tokio::test]
async fn a_tenant_keeps_its_results_as_long_as_it_wants() -> anyhow::Result<()> {
    let world = World::start().await?;
    let put = json!({ "limits": { "result_ttl_s": 1 } });
    let set = world.admin().put(&format!("/pulsar/tenants/{}", world.tenant()), &put).await?;
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
    let id = world.api.fire("w").await?;
    assert_eq!(result(&world, &id, "?wait=20").await?.status, StatusCode::OK);
    bridge_tests::eventually("the result to be gone", async || match result(&world, &id, "").await {
        Ok(answer) if answer.status == StatusCode::GONE => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(world.api.show(&id).await?["state"], "succeeded");
    world.finish().await
}

#[tokio::test]
async fn the_older_routes_keep_their_shapes() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.endpoint.script("held", [Reply::Held]);
    let body =
        json!({ "workflow_id": "held", "data": { "n": 1 }, "priority": "high", "execution_id": "mine" });
    let queued = world.api.post("/api/v2/n8n/queue", &body).await?;
    assert_eq!((queued.status, &queued.json["success"]), (StatusCode::OK, &json!(true)), "{queued:?}");
    assert_eq!(
        (&queued.json["status"], &queued.json["job_id"]),
        (&json!("queued"), &queued.json["execution_id"])
    );
    let again = world.api.post("/api/v2/n8n/queue", &body).await?;
    assert_eq!(again.id(), queued.id(), "the caller's own id makes it one");
    let path = format!("/api/v2/n8n/result/{}", queued.id());
    let pending = world.api.get(&path).await?;
    assert_eq!(
        (&pending.json["success"], &pending.json["status"]),
        (&json!(false), &json!("pending")),
        "{pending:?}"
    );
    let fired = world.endpoint.wait_for_execution(&queued.id(), 1).await.remove(0);
    assert_eq!(fired.json()["payload"], json!({ "n": 1 }));
    world.endpoint.release("held");
    world.api.until(&queued.id(), "succeeded").await;
    let done = world.api.get(&path).await?;
    assert_eq!(
        (&done.json["success"], &done.json["status"]),
        (&json!(true), &json!("completed")),
        "{done:?}"
    );
    assert_eq!(done.json["result"], json!({}));
    let bad = world.api.post("/api/v2/n8n/queue", &json!({ "payload": {} })).await?;
    assert_eq!(bad.fields(), ["workflow_id"]);
    world.finish().await
}
