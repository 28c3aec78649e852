//! Every route the server has, with every kind of credential, on the caller's own tenant and on another's. The routes
//! come from the server: one without a row here fails.

mod credentials;
mod rows;

use std::collections::BTreeMap;
use std::process::Command;

use bridge_tests::daemon::{PUBLISHER, binary};
use bridge_tests::settings::Tenant;
use bridge_tests::{Api, Reply, World, eventually};
use http::Method;
use serde::Deserialize;
use serde_json::json;

pub use credentials::service_account;
use rows::{Row, Target, rows};

#[derive(Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    method: String,
    path: String,
    need: String,
}

fn routes() -> Vec<Route> {
    let output = Command::new(binary(PUBLISHER)).arg("routes").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn every_route_answers_every_credential_as_it_must() -> anyhow::Result<()> {
    let other = Tenant::new();
    let world = World::build()
        .tenants(2)
        .also(other.clone())
        .set("publisher.credential_changes_per_minute", "10000")
        .publisher_environment_of_tenant("BRIDGE_AUTH__ISSUERS", &credentials::issuers(&other.id))
        .start()
        .await?;
    let rows: BTreeMap<(String, String), Row> =
        rows().into_iter().map(|row| ((row.route.0.to_owned(), row.route.1.to_owned()), row)).collect();
    let routes = routes();
    for (method, path) in rows.keys() {
        assert!(
            routes.iter().any(|r| r.method == *method && r.path == *path),
            "{method} {path} is not a route"
        );
    }
    world.admin().post("/pulsar/keys/rotate", &json!({ "key": "issuer" })).await?;
    let executions = [world.api_of(0).fire("w").await?, world.api_of(1).fire("w").await?];
    for (number, id) in executions.iter().enumerate() {
        world.api_of(number).until(id, "succeeded").await;
    }
    let credentials = credentials::all(&world, &other.id.parse()?).await?;
    let mut faults = Vec::new();
    let mut nth = 0;
    for route in &routes {
        let Some(row) = rows.get(&(route.method.clone(), route.path.clone())) else {
            faults.push(format!("{} {} has no row here", route.method, route.path));
            continue;
        };
        for credential in &credentials {
            for (whose, number) in [("own", 0), ("foreign", 1)] {
                nth += 1;
                let target =
                    Target { tenant: &world.tenants[number].id, execution: &executions[number], nth };
                let allowed = if whose == "own" { row.own } else { row.foreign };
                let expected = credential.expected(&route.need, allowed);
                // What a row deletes is there before each try.
                if route.method == "DELETE"
                    && route.path.starts_with("/pulsar/credentials/")
                    && expected == 200
                {
                    put_credential(&world.api).await?;
                }
                let (path, body) = (row.request)(&target);
                let in_body = body.as_ref().is_some_and(|body| body.to_string().contains("tenant_id"));
                let path = credential.path(path, in_body, &world.tenants[0].id);
                let method: Method = route.method.parse()?;
                let answer = world.api.call_as(&credential.headers, method, &path, body.as_ref()).await?;
                // The first that may creates what the next ones find.
                let created =
                    row.own == 200 && route.method == "PUT" && answer.status == 201 && expected == 200;
                // A batch says it item by item.
                let item = answer.json[0]["status"].as_u64();
                let status = item.map_or(u64::from(answer.status.as_u16()), |status| status);
                if status != u64::from(expected) && !created {
                    let json = answer.json;
                    faults.push(format!(
                        "{} {path} by {} on the {whose} tenant: {status}, not {expected}: {json}",
                        route.method, credential.name
                    ));
                }
                if expected == 401 && !answer.headers.contains_key("www-authenticate") {
                    faults.push(format!("{} {path}: 401 without WWW-Authenticate", route.method));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    world.finish().await
}

async fn put_credential(api: &Api) -> anyhow::Result<()> {
    let made =
        api.put("/pulsar/credentials/matrix", &json!({ "kind": "bearer", "token": "secret-0" })).await?;
    anyhow::ensure!(made.status.is_success(), "{made:?}");
    Ok(())
}

/// Byte for byte, and header for header: whether a thing of another tenant exists is not told.
#[tokio::test]
async fn another_tenants_execution_looks_like_none() -> anyhow::Result<()> {
    let world = World::build().tenants(2).start().await?;
    let theirs = world.api_of(1);
    let done = theirs.fire("w").await?;
    theirs.until(&done, "succeeded").await;
    world.endpoint.script("bad", [Reply::Status(400)]);
    let dead = theirs.fire("bad").await?;
    theirs.expect(&dead, "dead_lettered");
    theirs.until(&dead, "dead_lettered").await;
    let bulk = json!({ "filter": { "state": "dead_lettered", "workflow_id": "bad" } });
    let job = theirs.call(Method::POST, "/pulsar/replay", Some(&bulk)).await?;
    let job = job.json["job_id"].as_str().unwrap_or_else(|| panic!("{job:?}")).to_owned();

    let executions = [
        (Method::GET, "/pulsar/executions/ID"),
        (Method::GET, "/pulsar/executions/ID/payload"),
        (Method::GET, "/pulsar/executions/ID/result"),
        (Method::GET, "/api/v2/n8n/result/ID"),
        (Method::POST, "/pulsar/executions/ID/replay"),
        (Method::POST, "/pulsar/executions/ID/cancel"),
        (Method::GET, "/pulsar/dead-letters/ID"),
        (Method::POST, "/pulsar/dead-letters/ID/discard"),
    ];
    let jobs = [
        (Method::GET, "/pulsar/jobs/ID"),
        (Method::POST, "/pulsar/jobs/ID/pause"),
        (Method::POST, "/pulsar/jobs/ID/resume"),
        (Method::POST, "/pulsar/jobs/ID/cancel"),
    ];
    for (ids, routes) in [(vec![&done, &dead], &executions[..]), (vec![&job], &jobs[..])] {
        for (id, (method, path)) in ids.into_iter().flat_map(|id| routes.iter().map(move |route| (id, route)))
        {
            let nobodys = id.replacen(&id[..2], if id.starts_with("01") { "00" } else { "01" }, 1);
            let note = (*method == Method::POST).then(|| json!({ "note": "n" }));
            // The notes of a discarded letter are the only body that is asked for.
            let body = note.filter(|_| path.ends_with("/discard"));
            let ask = async |id: &str| {
                let answer = world.api.call(method.clone(), &path.replace("ID", id), body.as_ref()).await?;
                let text = answer.json.to_string().replace(id, "ID");
                anyhow::Ok((answer.status, text, names(&answer.headers)))
            };
            let seen = ask(id).await?;
            assert_eq!(seen, ask(&nobodys).await?, "{method} {path}");
            assert_eq!(seen.0, 404, "{method} {path}: {seen:?}");
        }
    }
    eventually("the job to go on undisturbed", async || {
        let answer = theirs.get(&format!("/pulsar/jobs/{job}")).await.map_err(|error| error.to_string())?;
        if answer.json["state"] == "done" { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    world.finish().await
}

fn names(headers: &http::HeaderMap) -> Vec<String> {
    headers.keys().map(ToString::to_string).collect()
}
