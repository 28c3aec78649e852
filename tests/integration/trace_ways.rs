//! However an execution came to be published or fired, its traces are found by its id, and each leads to the others.

use bridge_protocol::{Claims, ExecutionId, Lane, PayloadHash, VERSION};
use bridge_tests::daemon::binary;
use bridge_tests::jaeger::{Jaeger, Span, Trace};
use bridge_tests::parts::output;
use bridge_tests::world::Builder;
use bridge_tests::{Reply, World, eventually};
use chrono::Utc;
use http::StatusCode;
use serde_json::{Value, json};

fn is_child(child: &Span, parent: &Span) {
    assert_eq!(child.parent.as_deref(), Some(parent.id.as_str()), "{child:#?} below {parent:#?}");
}

/// One trace with a request to the webhook, and with the span of the delivery, which ends after it.
fn whole(found: &[Trace]) -> bool {
    found.len() == 1 && !found[0].all("POST 127.0.0.1").is_empty() && !found[0].all("process").is_empty()
}

/// A slow database is another test's.
fn patient() -> Builder {
    World::build().traced().set("database.accept_patience_ms", "20000")
}

/// The messages that wait are lost.
async fn lose_messages(world: &World, lane: Lane) -> anyhow::Result<()> {
    let topic = world.broker.names.topic(&world.tenant(), lane);
    Ok(world.broker.admin.skip_all(&topic, "bridge-consumer").await?)
}

async fn until_published(world: &World, id: &str) {
    eventually(&format!("{id} to be published"), async || {
        let text = world.publisher.metrics().await.map_err(|error| error.to_string())?;
        let counted = text.lines().filter(|line| line.starts_with("bridge_messages_published_total"));
        let counted: f64 = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        if counted >= 1.0 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn a_lost_message_is_published_again_in_the_same_trace() -> anyhow::Result<()> {
    let mut world = patient().without_consumer().start().await?;
    let id = world.api.fire("w").await?;
    until_published(&world, &id).await;
    lose_messages(&world, Lane::Long).await?;
    world.consumer.start_ready(&[]).await?;
    world.api.until(&id, "succeeded").await;
    let found = Jaeger::shared().of(&id, |found| whole(found) && found[0].all("send").len() >= 2).await;
    let trace = &found[0];
    let (server, sends) = (trace.one("POST /pulsar/publish"), trace.all("send"));
    for send in &sends {
        is_child(send, server);
        assert_eq!((send.text("execution.id"), send.number("attempt")), (id.as_str(), 1));
    }
    let process = trace.all("process")[0];
    assert_ne!(process.parent.as_deref(), Some(sends[0].id.as_str()), "the first message was lost");
    is_child(trace.one("POST 127.0.0.1"), process);
    world.finish().await
}

#[tokio::test]
async fn a_job_gives_each_replay_a_trace_that_is_linked_with_the_first() -> anyhow::Result<()> {
    let (world, jaeger) = (patient().start().await?, Jaeger::shared());
    world.endpoint.script("broken", [Reply::Status(400)]);
    let ids = world.api.many("broken", 2).await?;
    for id in &ids {
        world.api.expect(id, "dead_lettered");
        world.api.until(id, "dead_lettered").await;
    }
    world.endpoint.script("broken", [Reply::Status(200)]);
    let filter = json!({ "state": "dead_lettered", "workflow_id": "broken" });
    let job = world.api.post("/pulsar/replay", &json!({ "filter": filter, "dry_run": false })).await?;
    assert_eq!(job.status, StatusCode::ACCEPTED, "{job:?}");
    for old in &ids {
        let newest = format!("SELECT id::text FROM executions WHERE replay_of = '{old}'");
        let id = eventually(&format!("{old} to be replayed"), async || match world.sql.one(&newest).await {
            Ok(id) if !id.is_empty() => Ok(id),
            other => Err(format!("{other:?}")),
        })
        .await;
        world.api.until(&id, "succeeded").await;
        let first = jaeger.of(old, |found| found.len() == 1 && !found[0].all("replayed").is_empty()).await;
        let found = jaeger.of(&id, whole).await;
        let (first, second) = (&first[0], &found[0]);
        assert_ne!(first.id, second.id);
        let root = second.one("replay");
        assert_eq!(
            (root.text("execution.id"), root.text("execution.replay_of")),
            (id.as_str(), old.as_str())
        );
        assert!(root.links_to(&first.id), "{root:#?}");
        assert!(first.one("replayed").links_to(&second.id), "{first:#?}");
        is_child(second.one("send"), root);
    }
    world.leave().await
}

#[tokio::test]
async fn each_of_a_batch_is_found_in_the_trace_of_its_request() -> anyhow::Result<()> {
    let (world, jaeger) = (patient().start().await?, Jaeger::shared());
    let body: Vec<Value> = (0..3).map(|n| json!({ "workflow_id": "w", "payload": { "n": n } })).collect();
    let answer = world.api.post("/pulsar/publish/batch", &json!(body)).await?;
    assert!(answer.status.is_success(), "{answer:?}");
    let ids: Vec<&str> =
        answer.json.as_array().unwrap().iter().map(|one| one["execution_id"].as_str().unwrap()).collect();
    let mut traces = Vec::new();
    for id in &ids {
        world.api.until(id, "succeeded").await;
        let of_all = |found: &[Trace]| found.len() == 1 && found[0].all("POST 127.0.0.1").len() == 3;
        let found = jaeger.of(id, of_all).await;
        let trace = &found[0];
        let server = trace.one("POST /pulsar/publish/batch");
        let sends = trace.all("send");
        let send = sends.iter().find(|send| send.text("execution.id") == *id).unwrap();
        is_child(send, server);
        traces.push(trace.id.clone());
    }
    traces.dedup();
    assert_eq!(traces.len(), 1);
    world.leave().await
}

#[tokio::test]
async fn what_is_fired_natively_hangs_under_its_request() -> anyhow::Result<()> {
    let world = patient().route("crm", "mode = \"native\"").without_consumer().start().await?;
    let answer = world.api.publish(json!({ "workflow_id": "crm", "payload": {} })).await?;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let fired = |found: &[Trace]| {
        found.len() == 1 && !found[0].all("POST 127").is_empty() && found[0].spans.len() >= 2
    };
    let found = Jaeger::shared().of(&answer.id(), fired).await;
    let (server, client) = (found[0].one("POST /pulsar/publish"), found[0].one("POST 127.0.0.1"));
    is_child(client, server);
    assert_eq!((client.service.as_str(), client.text("span.kind")), ("bridge-publisher", "client"));
    assert_eq!((server.text("route.mode"), server.text("execution.id")), ("native", answer.id().as_str()));
    assert!(found[0].all("send").is_empty(), "{found:#?}");
    let sent = world.endpoint.fired_of(&answer.id()).remove(0);
    assert!(sent.headers["traceparent"].contains(&client.id), "{:?}", sent.headers);
    world.leave().await
}

#[tokio::test]
async fn a_message_without_its_traceparent_has_a_trace_that_bridgectl_finds_too() -> anyhow::Result<()> {
    let (mut world, jaeger) = (patient().without_consumer().start().await?, Jaeger::shared());
    let id = world.api.accepted(json!({ "workflow_id": "w", "payload": {} })).await?;
    until_published(&world, &id).await;
    lose_messages(&world, Lane::Long).await?;
    let topic = world.broker.names.topic(&world.tenant(), Lane::Long);
    let now = Utc::now().timestamp();
    let claims = Claims {
        v: VERSION,
        iss: "a test".to_owned(),
        aud: topic.clone(),
        sub: id.parse::<ExecutionId>()?,
        tid: world.tenant(),
        iat: now,
        exp: now + 3600,
        jti: bridge_tests::unique("jti"),
        att: 1,
        psh: PayloadHash::of(b"{}"),
    };
    // Without properties, as after a replication that lost them.
    world.broker.send(&topic, &world.keyring.sign(&claims)?).await?;
    world.consumer.start_ready(&[]).await?;
    world.api.until(&id, "succeeded").await;
    let consumers = |found: &[Trace]| {
        let has = |trace: &Trace, name| !trace.all(name).is_empty();
        found.len() == 2
            && has(&found[0], "continued")
            && has(&found[1], "process")
            && has(&found[1], "POST 127.0.0.1")
    };
    let found = jaeger.by("bridge-consumer", "execution.id", &id, consumers).await;
    let (first, second) = (&found[0], &found[1]);
    let (process, note) = (second.one("process"), first.one("continued"));
    assert_eq!(process.parent, None);
    assert!(process.links_to(&first.id), "{process:#?}");
    assert!(note.links_to(&second.id), "{note:#?}");
    is_child(second.one("POST 127.0.0.1"), process);

    let mut command = std::process::Command::new(binary("bridgectl"));
    command.args(["trace", &id]).env("BRIDGE_JAEGER_URL", &jaeger.base);
    let said = output(command).await?;
    let text = String::from_utf8_lossy(&said.stdout);
    for part in [&first.id, &second.id, "POST /pulsar/publish", "POST 127.0.0.1"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    world.leave().await
}
