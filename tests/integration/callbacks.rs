//! Results that the workflow reports itself: one token an attempt, one end an execution, whatever comes first.

use anyhow::Context;
use bridge_tests::parts::repository;
use bridge_tests::{Answer, Fired, Reply, World, eventually};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const QUICK: &str = "quick";

/// `quick` is retried at once.
async fn world() -> anyhow::Result<World> {
    let world = World::start().await?;
    route(&world, QUICK, json!({ "callback_timeout_s": 600 })).await?;
    Ok(world)
}

async fn route(world: &World, workflow: &str, mut route: Value) -> anyhow::Result<()> {
    route["completion"] = json!("callback");
    if route.get("retry").is_none() {
        route["retry"] = json!({ "max_attempts": 4, "base_ms": 20, "factor": 1.5, "max_ms": 100 });
    }
    let put = world.api.put(&format!("/pulsar/workflows/{workflow}"), &route).await?;
    anyhow::ensure!(put.status.is_success() && put.json["in_effect"] == true, "{put:?}");
    Ok(())
}

/// The path of the URL that n8n was given.
fn path(world: &World, fired: &Fired) -> String {
    let url = &fired.headers["x-callback-url"];
    assert_eq!(fired.json()["callback_url"], url.as_str(), "the envelope says the same");
    url.strip_prefix(&world.publisher.url())
        .unwrap_or_else(|| panic!("{url} is not the publisher's"))
        .to_owned()
}

/// As n8n does: with nothing but the URL.
async fn report(world: &World, path: &str, body: Value) -> anyhow::Result<Answer> {
    Ok(world.api.call_as(&[], Method::POST, path, Some(&body)).await?)
}

async fn fired(world: &World, workflow: &str) -> anyhow::Result<(String, String)> {
    let id = world.api.fire(workflow).await?;
    let fired = world.endpoint.wait_for_execution(&id, 1).await;
    Ok((id, path(world, &fired[0])))
}

async fn counted(world: &World, id: &str, times: usize) {
    assert_eq!(world.endpoint.fired_of(id).len(), times, "requests of {id}");
}

#[tokio::test]
async fn a_workflow_reports_its_result_and_its_repeat_changes_nothing() -> anyhow::Result<()> {
    let world = world().await?;
    let (id, path) = fired(&world, QUICK).await?;
    let waiting = world.api.until(&id, "waiting").await;
    assert_eq!(waiting["waiting_on"]["kind"], "callback", "{waiting}");
    let unread = report(&world, &path, json!({ "status": "perhaps" })).await?;
    assert_eq!((unread.status, unread.fields()), (StatusCode::BAD_REQUEST, vec!["status"]), "{unread:?}");
    assert_eq!(world.api.show(&id).await?["state"], "waiting", "what cannot be read changes nothing");
    let body = json!({ "status": "success", "result": { "lead": 7 }, "n8n_execution_id": "4711" });
    let taken = report(&world, &path, body.clone()).await?;
    assert_eq!(
        (taken.status, taken.json["state"].as_str()),
        (StatusCode::OK, Some("succeeded")),
        "{taken:?}"
    );
    let done = world.api.until(&id, "succeeded").await;
    assert_eq!((done["evidence"].as_str(), done["attempt"].as_u64()), (Some("callback"), Some(1)), "{done}");
    assert_eq!(done["n8n_execution_id"], "4711", "{done}");
    let result = world.api.get(&format!("/pulsar/executions/{id}/result")).await?;
    assert_eq!(
        (result.status, &result.json["result"]),
        (StatusCode::OK, &json!({ "lead": 7 })),
        "{result:?}"
    );

    assert_eq!(report(&world, &path, body).await?.status, StatusCode::OK, "an identical repeat");
    let other = report(&world, &path, json!({ "status": "error", "error": "no" })).await?;
    assert_eq!(
        (other.status, other.json["state"].as_str()),
        (StatusCode::CONFLICT, Some("succeeded")),
        "{other:?}"
    );
    let result = world.api.get(&format!("/pulsar/executions/{id}/result")).await?;
    assert_eq!(result.json["result"], json!({ "lead": 7 }), "the first report stands");
    counted(&world, &id, 1).await;
    world.finish().await
}

#[tokio::test]
async fn a_report_before_n8ns_own_answer_is_the_end() -> anyhow::Result<()> {
    let world = world().await?;
    world.endpoint.script(QUICK, [Reply::Held]);
    let (id, path) = fired(&world, QUICK).await?;
    assert_eq!(world.api.show(&id).await?["state"], "running");
    let taken = report(&world, &path, json!({ "status": "success", "result": [1] })).await?;
    assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
    world.api.until(&id, "succeeded").await;
    world.endpoint.release(QUICK);
    eventually("n8n's own answer to be of no account", async || {
        let metrics = world.consumer.metrics().await.map_err(|error| error.to_string())?;
        if metrics.contains("bridge_callbacks_first_total 1") {
            Ok(())
        } else {
            Err("not counted".to_owned())
        }
    })
    .await;
    let done = world.api.until(&id, "succeeded").await;
    assert_eq!(done["evidence"], "callback", "{done}");
    counted(&world, &id, 1).await;
    world.finish().await
}

#[tokio::test]
async fn a_reported_failure_is_the_end_too() -> anyhow::Result<()> {
    let world = world().await?;
    let (id, path) = fired(&world, QUICK).await?;
    world.api.expect(&id, "failed");
    world.api.until(&id, "waiting").await;
    let taken = report(&world, &path, json!({ "status": "error", "error": "the CRM is closed" })).await?;
    assert_eq!((taken.status, taken.json["state"].as_str()), (StatusCode::OK, Some("failed")), "{taken:?}");
    let failed = world.api.until(&id, "failed").await;
    assert_eq!(
        (failed["reason"].as_str(), failed["error"].as_str()),
        (Some("reported_failure"), Some("the CRM is closed")),
        "{failed}"
    );
    world.finish().await
}

#[tokio::test]
async fn during_the_next_attempt_an_earlier_one_may_still_succeed_but_not_fail() -> anyhow::Result<()> {
    let world = world().await?;
    // Reset: nobody knows whether the workflow began. It did.
    world.endpoint.script(QUICK, [Reply::Reset, Reply::Held]);
    let (id, first) = fired(&world, QUICK).await?;
    let all = world.endpoint.wait_for_execution(&id, 2).await;
    let second = path(&world, &all[1]);
    assert_ne!(first, second, "each attempt has a token of its own");
    let refused = report(&world, &first, json!({ "status": "error", "error": "late" })).await?;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert_eq!(world.api.show(&id).await?["state"], "running", "nothing has changed");
    let taken = report(&world, &first, json!({ "status": "success", "result": "first" })).await?;
    assert_eq!(
        (taken.status, taken.json["state"].as_str()),
        (StatusCode::OK, Some("succeeded")),
        "{taken:?}"
    );
    world.endpoint.release(QUICK);
    let late = report(&world, &second, json!({ "status": "success", "result": "second" })).await?;
    assert_eq!(late.status, StatusCode::CONFLICT, "{late:?}");
    let result = world.api.get(&format!("/pulsar/executions/{id}/result")).await?;
    assert_eq!(result.json["result"], "first", "{result:?}");
    world.finish().await
}

#[tokio::test]
async fn a_wrong_or_foreign_token_is_refused_and_changes_nothing() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    route(&world, QUICK, json!({})).await?;
    let (id, own) = fired(&world, QUICK).await?;
    let (other, others) = fired(&world, QUICK).await?;
    world.api.until(&id, "waiting").await;
    world.api.until(&other, "waiting").await;
    let (address, token) = own.split_once("&token=").unwrap();
    let (_, others_token) = others.split_once("&token=").unwrap();
    let (start, end) = token.split_at(token.len() - 8);
    let wrong = format!("{}{}{end}", &start[..start.len() - 1], if start.ends_with('A') { 'B' } else { 'A' });
    let second = token.replacen("cb_1_", "cb_2_", 1);
    let foreign = own.replace(&world.tenants[0].id, &world.tenants[1].id);
    let paths = [
        address.to_owned(),
        format!("{address}&token="),
        format!("{address}&token=junk"),
        format!("{address}&token={wrong}"),
        format!("{address}&token={second}"),
        format!("{address}&token={others_token}"),
        foreign,
        own.replace(&id, "01890a5d-ac96-774b-bcce-b302099a8057"),
        own.replace(&id, "junk"),
    ];
    for path in &paths {
        let answer = report(&world, path, json!({ "status": "success" })).await?;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}: {answer:?}");
    }
    // A credential of the tenant's is no token.
    let bearer = [("authorization", format!("Bearer {}", world.tenants[0].token))];
    let answer =
        world.api.call_as(&bearer, Method::POST, address, Some(&json!({ "status": "success" }))).await?;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert_eq!(world.api.show(&id).await?["state"], "waiting");
    for path in [&own, &others] {
        assert_eq!(report(&world, path, json!({ "status": "success" })).await?.status, StatusCode::OK);
    }
    world.finish().await
}

#[tokio::test]
async fn an_execution_that_ends_by_n8ns_answer_gives_no_callback_and_takes_none() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.endpoint.script("plain", [Reply::Held]);
    let id = world.api.fire("plain").await?;
    let fired = world.endpoint.wait_for_execution(&id, 1).await;
    assert!(!fired[0].headers.contains_key("x-callback-url"), "{:?}", fired[0].headers);
    let token = format!("cb_1_{}", "A".repeat(43));
    let made_up = format!("/pulsar/executions/{id}/result?tenant_id={}&token={token}", world.tenants[0].id);
    let answer = report(&world, &made_up, json!({ "status": "success" })).await?;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    world.endpoint.release("plain");
    world.api.until(&id, "succeeded").await;
    // The request may ask for it where the route does not.
    let asked = json!({ "workflow_id": "plain", "payload": {}, "completion": "callback" });
    let id = world.api.accepted(asked).await?;
    let fired = world.endpoint.wait_for_execution(&id, 1).await;
    world.api.until(&id, "waiting").await;
    let taken = report(&world, &path(&world, &fired[0]), json!({ "status": "ok" })).await?;
    assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
    world.finish().await
}

#[tokio::test]
async fn silence_is_ended_by_the_routes_rule() -> anyhow::Result<()> {
    let world = World::start().await?;
    let once = json!({ "max_attempts": 1, "base_ms": 20, "factor": 1.0, "max_ms": 100 });
    route(&world, "again", json!({ "callback_timeout_s": 1 })).await?;
    route(&world, "once", json!({ "callback_timeout_s": 1, "retry": once })).await?;
    route(&world, "never-twice", json!({ "callback_timeout_s": 1, "on_unknown": "dead_letter" })).await?;
    let mut ended = Vec::new();
    for workflow in ["once", "never-twice"] {
        let (id, path) = fired(&world, workflow).await?;
        world.api.expect(&id, "dead_lettered");
        ended.push((id, workflow, path));
    }
    let id = world.api.fire("again").await?;
    let all = world.endpoint.wait_for_execution(&id, 2).await;
    assert_eq!(all[1].attempt, 2);
    world.api.until(&id, "waiting").await;
    let taken = report(&world, &path(&world, &all[1]), json!({ "status": "success" })).await?;
    assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
    for (id, workflow, path) in ended {
        let dead = world.api.until(&id, "dead_lettered").await;
        assert_eq!(dead["reason"], "callback_timed_out", "{workflow}: {dead}");
        // Its token is good for nothing any more.
        for status in ["success", "error"] {
            let late = report(&world, &path, json!({ "status": status })).await?;
            assert_eq!(
                (late.status, late.json["state"].as_str()),
                (StatusCode::CONFLICT, Some("dead_lettered")),
                "{workflow}: {late:?}"
            );
        }
        assert_eq!(world.api.show(&id).await?, dead, "{workflow}: nothing has changed");
        assert_eq!(world.sql.count(&format!("results WHERE id = '{id}'")).await?, 0, "{workflow}");
        counted(&world, &id, 1).await;
    }
    // Nor that of an earlier attempt, when a later one has ended it.
    let early = report(&world, &path(&world, &all[0]), json!({ "status": "success", "result": 1 })).await?;
    assert_eq!(early.status, StatusCode::CONFLICT, "{early:?}");
    world.finish().await
}

/// Which must not run twice: no answer is no end as long as its report may come.
#[tokio::test]
async fn a_workflow_that_must_not_run_twice_is_waited_for_when_n8n_does_not_answer() -> anyhow::Result<()> {
    let world = World::start().await?;
    route(&world, "careful", json!({ "on_unknown": "dead_letter" })).await?;
    world.endpoint.script("careful", [Reply::Reset]);
    let (id, path) = fired(&world, "careful").await?;
    world.api.until(&id, "waiting").await;
    assert_eq!(report(&world, &path, json!({ "status": "success" })).await?.status, StatusCode::OK);
    counted(&world, &id, 1).await;
    world.finish().await
}

#[tokio::test]
async fn whoever_fired_may_be_gone_when_the_report_comes() -> anyhow::Result<()> {
    let mut world = world().await?;
    let (id, path) = fired(&world, QUICK).await?;
    world.api.until(&id, "waiting").await;
    world.consumer.kill9().await?;
    let taken = report(&world, &path, json!({ "status": "success", "result": null })).await?;
    assert_eq!(
        (taken.status, taken.json["state"].as_str()),
        (StatusCode::OK, Some("succeeded")),
        "{taken:?}"
    );
    world.api.until(&id, "succeeded").await;
    world.finish().await
}

/// A payload is kept for seven days: a report that may come later than that is not waited for.
#[tokio::test]
async fn a_report_must_come_before_the_payload_is_gone() -> anyhow::Result<()> {
    let world = World::start().await?;
    route(&world, "far", json!({ "callback_timeout_s": 3600 })).await?;
    let six_days = json!({ "workflow_id": "far", "payload": {}, "delay_seconds": 518_400 });
    let taken = world.api.accepted(six_days.clone()).await?;
    world.api.expect(&taken, "cancelled");
    let too_long = json!({ "completion": "callback", "callback_timeout_s": 604_800 });
    let refused = world.api.put("/pulsar/workflows/far", &too_long).await?;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::BAD_REQUEST, vec!["callback_timeout_s"]),
        "{refused:?}"
    );
    // Raised after the first was accepted: the next is measured by what holds now.
    route(&world, "far", json!({ "callback_timeout_s": 90_000 })).await?;
    let refused = world.api.publish(six_days).await?;
    assert_eq!((refused.status, refused.fields()), (StatusCode::BAD_REQUEST, vec!["completion"]));
    assert!(refused.json["detail"].as_str().unwrap().contains("the payload is kept 604800 s"), "{refused:?}");
    let done = world.api.post(&format!("/pulsar/executions/{taken}/cancel"), &json!({})).await?;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    world.finish().await
}

/// What the documentation tells people to put into n8n's HTTP Request node.
#[tokio::test]
async fn the_reports_of_the_documentation_are_taken_as_they_are_written() -> anyhow::Result<()> {
    let page = std::fs::read_to_string(repository().join("docs/integrations/pulsar-bridge.md"))?;
    let body = |before: &str| -> anyhow::Result<Value> {
        let text = page.split(before).nth(1).and_then(|rest| rest.split('`').nth(1));
        let text = text.with_context(|| format!("the page has no {before:?} with a body behind it"))?;
        // What n8n fills in, and what the reader does.
        Ok(serde_json::from_str(
            &text.replace("{{ $execution.id }}", "4711").replace("{...}", r#"{"n": 1}"#),
        )?)
    };
    let world = world().await?;
    for (before, state) in [("| Body (JSON) |", "succeeded"), ("On an error branch:", "failed")] {
        let (id, path) = fired(&world, QUICK).await?;
        world.api.expect(&id, state);
        world.api.until(&id, "waiting").await;
        let taken = report(&world, &path, body(before)?).await?;
        assert_eq!((taken.status, &taken.json["state"]), (StatusCode::OK, &json!(state)), "{taken:?}");
        let seen = world.api.show(&id).await?;
        match state {
            "succeeded" => assert_eq!(seen["n8n_execution_id"], "4711", "{seen}"),
            _ => assert_eq!(seen["error"], "what happened", "{seen}"),
        }
    }
    world.finish().await
}
