//! Finding executions again: by every filter, page by page; and what is left of one whose payload is gone.

use bridge_protocol::ExecutionId;
use bridge_tests::{Answer, Api, Reply, World, eventually};
use chrono::SecondsFormat;
use http::{Method, StatusCode};
use serde_json::{Value, json};

fn ids(answer: &Answer) -> Vec<String> {
    let listed = answer.json["executions"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    listed.iter().map(|line| line["execution_id"].as_str().unwrap().to_owned()).collect()
}

/// All pages, one after the other, and how many said that they were not the whole.
async fn pages(api: &Api, query: &[(&str, &str)], limit: &str) -> anyhow::Result<(Vec<String>, usize)> {
    let (mut found, mut partial, mut cursor) = (Vec::new(), 0, None::<String>);
    loop {
        let mut url = url::Url::parse("http://bridge/pulsar/executions")?;
        url.query_pairs_mut().extend_pairs(query).append_pair("limit", limit);
        if let Some(cursor) = &cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let page = api.get(&format!("{}?{}", url.path(), url.query().unwrap_or_default())).await?;
        anyhow::ensure!(page.status == StatusCode::OK, "{query:?}: {page:?}");
        let page_ids = ids(&page);
        let cut = page.json["partial"] == true;
        anyhow::ensure!(page_ids.len() <= limit.parse()?, "{page:?}");
        found.extend(page_ids);
        partial += usize::from(cut);
        match page.json["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok((found, partial)),
        }
    }
}

/// Finished executions of the past, more than one look goes through; the two oldest have this metadata.
async fn with_a_past(world: &World) -> anyhow::Result<()> {
    let statement = format!(
        "INSERT INTO executions (tenant_id, id, lane, state, attempt, workflow_id, decided_by, decided_because, psh, metadata, finished_at, due_at)
         SELECT '{tenant}', (lpad(to_hex((extract(epoch FROM now()) * 1000)::int8), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
           1, 4, 1, 'past', 'default', '', '', CASE WHEN n < 2 THEN '{{\"order\": 7}}'::jsonb END, now(), now()
         FROM generate_series(0, 10400) n",
        tenant = world.tenant()
    );
    world.sql.rows(&statement).await?;
    Ok(())
}

#[tokio::test]
async fn a_list_by_any_filter_has_no_gap_and_no_repeat() -> anyhow::Result<()> {
    let world = World::start().await?;
    with_a_past(&world).await?;
    let old: Vec<String> =
        world.sql.rows("SELECT id FROM executions WHERE metadata IS NOT NULL ORDER BY id DESC").await?;
    let api = &world.api;
    world.endpoint.script("broken", [Reply::Status(400)]);
    // Oldest first: workflow, lane, how it ends, its order.
    let wanted = [
        ("crm", "short", "succeeded", Some(7)),
        ("crm", "ai", "succeeded", None),
        ("broken", "ai", "dead_lettered", Some(7)),
        ("later", "short", "cancelled", None),
        ("crm", "short", "succeeded", Some(8)),
        ("broken", "short", "dead_lettered", None),
        ("crm", "ai", "succeeded", Some(7)),
        ("later", "analytics", "cancelled", Some(7)),
        ("crm", "short", "succeeded", Some(7)),
        ("broken", "ai", "dead_lettered", None),
    ];
    let mut made = Vec::new();
    for (workflow, lane, state, order) in wanted {
        let mut body = json!({ "workflow_id": workflow, "lane": lane, "payload": {} });
        if let Some(order) = order {
            body["metadata"] = json!({ "order": order, "of": { "nobody": [1] } });
        }
        if state == "cancelled" {
            body["delay_seconds"] = json!(3600);
        }
        let id = api.accepted(body).await?;
        api.expect(&id, state);
        if state == "cancelled" {
            let path = format!("/pulsar/executions/{id}/cancel");
            assert_eq!(api.post(&path, &json!({})).await?.status, StatusCode::OK);
        }
        api.until(&id, state).await;
        made.push((id, workflow, lane, state, order));
    }
    made.reverse();
    type Made<'m> = (String, &'m str, &'m str, &'m str, Option<u64>);
    let of = |matches: &dyn Fn(&Made<'_>) -> bool| -> Vec<String> {
        made.iter().filter(|one| matches(one)).map(|one| one.0.clone()).collect()
    };
    let time = |id: &str| -> anyhow::Result<String> {
        let accepted = id.parse::<ExecutionId>()?.created_at();
        Ok(accepted.to_rfc3339_opts(SecondsFormat::Millis, true))
    };
    let (first, middle) = (time(&made[9].0)?, time(&made[4].0)?);
    let recent = ("since", first.as_str());
    type Case<'a> = (Vec<(&'a str, &'a str)>, Vec<String>);
    let cases: Vec<Case<'_>> = vec![
        (vec![recent], of(&|_| true)),
        (vec![("workflow_id", "crm")], of(&|one| one.1 == "crm")),
        (vec![("lane", "ai"), recent], of(&|one| one.2 == "ai")),
        (vec![("lane", "analytics")], of(&|one| one.2 == "analytics")),
        (vec![("state", "dead_lettered")], of(&|one| one.3 == "dead_lettered")),
        (vec![("state", "cancelled,dead_lettered"), recent], of(&|one| one.3 != "succeeded")),
        (vec![("state", "running")], vec![]),
        (vec![("reason", "permanent_answer")], of(&|one| one.1 == "broken")),
        (
            vec![("workflow_id", "crm"), ("lane", "short"), ("metadata", r#"{"order": 7}"#)],
            of(&|one| one.1 == "crm" && one.2 == "short" && one.4 == Some(7)),
        ),
        (vec![("metadata", r#"{"of": {"nobody": [1]}, "order": 8}"#)], of(&|one| one.4 == Some(8))),
        (vec![("since", &middle)], made[..5].iter().map(|one| one.0.clone()).collect()),
        (vec![recent, ("until", &middle)], made[5..].iter().map(|one| one.0.clone()).collect()),
    ];
    for (query, expected) in &cases {
        for limit in ["1", "3", "1000"] {
            let (found, _) = pages(api, query, limit).await?;
            assert_eq!(&found, expected, "{query:?} by {limit}");
        }
    }
    // What lies far behind is found too, and a page that ends before it says so.
    let mut expected = of(&|one| one.4 == Some(7));
    expected.extend(old);
    for limit in ["2", "50"] {
        let (found, partial) = pages(api, &[("metadata", r#"{"order": 7}"#)], limit).await?;
        assert_eq!((found, partial), (expected.clone(), 1), "by {limit}");
    }
    let (whole, _) = pages(api, &[], "1000").await?;
    assert_eq!(whole.len(), 10_411);
    world.finish().await
}

/// Retention took it, or somebody did.
#[tokio::test]
async fn a_payload_that_is_gone_is_said_to_be_gone() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = &world.api;
    world.endpoint.script("broken", [Reply::Status(400)]);
    let ids = api.many("broken", 2).await?;
    for id in &ids {
        api.expect(id, "dead_lettered");
        api.until(id, "dead_lettered").await;
    }
    world.sql.rows(&format!("DELETE FROM payloads WHERE id = '{}'", ids[0])).await?;
    let path = |what: &str| format!("/pulsar/executions/{}/{what}", ids[0]);
    for answer in [api.get(&path("payload")).await?, api.post(&path("replay"), &json!({})).await?] {
        assert_eq!(
            (answer.status, answer.json["type"].as_str()),
            (StatusCode::GONE, Some("/problems/payload-gone")),
            "{answer:?}"
        );
    }
    assert_eq!(api.show(&ids[0]).await?["state"], "dead_lettered");
    let whole = json!({ "filter": { "state": "dead_lettered" } });
    let begun = api.call(Method::POST, "/pulsar/replay", Some(&whole)).await?;
    let job =
        format!("/pulsar/jobs/{}", begun.json["job_id"].as_str().unwrap_or_else(|| panic!("{begun:?}")));
    let done: Value = eventually("the job to be done", async || match api.get(&job).await {
        Ok(seen) if seen.json["state"] == "done" => Ok(seen.json),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!((done["done"].as_u64(), done["failed"].as_u64()), (Some(1), Some(1)), "{done}");
    let again = api.show(&ids[1]).await?;
    api.expect(again["replayed_as"].as_str().unwrap(), "dead_lettered");
    api.until(again["replayed_as"].as_str().unwrap(), "dead_lettered").await;
    world.finish().await
}
