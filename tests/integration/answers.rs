//! What lists tell of an end, and what a refused move tells of the state in its way.

use bridge_tests::{Answer, Reply, World, eventually};
use http::StatusCode;
use serde_json::{Value, json};

fn state_and_allowed(refused: &Answer) -> (&str, Vec<&str>) {
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    let allowed = refused.json["allowed"].as_array().into_iter().flatten().filter_map(Value::as_str);
    (refused.json["state"].as_str().unwrap_or_default(), allowed.collect())
}

#[tokio::test]
async fn a_list_tells_how_and_when_each_ended() -> anyhow::Result<()> {
    let world = World::build().route("held", "is_active = false").start().await?;
    let api = &world.api;
    let started = r#"{"message":"Workflow was started"}"#;
    let started = Reply::Body { status: 200, content_type: "application/json", body: started };
    world.endpoint.script("n8n", [started]);
    world.endpoint.script("broken", [Reply::Status(400)]);
    let (good, held) = (api.fire("n8n").await?, api.fire("held").await?);
    let ended = api.until(&good, "succeeded").await;
    let bad = api.fire("broken").await?;
    api.expect(&bad, "dead_lettered");
    api.until(&bad, "dead_lettered").await;
    let listed = api.get("/pulsar/executions").await?;
    let line = |id: &str| {
        let mut lines = listed.json["executions"].as_array().unwrap().iter();
        lines.find(|line| line["execution_id"] == id).unwrap().clone()
    };
    assert_eq!(
        (&line(&good)["evidence"], &line(&good)["finished_at"]),
        (&json!("started"), &ended["finished_at"])
    );
    assert!(line(&held).get("finished_at").is_none() && line(&held).get("evidence").is_none());

    let letter = api.get(&format!("/pulsar/dead-letters/{bad}")).await?;
    let letters = api.get("/pulsar/dead-letters").await?;
    for letter in [&letter.json, &letters.json["dead_letters"][0]] {
        assert_eq!(letter["http_status"], 400, "{letter}");
        assert!(letter["error"].as_str().is_some_and(|error| error.contains("400")), "{letter}");
    }
    world.activate("held").await?;
    world.finish().await
}

#[tokio::test]
async fn a_refused_move_says_what_stands_in_its_way() -> anyhow::Result<()> {
    let world = World::build().tenants(2).route("held", "is_active = false").start().await?;
    let api = &world.api;
    let held = api.fire("held").await?;
    let discard = format!("/pulsar/dead-letters/{held}/discard");
    let note = json!({ "note": "a mistake" });
    let refused = api.post(&discard, &note).await?;
    assert_eq!(state_and_allowed(&refused), ("accepted", vec!["wait", "cancel"]), "{refused:?}");
    assert_eq!(world.api_of(1).post(&discard, &note).await?.status, StatusCode::NOT_FOUND);
    let refused = api.post(&format!("/pulsar/executions/{held}/replay"), &json!({})).await?;
    assert_eq!(state_and_allowed(&refused), ("accepted", vec!["wait", "cancel"]), "{refused:?}");

    let filter = json!({ "filter": { "workflow_id": "held", "state": "running" } });
    let job = api.post("/pulsar/cancel", &filter).await?;
    let job = job.json["job_id"].as_str().unwrap_or_else(|| panic!("{job:?}")).to_owned();
    eventually("the job to be done", async || match api.get(&format!("/pulsar/jobs/{job}")).await {
        Ok(seen) if seen.json["state"] == "done" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let refused = api.post(&format!("/pulsar/jobs/{job}/pause"), &json!({})).await?;
    assert_eq!(state_and_allowed(&refused), ("done", vec![]), "{refused:?}");
    world.activate("held").await?;
    world.finish().await
}

#[tokio::test]
async fn a_job_does_nothing_more_for_whoever_was_revoked() -> anyhow::Result<()> {
    let world = World::build().route("held", "is_active = false").start().await?;
    let api = &world.api;
    let ids = api.many("held", 12).await?;
    let key = world.registrar.new_key(vec![world.tenant()], bridge_protocol::Scopes::ALL_OF_TENANT).await?;
    world.directory_is_current().await;
    let body = json!({ "filter": { "workflow_id": "held" }, "per_second": 2 });
    let begun = api.with_token(&key).call(http::Method::POST, "/pulsar/cancel", Some(&body)).await?;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
    let path = format!("/pulsar/jobs/{}", begun.json["job_id"].as_str().unwrap());
    let until = async |what: &str, is: &dyn Fn(&Value) -> bool| {
        eventually(&format!("the job to be {what}"), async || match api.get(&path).await {
            Ok(seen) if is(&seen.json) => Ok(seen.json),
            other => Err(format!("{other:?}")),
        })
        .await
    };
    until("under way", &|job| job["done"].as_u64() >= Some(2)).await;
    let revoked = world.admin().delete(&format!("/pulsar/clients/{}", &key[..16])).await?;
    assert_eq!(revoked.status, StatusCode::OK, "{revoked:?}");
    let stuck =
        until("held up", &|job| job["held_up"].as_str().is_some_and(|why| why.contains("revoked"))).await;
    assert_eq!(stuck["state"], "running", "{stuck}");
    let done = stuck["done"].as_u64().unwrap_or_default();
    assert!(done < 12, "{stuck}");
    let cancelled = api.call(http::Method::POST, &format!("{path}/cancel"), None).await?;
    assert_eq!(cancelled.json["state"], "cancelled", "{cancelled:?}");
    for id in &ids {
        if api.show(id).await?["state"] == "cancelled" {
            api.expect(id, "cancelled");
        }
    }
    assert_eq!(world.sql.count("executions WHERE state = 7").await?, done);
    world.activate("held").await?;
    world.finish().await
}
