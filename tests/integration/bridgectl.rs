//! `bridgectl` as people and scripts run it: a process with an exit code, on real daemons.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use bridge_tests::daemon::{PUBLISHER, binary};
use bridge_tests::parts::output;
use bridge_tests::{Reply, World, eventually, eventually_within};
use serde_json::{Value, json};

/// The first tenant's own credential.
fn command(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("bridgectl"));
    command
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME")))
        .env("BRIDGE_URL", world.publisher.url())
        .env("BRIDGE_TOKEN", &world.tenants[0].token)
        .stdin(Stdio::null())
        .args(arguments);
    command
}

/// Its exit code and all it said.
async fn run(world: &World, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
    output(command(world, arguments)).await.map(|output| said(&output))
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code().unwrap_or(-1), text.concat())
}

async fn lines(name: &str) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new(binary(name));
    command.arg("routes");
    let output = output(command).await?;
    anyhow::ensure!(output.status.success(), "{name} routes: {output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test]
async fn every_verb_asks_routes_that_exist() -> anyhow::Result<()> {
    let line = |line: &Value| {
        let path = line["path"].as_str().unwrap();
        let parts: Vec<&str> =
            path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect();
        format!("{} {}", line["method"].as_str().unwrap(), parts.join("/"))
    };
    let there: BTreeSet<String> = lines(PUBLISHER).await?.iter().map(line).collect();
    let asked = lines("bridgectl").await?;
    assert!(asked.len() > 50, "{asked:?}");
    for one in &asked {
        assert!(
            there.contains(&line(one)),
            "bridgectl {} asks {}, which is no route",
            one["verb"],
            line(one)
        );
    }
    Ok(())
}

#[tokio::test]
async fn waiting_tells_the_end_by_its_exit_code() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.endpoint.script("bad", [Reply::Status(400)]);
    let good = world.api.fire("good").await?;
    let (code, text) = run(&world, &["execution", "wait", &good, "--timeout", "30"]).await?;
    assert!(code == 0 && text.contains("succeeded"), "{code} {text}");
    let bad = world.api.fire("bad").await?;
    world.api.expect(&bad, "dead_lettered");
    let (code, text) = run(&world, &["execution", "wait", &bad, "--timeout", "30", "--json"]).await?;
    assert!(code == 12 && text.contains("permanent_answer"), "{code} {text}");

    let later =
        world.api.accepted(json!({ "workflow_id": "w", "payload": {}, "delay_seconds": 600 })).await?;
    world.api.expect(&later, "cancelled");
    let (code, text) = run(&world, &["execution", "wait", &later, "--timeout", "1"]).await?;
    assert!(code == 10 && text.contains("not ended"), "{code} {text}");
    let (code, text) = run(&world, &["execution", "show", &later]).await?;
    assert!(code == 0 && text.contains("for delay"), "{code} {text}");
    let (code, text) = run(&world, &["execution", "cancel", &later, "--reason", "a test"]).await?;
    assert!(code == 0 && text.contains("was accepted"), "{code} {text}");
    let (code, text) = run(&world, &["execution", "cancel", &later]).await?;
    assert!(code == 6, "{code} {text}");
    assert_eq!(run(&world, &["execution", "wait", &later]).await?.0, 13);

    let nobody = "019aa5c1-0000-7000-8000-000000000001";
    assert_eq!(run(&world, &["execution", "wait", nobody]).await?.0, 3);
    let mut stranger = command(&world, &["execution", "list"]);
    let (code, text) = said(
        &output({
            stranger.env("BRIDGE_TOKEN", "npk_nobody");
            stranger
        })
        .await?,
    );
    assert!(code == 4, "{code} {text}");
    world.finish().await
}

struct Tail {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(world: &World, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = command(world, &[&["execution", "tail", "--every-ms", "100"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let lines = child.stdout.take().map(BufReader::new);
        Ok(Self { child, lines })
    }

    /// Until a line says it.
    async fn until(&mut self, wanted: impl Fn(&str) -> bool + Send + 'static) -> anyhow::Result<Vec<String>> {
        let mut lines = self.lines.take().unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap() == 0 {
                    panic!("the tail ended after {all:?}");
                }
                let found = wanted(&line);
                all.push(line);
                if found {
                    return (lines, all);
                }
            }
        });
        let (lines, all) = tokio::time::timeout(Duration::from_secs(30), reading).await??;
        self.lines = Some(lines);
        Ok(all)
    }

    async fn ended(mut self) -> ExitStatus {
        eventually_within(Duration::from_secs(10), "the tail to end", async || {
            self.child.try_wait().map_err(|error| error.to_string())?.ok_or("it goes on".to_owned())
        })
        .await
    }
}

#[tokio::test]
async fn a_tail_follows_and_ends_cleanly() -> anyhow::Result<()> {
    let world = World::start().await?;
    let before = world.api.fire("watched").await?;
    world.api.until(&before, "succeeded").await;
    let mut tail = Tail::start(&world, &["--workflow", "watched", "--json"])?;
    let first = tail
        .until({
            let before = before.clone();
            move |line| line.contains(&before)
        })
        .await?;
    assert_eq!(first.len(), 1, "{first:?}");
    let unwatched = world.api.fire("another").await?;
    world.endpoint.script("watched", [Reply::Held]);
    let after = world.api.fire("watched").await?;
    let running = {
        let after = after.clone();
        move |line: &str| line.contains(&after) && line.contains("running")
    };
    tail.until(running).await?;
    world.endpoint.release("watched");
    let ended = {
        let after = after.clone();
        move |line: &str| line.contains(&after) && line.contains("succeeded")
    };
    let moves = tail.until(ended).await?;
    assert!(moves.iter().all(|line| !line.contains(&unwatched)), "{moves:?}");
    assert!(moves.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{moves:?}");
    let id = tail.child.id().to_string();
    anyhow::ensure!(Command::new("kill").args(["-INT", &id]).status()?.success());
    assert_eq!(tail.ended().await.code(), Some(0));

    // Nothing more is said, and it ends all the same.
    let mut piped = Tail::start(&world, &["--workflow", "watched"])?;
    piped.until(move |line| line.contains(&after)).await?;
    drop(piped.lines.take());
    assert_eq!(piped.ended().await.code(), Some(0));
    world.finish().await
}

#[tokio::test]
async fn routes_from_a_file_rule_and_holds_hold() -> anyhow::Result<()> {
    let world = World::start().await?;
    let file = world.file("routes.yml");
    std::fs::write(&file, "workflows:\n  crm/sync: {lane: ai, timeout_ms: 20000}\n")?;
    let file = file.display().to_string();
    let (code, text) = run(&world, &["route", "apply", "-f", &file, "--dry-run"]).await?;
    assert!(
        code == 0 && text.contains("+ workflows.crm/sync") && text.contains("nothing was changed"),
        "{text}"
    );
    let (code, text) = run(&world, &["route", "apply", "-f", &file]).await?;
    assert!(code == 0 && text.contains("1 created") && text.contains("in force"), "{code} {text}");
    let (code, text) = run(&world, &["route", "apply", "-f", &file]).await?;
    assert!(code == 0 && text.contains("nothing to change"), "{code} {text}");
    let (code, text) = run(&world, &["route", "set", "crm/sync", "--priority", "9"]).await?;
    assert!(code == 0 && text.contains("priority 9"), "{code} {text}");
    let (_, shown) = run(&world, &["route", "show", "crm/sync", "--json"]).await?;
    let shown: Value = serde_json::from_str(&shown)?;
    assert_eq!((&shown["route"]["timeout_ms"], &shown["route"]["priority"]), (&json!(20000), &json!(9)));

    let hold = ["hold", "noon", "--workflow", "crm", "--reason", "a test"];
    let (code, text) = run(&world, &hold).await?;
    assert!(code == 0 && text.contains("in force on every daemon"), "{code} {text}");
    let held = world.api.fire("crm").await?;
    eventually("it to wait for the hold", async || {
        let (_, text) =
            run(&world, &["execution", "show", &held]).await.map_err(|error| error.to_string())?;
        if text.contains("for hold") { Ok(()) } else { Err(text) }
    })
    .await;
    assert!(world.endpoint.fired_of(&held).is_empty());
    assert!(run(&world, &["holds"]).await?.1.contains("noon"));
    assert_eq!(run(&world, &["release", "noon"]).await?.0, 0);
    world.api.until(&held, "succeeded").await;
    assert_eq!(run(&world, &["release", "noon"]).await?.0, 3);
    std::fs::write(&file, "workflows: {}\ndefault: {lane: long}\n")?;
    let (code, text) = run(&world, &["route", "apply", "-f", &file, "--prune"]).await?;
    assert!(
        code == 0 && text.contains("- workflows.crm/sync") && text.contains("1 deleted"),
        "{code} {text}"
    );
    world.finish().await
}

#[tokio::test]
async fn many_are_replayed_by_a_job_that_is_watched() -> anyhow::Result<()> {
    let world = World::start().await?;
    world
        .endpoint
        .script("broken", [Reply::Status(400), Reply::Status(400), Reply::Status(400), Reply::Status(200)]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = world.api.fire("broken").await?;
        world.api.expect(&id, "dead_lettered");
        world.api.until(&id, "dead_lettered").await;
        ids.push(id);
    }
    let (code, text) = run(&world, &["dlq", "list", "--workflow", "broken"]).await?;
    assert!(code == 0 && ids.iter().all(|id| text.contains(id)), "{code} {text}");
    let filter = ["replay", "--state", "dead_lettered", "--workflow", "broken"];
    let (code, text) = run(&world, &[&filter[..], &["--dry-run"]].concat()).await?;
    assert!(code == 0 && text.contains("3 executions would be replayed"), "{code} {text}");
    assert_eq!(run(&world, &[&filter[..], &["--confirm", "4"]].concat()).await?.0, 2);
    let (code, text) =
        run(&world, &[&filter[..], &["--confirm", "3", "--per-second", "100"]].concat()).await?;
    assert!(code == 0 && text.contains("3 replayed"), "{code} {text}");
    let (_, listed) = run(&world, &["execution", "list", "--workflow", "broken", "--json"]).await?;
    let listed: Value = serde_json::from_str(&listed)?;
    for one in listed["executions"].as_array().unwrap() {
        let id = one["execution_id"].as_str().unwrap();
        if !ids.iter().any(|old| old == id) {
            world.api.until(id, "succeeded").await;
        }
    }
    let (code, text) = run(&world, &["job", "list"]).await?;
    assert!(code == 0 && text.contains("done"), "{code} {text}");
    world.finish().await
}

#[tokio::test]
async fn the_status_is_one_screen_and_the_doctor_finds_what_is_wrong() -> anyhow::Result<()> {
    let world = World::start().await?;
    let operator = |arguments: &[&str]| {
        let mut command = command(&world, arguments);
        command
            .env("BRIDGE_TOKEN", &world.admin_token)
            .env("BRIDGE_CONFIG", world.file("bridge.toml"))
            .env("BRIDGE_PULSAR__ADMIN_TOKEN_FILE", &world.pulsar.admin_token);
        command
    };
    let (code, text) = said(&output(operator(&["status"])).await?);
    assert!(code == 0 && text.contains("publisher") && text.contains("consumer"), "{code} {text}");
    assert!(run(&world, &["status"]).await?.1.contains(&world.tenants[0].id));

    let consumer = world.consumer.url();
    let doctor = ["doctor", "--consumer-url", &consumer];
    let (code, text) = said(&output(operator(&doctor)).await?);
    assert!(code == 0 && text.contains("all is well"), "{code} {text}");
    let mut wrong = operator(&doctor);
    wrong
        .env("BRIDGE_URL", "http://127.0.0.1:9")
        .env("BRIDGE_PULSAR__ADMIN_TOKEN_FILE", &world.pulsar.consumer_token)
        .env("BRIDGE_DATABASE__URL", "postgres://nobody@127.0.0.1:9/none");
    let (code, text) = said(&output(wrong).await?);
    assert_eq!(code, 1, "{text}");
    for part in ["FINDING  postgres", "FINDING  publisher", "FINDING  broker", "mend it:"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    world.finish().await
}
