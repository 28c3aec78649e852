//! What ended without success: its list, its reasons, and putting one away.

use bridge_tests::{Answer, Api, Reply, World};
use http::StatusCode;
use serde_json::json;

async fn die(world: &World, workflow: &str, lane: &str, status: u16) -> anyhow::Result<String> {
    world.endpoint.script(workflow, [Reply::Status(status)]);
    let body = json!({ "workflow_id": workflow, "lane": lane, "payload": { "of": workflow } });
    let id = world.api.accepted(body).await?;
    world.api.expect(&id, "dead_lettered");
    world.api.until(&id, "dead_lettered").await;
    Ok(id)
}

fn ids(answer: &Answer) -> Vec<String> {
    let letters = answer.json["dead_letters"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    letters.iter().map(|letter| letter["execution_id"].as_str().unwrap().to_owned()).collect()
}

async fn list(api: &Api, query: &str) -> anyhow::Result<Vec<String>> {
    Ok(ids(&api.get(&format!("/pulsar/dead-letters{query}")).await?))
}

#[tokio::test]
async fn dead_letters_are_found_by_lane_workflow_and_reason() -> anyhow::Result<()> {
    let route = "retry = { max_attempts = 1, base_ms = 10, factor = 1.0, max_ms = 10 }";
    let world = World::build().tenants(2).route("tired", route).start().await?;
    let broken = die(&world, "broken", "ai", 400).await?;
    let tired = die(&world, "tired", "short", 503).await?;
    let api = &world.api;
    assert_eq!(list(api, "").await?, [tired.clone(), broken.clone()]);
    assert_eq!(list(api, "?lane=ai").await?, std::slice::from_ref(&broken));
    assert_eq!(list(api, "?workflow_id=tired").await?, std::slice::from_ref(&tired));
    assert_eq!(list(api, "?reason=permanent_answer").await?, std::slice::from_ref(&broken));
    assert_eq!(list(api, "?reason=attempts_exhausted").await?, std::slice::from_ref(&tired));
    let unknown = api.get("/pulsar/dead-letters?reason=bad_luck&lane=fast").await?;
    assert_eq!((unknown.status, unknown.fields()), (StatusCode::BAD_REQUEST, vec!["lane", "reason"]));

    // Page by page; a cursor is of its list only.
    let first = api.get("/pulsar/dead-letters?limit=1").await?;
    let cursor = first.json["next_cursor"].as_str().unwrap();
    assert_eq!(ids(&first), std::slice::from_ref(&tired));
    assert_eq!(list(api, &format!("?limit=1&cursor={cursor}")).await?, std::slice::from_ref(&broken));
    for query in
        [format!("?lane=ai&cursor={cursor}"), format!("?cursor={cursor}x"), format!("?cursor={broken}")]
    {
        let refused = api.get(&format!("/pulsar/dead-letters{query}")).await?;
        assert_eq!(refused.json["type"], "/problems/bad-cursor", "{refused:?}");
    }
    let foreign = world.api_of(1);
    assert!(list(&foreign, "").await?.is_empty());
    let refused = foreign.get(&format!("/pulsar/dead-letters?limit=1&cursor={cursor}")).await?;
    assert_eq!(refused.json["type"], "/problems/bad-cursor", "{refused:?}");
    world.finish().await
}

#[tokio::test]
async fn one_is_put_away_with_a_note_and_stays_on_the_record() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let id = die(&world, "broken", "long", 400).await?;
    let (api, foreign) = (&world.api, world.api_of(1));
    let (path, away) = (format!("/pulsar/dead-letters/{id}"), format!("/pulsar/dead-letters/{id}/discard"));
    let seen = api.get(&path).await?;
    assert_eq!(
        (seen.json["reason"].as_str(), seen.json["attempt"].as_u64()),
        (Some("permanent_answer"), Some(1))
    );
    let note = json!({ "note": "the order was cancelled" });
    for (answer, status) in [
        (foreign.get(&path).await?, 404),
        (foreign.post(&away, &note).await?, 404),
        (api.post(&away, &json!({})).await?, 400),
    ] {
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
    let done = api.post(&away, &note).await?;
    assert_eq!((done.status, done.json["changed"].as_bool()), (StatusCode::OK, Some(true)), "{done:?}");
    let again = api.post(&away, &json!({ "note": "another" })).await?;
    assert_eq!(again.json["changed"], false, "{again:?}");
    assert!(list(api, "").await?.is_empty());
    assert_eq!(list(api, "?discarded=true").await?, std::slice::from_ref(&id));
    let seen = api.get(&path).await?;
    assert_eq!(seen.json["discarded"]["note"], "the order was cancelled", "{seen:?}");
    let audit = world.admin().get(&format!("/pulsar/audit?tenant_id={}", api.tenant)).await?;
    assert!(audit.json.to_string().contains(&id), "{audit:?}");
    // Put away is not ended anew: it can still be replayed.
    world.endpoint.script("broken", [Reply::Status(200)]);
    let replay = api.post(&format!("/pulsar/executions/{id}/replay"), &json!({})).await?;
    assert_eq!(replay.status, StatusCode::ACCEPTED, "{replay:?}");
    api.until(&replay.id(), "succeeded").await;
    let seen = api.get(&path).await?;
    assert_eq!(seen.json["replayed_as"], replay.id(), "{seen:?}");
    world.finish().await
}
