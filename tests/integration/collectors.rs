//! A collector that is away, silent, or something else: nothing but a figure and a line in the log.

use std::time::{Duration, Instant};

use bridge_tests::daemon::{Daemon, PUBLISHER, free_port};
use bridge_tests::world::borrowed;
use bridge_tests::{World, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// In the middle of many rounds: how much longer than beside a daemon without an exporter, whatever else this machine does.
const TIMES: u32 = 3;
const AND: Duration = Duration::from_millis(40);

/// Reads what comes and answers with `said`; without it, never.
async fn impostor(said: Option<&'static str>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if let Some(said) = said
                        && buffer[..read].len() < buffer.len()
                        && stream.write_all(said.as_bytes()).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    Ok(url)
}

async fn dropped(daemon: &Daemon) -> Result<(), String> {
    let text = daemon.metrics().await.map_err(|error| format!("{error:#}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("bridge_spans_total{outcome=\"dropped\"} "));
    match line.and_then(|number| number.parse::<f64>().ok()) {
        Some(number) if number > 0.0 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn is_as_quick(what: &str, mut with: Vec<Duration>, mut without: Vec<Duration>) {
    with.sort_unstable();
    without.sort_unstable();
    let middle = |times: &[Duration]| times[times.len() / 2];
    assert!(
        middle(&with) <= TIMES * middle(&without) + AND,
        "{what}: {with:?} with an exporter, {without:?} without one"
    );
}

async fn works_beside(publishers: (&str, &str), consumers: (&str, &str)) -> anyhow::Result<()> {
    let ((publishers, by), (consumers, consumers_by)) = (publishers, consumers);
    let world = World::build()
        .set("telemetry.span_queue", "64")
        // A slow database is another test's.
        .set("database.accept_patience_ms", "20000")
        .publisher_environment("OTEL_EXPORTER_OTLP_ENDPOINT", publishers)
        .publisher_environment("OTEL_EXPORTER_OTLP_PROTOCOL", by)
        .consumer_environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", consumers)
        .consumer_environment("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", consumers_by)
        .start()
        .await?;
    // The same configuration without an exporter, asked in turn with the other.
    let (mut control, environment) = world.another(PUBLISHER);
    control.start_ready(&borrowed(&environment)).await?;
    let plain = world.api.at(&control.url());
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        for (api, times) in [(&world.api, &mut with), (&plain, &mut without)] {
            let asked = Instant::now();
            api.many("w", 10).await?;
            times.push(asked.elapsed());
        }
    }
    is_as_quick("ten publishes", with, without);
    for daemon in [&world.publisher, &world.consumer] {
        eventually(&format!("{} to count what it drops", daemon.name()), async || dropped(daemon).await)
            .await;
        eventually(&format!("{} to say so", daemon.name()), async || {
            if daemon.log().contains("spans are dropped") { Ok(()) } else { Err(daemon.log_tail(5)) }
        })
        .await;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            for (daemon, times) in [(daemon, &mut with), (&control, &mut without)] {
                let asked = Instant::now();
                daemon.metrics().await?;
                times.push(asked.elapsed());
            }
        }
        is_as_quick("/metrics", with, without);
    }
    anyhow::ensure!(control.leave().await?.success());
    world.settle().await?;
    for daemon in [&world.publisher, &world.consumer] {
        let log = daemon.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("spans are dropped")).collect();
        assert_eq!(lines.len(), 1, "{}: one line a minute, not {lines:#?}", daemon.name());
        assert!(!log.contains("panicked"), "{}: {}", daemon.name(), daemon.log_tail(30));
    }
    world.leave().await
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_holds_nothing_up() -> anyhow::Result<()> {
    let (away, silent) = (format!("http://127.0.0.1:{}", free_port()), impostor(None).await?);
    works_beside((&silent, "grpc"), (&away, "http/protobuf")).await
}

#[tokio::test]
async fn what_answers_garbage_is_no_collector() -> anyhow::Result<()> {
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    works_beside(
        (&impostor(Some("\0\u{1}garbage\r\n\r\n")).await?, "grpc"),
        (&impostor(Some(page)).await?, "http/protobuf"),
    )
    .await
}
