//! One execution, one trace: found in a real Jaeger behind a real collector by whatever is known of the execution.

use anyhow::Context;
use bridge_tests::daemon::binary;
use bridge_tests::jaeger::{Jaeger, Span, Trace};
use bridge_tests::parts::{output, shared};
use bridge_tests::settings::QUICK_RETRY;
use bridge_tests::{Reply, World, eventually};
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// As a caller sends it; the trace's id and his span's.
fn callers(sampled: bool) -> (String, String, String) {
    let (trace, span) =
        (format!("{:032x}", rand::random::<u128>()), format!("{:016x}", rand::random::<u64>()));
    let header = format!("00-{trace}-{span}-0{}", u8::from(sampled));
    (header, trace, span)
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn publish(
    world: &World,
    body: &serde_json::Value,
    headers: &[(&str, &str)],
) -> anyhow::Result<String> {
    let headers = [&[JSON], headers].concat();
    let answer = world.api.post_text("/pulsar/publish", &body.to_string(), &headers).await?;
    anyhow::ensure!(answer.status == StatusCode::ACCEPTED, "{answer:?}");
    Ok(answer.id())
}

/// With headers of any bytes: on the bare socket, because a client refuses to send them.
async fn publish_raw(
    world: &World,
    body: &serde_json::Value,
    headers: &[(&str, &[u8])],
) -> anyhow::Result<(StatusCode, serde_json::Value)> {
    let url = world.publisher.url();
    let body = body.to_string();
    let mut request = format!(
        "POST /pulsar/publish HTTP/1.1\r\nhost: bridge\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        world.tenants[0].token,
        body.len()
    )
    .into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    request.extend_from_slice(&[b"\r\n", body.as_bytes()].concat());
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
    stream.write_all(&request).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, json) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).with_context(|| format!("no status: {head:?}"))?;
    Ok((StatusCode::from_bytes(status.as_bytes())?, serde_json::from_str(json)?))
}

fn is_child(child: &Span, parent: &Span) {
    assert_eq!(child.parent.as_deref(), Some(parent.id.as_str()), "{child:#?} below {parent:#?}");
}

/// One trace with so many requests to the webhook.
fn fired(times: usize) -> impl Fn(&[Trace]) -> bool {
    move |found| {
        found.len() == 1
            && found[0].all("POST 127.0.0.1").len() == times
            && !found[0].all("process").is_empty()
    }
}

#[tokio::test]
async fn an_execution_is_one_trace_from_the_caller_to_the_webhook() -> anyhow::Result<()> {
    let (world, jaeger) = (World::build().traced().start().await?, Jaeger::shared());
    let (header, trace_id, caller) = callers(true);
    let body = json!({ "workflow_id": "crm/sync", "lane": "ai", "payload": { "a": 1 } });
    let id = publish(&world, &body, &[("traceparent", &header)]).await?;
    let seen = world.api.until(&id, "succeeded").await;
    assert_eq!(
        (seen["trace"]["id"].as_str(), seen["trace"]["sampled"].as_bool()),
        (Some(trace_id.as_str()), Some(true))
    );
    assert_eq!(seen["trace"]["url"], format!("{}/trace/{trace_id}", jaeger.base), "{seen}");

    let found = jaeger.of(&id, |found| fired(1)(found) && found[0].spans.len() == 4).await;
    let trace = &found[0];
    assert_eq!(trace.id, trace_id);
    let topic = seen["topic"].as_str().unwrap();
    let server = trace.one("POST /pulsar/publish");
    let send = trace.one(&format!("send {topic}"));
    let process = trace.one(&format!("process {topic}"));
    let client = trace.one("POST 127.0.0.1");
    assert_eq!(server.parent.as_deref(), Some(caller.as_str()));
    is_child(send, server);
    is_child(process, send);
    is_child(client, process);
    assert!(process.links.contains(&(trace.id.clone(), send.id.clone())), "{process:#?}");
    let sent = world.endpoint.fired_of(&id).remove(0);
    assert_eq!(sent.headers["traceparent"], format!("00-{trace_id}-{}-01", client.id));
    assert!(!sent.headers.contains_key("tracestate"), "{:?}", sent.headers);

    for (span, kind, service) in [
        (server, "server", "bridge-publisher"),
        (send, "producer", "bridge-publisher"),
        (process, "consumer", "bridge-consumer"),
        (client, "client", "bridge-consumer"),
    ] {
        assert_eq!((span.text("span.kind"), span.service.as_str()), (kind, service), "{span:#?}");
        assert_eq!(span.text("execution.id"), id, "{span:#?}");
        assert_eq!(span.text("tenant.id"), world.tenants[0].id, "{span:#?}");
        assert_eq!((span.text("workflow.id"), span.text("lane")), ("crm/sync", "ai"), "{span:#?}");
        assert_eq!(span.number("attempt"), 1, "{span:#?}");
        assert!(!span.failed(), "{span:#?}");
    }
    for (span, operation) in [(send, "send"), (process, "process")] {
        assert_eq!(span.text("messaging.system"), "pulsar");
        assert_eq!(
            (span.text("messaging.operation.name"), span.text("messaging.operation.type")),
            (operation, operation)
        );
        assert_eq!(span.text("messaging.destination.name"), topic);
        assert_eq!(span.text("messaging.message.id"), seen["message_id"].as_str().unwrap());
    }
    assert_eq!(process.text("messaging.destination.subscription.name"), "bridge-consumer");
    assert_eq!(process.text("execution.state"), "succeeded");
    assert_eq!(
        (
            server.text("route.mode"),
            server.text("route.decided_by"),
            server.number("http.response.status_code")
        ),
        ("pulsar", "request", 202)
    );
    assert!(server.text("route.reason").contains("lane"), "{server:#?}");
    assert_eq!(server.events, ["committed"]);
    assert_eq!(
        (client.text("http.request.method"), client.number("http.response.status_code")),
        ("POST", 200)
    );

    // What was committed together with others is a trace of its own, and linked.
    for (span, commits) in [(server, &["commit accept"][..]), (process, &["commit claim", "commit finish"])] {
        for commit in commits {
            let linked = eventually(&format!("{} to be linked with {commit}", span.name), async || {
                let mut seen = Vec::new();
                for (other, _) in span.links.iter().filter(|(other, _)| *other != trace.id) {
                    let batch = jaeger.trace(other).await?;
                    if let [span] = batch.all(commit)[..] {
                        return Ok(span.clone());
                    }
                    seen.push(batch);
                }
                Err(format!("{seen:#?}"))
            })
            .await;
            assert!(linked.number("db.operation.batch.size") >= 1, "{linked:#?}");
        }
    }

    // Whatever is known of it leads to that trace and no other.
    let message = seen["message_id"].as_str().unwrap();
    for (service, tag, value) in [
        ("bridge-publisher", "messaging.message.id", message),
        ("bridge-consumer", "messaging.message.id", message),
        ("bridge-consumer", "execution.id", &id),
        ("bridge-publisher", "tenant.id", &world.tenants[0].id),
        ("bridge-consumer", "tenant.id", &world.tenants[0].id),
    ] {
        let ids: Vec<String> = jaeger
            .by(service, tag, value, |found| !found.is_empty())
            .await
            .into_iter()
            .map(|trace| trace.id)
            .collect();
        assert_eq!(ids, [trace_id.as_str()], "{service} {tag}");
    }
    world.finish().await
}

#[tokio::test]
async fn a_retry_is_in_the_same_trace_and_says_what_failed() -> anyhow::Result<()> {
    let build = World::build().traced().route("flaky", QUICK_RETRY);
    // Over HTTP, for once.
    let world = build
        .set("telemetry.otlp_endpoint", &format!("{:?}", shared("BRIDGE_TEST_OTEL_COLLECTOR_HTTP")))
        .set("telemetry.otlp_protocol", "\"http/protobuf\"")
        .start()
        .await?;
    world.endpoint.script("flaky", [Reply::Status(503), Reply::Status(200)]);
    let id = world.api.fire("flaky").await?;
    world.api.until(&id, "succeeded").await;
    let found = Jaeger::shared().of(&id, |found| fired(2)(found) && found[0].spans.len() == 7).await;
    let trace = &found[0];
    let server = trace.one("POST /pulsar/publish");
    let (sends, processes, clients) = (trace.all("send"), trace.all("process"), trace.all("POST 127"));
    for number in 0..2 {
        let (send, process, client) = (sends[number], processes[number], clients[number]);
        is_child(send, server);
        is_child(process, send);
        is_child(client, process);
        for span in [send, process, client] {
            assert_eq!(span.number("attempt"), number as i64 + 1, "{span:#?}");
        }
        let bad = number == 0;
        assert_eq!((process.failed(), client.failed(), send.failed()), (bad, bad, false));
    }
    assert_eq!((processes[0].text("error.type"), clients[0].text("error.type")), ("503", "503"));
    assert_eq!(processes[0].text("execution.state"), "retrying");
    world.finish().await
}

#[tokio::test]
async fn a_dead_letter_says_why_and_its_replay_is_linked_with_it() -> anyhow::Result<()> {
    let (world, jaeger) = (World::build().traced().start().await?, Jaeger::shared());
    world.endpoint.script("broken", [Reply::Status(400), Reply::Status(200)]);
    let id = world.api.fire("broken").await?;
    world.api.expect(&id, "dead_lettered");
    world.api.until(&id, "dead_lettered").await;
    let found = jaeger.of(&id, fired(1)).await;
    let (old, process) = (found[0].id.clone(), found[0].one("process"));
    assert!(process.failed(), "{process:#?}");
    assert_eq!(
        (process.text("error.type"), process.text("execution.state")),
        ("permanent_answer", "dead_lettered")
    );

    let replay = world.api.post(&format!("/pulsar/executions/{id}/replay"), &json!({})).await?;
    world.api.until(&replay.id(), "succeeded").await;
    let found = jaeger.of(&replay.id(), fired(1)).await;
    let new = &found[0];
    assert_ne!(new.id, old);
    let server = new.one("POST /pulsar/executions/{id}/replay");
    assert!(server.links_to(&old), "{server:#?}");
    assert_eq!(
        (server.text("execution.id"), server.text("execution.replay_of")),
        (replay.id().as_str(), id.as_str())
    );
    is_child(new.one("send"), server);
    let first = jaeger.of(&id, |found| found.len() == 1 && !found[0].all("replayed").is_empty()).await;
    assert!(first[0].one("replayed").links_to(&new.id), "{first:#?}");
    world.finish().await
}

#[tokio::test]
async fn what_a_timer_ends_is_in_the_trace() -> anyhow::Result<()> {
    let route = "timeout_ms = 400\non_unknown = \"dead_letter\"";
    let mut world =
        World::build().traced().route("w", route).consumer_dies_at("consumer.claimed").start().await?;
    let id = world.api.fire("w").await?;
    world.api.expect(&id, "dead_lettered");
    assert!(!world.consumer.left(std::time::Duration::from_secs(20)).await.success());
    let seen = world.api.until(&id, "dead_lettered").await;
    let found = Jaeger::shared().of(&id, |found| found.len() == 1 && !found[0].all("end").is_empty()).await;
    let (server, end) = (found[0].one("POST /pulsar/publish"), found[0].one("end dead_lettered"));
    is_child(end, server);
    assert!(end.failed());
    assert_eq!(
        (end.text("error.type"), end.text("execution.id")),
        (seen["reason"].as_str().unwrap(), id.as_str())
    );
    assert_eq!((end.text("tenant.id"), end.number("attempt")), (world.tenants[0].id.as_str(), 1));
    world.finish().await
}

#[tokio::test]
async fn a_step_that_comes_too_late_for_the_trace_has_one_of_its_own_linked_both_ways() -> anyhow::Result<()>
{
    let (world, jaeger) =
        (World::build().traced().set("telemetry.trace_age_s", "1").start().await?, Jaeger::shared());
    let body = json!({ "workflow_id": "later", "payload": {}, "delay_seconds": 2 });
    let id = world.api.accepted(body).await?;
    world.api.until(&id, "succeeded").await;
    let whole = |found: &[Trace]| {
        found.len() == 2
            && !found[0].all("continued").is_empty()
            && !found[1].all("POST 127").is_empty()
            && !found[1].all("process").is_empty()
    };
    let found = jaeger.of(&id, whole).await;
    let (first, second) = (&found[0], &found[1]);
    let (server, note, send) =
        (first.one("POST /pulsar/publish"), first.one("continued"), second.one("send"));
    is_child(note, server);
    assert_eq!(send.parent, None);
    assert!(note.links.contains(&(second.id.clone(), send.id.clone())), "{note:#?}");
    assert!(send.links.contains(&(first.id.clone(), server.id.clone())), "{send:#?}");
    is_child(second.one("process"), send);
    world.finish().await
}

#[tokio::test]
async fn a_broken_traceparent_is_as_good_as_none_and_a_callers_decision_holds() -> anyhow::Result<()> {
    let world = World::build().traced().set("telemetry.sample_ratio", "0").start().await?;
    let body = json!({ "workflow_id": "w", "payload": {} });
    let baggage = format!("{},=;\u{e9}%zz", "k=v,".repeat(2000));
    let long = "0".repeat(8000);
    for broken in [
        &b""[..],
        b"junk",
        b"00-0-0-00",
        b"00-zz-zz-01",
        b"ff-11111111111111111111111111111111-2222222222222222-01",
        b"00-11111111111111111111111111111111-0000000000000000-01",
        b"00-\xff\xfe\x80111111111111111111111111111111-2222222222222222-01",
        b"\t\xc3\x28\t",
        long.as_bytes(),
    ] {
        let shown = String::from_utf8_lossy(broken);
        let headers: [(&str, &[u8]); 3] =
            [("traceparent", broken), ("tracestate", b"===,;\xff"), ("baggage", baggage.as_bytes())];
        let (status, answer) = publish_raw(&world, &body, &headers).await?;
        assert_eq!(status, StatusCode::ACCEPTED, "{shown:?}: {answer}");
        let id = answer["execution_id"].as_str().unwrap().to_owned();
        let fired = world.endpoint.wait_for_execution(&id, 1).await.remove(0);
        let sent = &fired.headers["traceparent"];
        assert!(sent.ends_with("-00") && !sent.contains("11111111"), "{shown:?} became {sent:?}");
        assert!(!fired.headers.contains_key("tracestate") && !fired.headers.contains_key("baggage"));
        let seen = world.api.until(&id, "succeeded").await;
        assert_eq!(seen["trace"]["sampled"], false, "{seen}");
    }
    // Of itself it keeps none; who asks for it gets it.
    let (wanted, trace, _) = callers(true);
    let id = publish(&world, &body, &[("traceparent", &wanted)]).await?;
    let found = Jaeger::shared().of(&id, fired(1)).await;
    assert_eq!(found[0].id, trace);
    world.finish().await
}

#[tokio::test]
async fn bridgectl_draws_the_trace() -> anyhow::Result<()> {
    let (world, jaeger) = (World::build().traced().start().await?, Jaeger::shared());
    let id = world.api.fire("drawn").await?;
    let seen = world.api.until(&id, "succeeded").await;
    jaeger.of(&id, fired(1)).await;
    let run = async |arguments: &[&str]| -> anyhow::Result<(Option<i32>, String)> {
        let mut command = std::process::Command::new(binary("bridgectl"));
        command
            .args(arguments)
            .env("BRIDGE_JAEGER_URL", &jaeger.base)
            .env("BRIDGE_URL", world.publisher.url())
            .env("BRIDGE_TOKEN", &world.tenants[0].token);
        let said = output(command).await?;
        let text =
            [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok((said.status.code(), text))
    };
    let trace = seen["trace"]["id"].as_str().unwrap();
    for by in [id.as_str(), seen["message_id"].as_str().unwrap()] {
        let (code, text) = run(&["trace", by]).await?;
        assert_eq!(code, Some(0), "{text}");
        for part in [
            trace,
            "POST /pulsar/publish",
            "└─ send ",
            "   └─ process ",
            "      └─ POST 127.0.0.1",
            "attempt 1, 200",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
    let (code, raw) = run(&["trace", &id, "--json"]).await?;
    assert!(
        code == Some(0) && serde_json::from_str::<serde_json::Value>(&raw)?["data"][0]["traceID"] == trace,
        "{raw}"
    );
    let (_, shown) = run(&["execution", "show", &id]).await?;
    assert!(shown.contains(&format!("{}/trace/{trace}", jaeger.base)), "{shown}");
    let unknown = "019aa5c1-0000-7000-8000-000000000001";
    let (code, text) = run(&["trace", unknown]).await?;
    assert!(code == Some(3) && text.contains("no trace"), "{code:?} {text}");
    world.finish().await
}
