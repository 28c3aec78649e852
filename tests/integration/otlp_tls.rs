//! OTLP with TLS and a header, by OpenTelemetry's own names: the real collector lets nobody in without them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge_tests::daemon::{Daemon, free_port};
use bridge_tests::jaeger::Jaeger;
use bridge_tests::parts::{output, shared};
use bridge_tests::{World, eventually};
use tempfile::TempDir;

use super::metrics::Scrape;

const PASSWORD: &str = "a-password-of-a-test";

/// Ends with the test.
struct Collector {
    child: Child,
    directory: TempDir,
    grpc: u16,
    http: u16,
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It has nothing to keep.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn openssl(directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(directory);
    let made = output(command).await.context("openssl is not installed")?;
    anyhow::ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// An authority, a certificate by it for this machine, and an authority that has nothing to do with it.
async fn certificates(directory: &Path) -> anyhow::Result<()> {
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    for name in ["ca", "stranger"] {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let own = ["req", "-x509", "-days", "2", "-subj", "/CN=an authority", "-keyout", &key, "-out", &pem];
        openssl(directory, &[&own[..], &curve].concat()).await?;
    }
    let asked = ["req", "-subj", "/CN=collector", "-keyout", "server.key", "-out", "server.csr"];
    openssl(directory, &[&asked[..], &curve].concat()).await?;
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
    let signed = [
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    ];
    openssl(directory, &signed).await
}

impl Collector {
    async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        certificates(directory.path()).await?;
        let (grpc, http) = (free_port(), free_port());
        let file = |name: &str| directory.path().join(name).display().to_string();
        let listen = |port: u16| {
            serde_json::json!({
                "endpoint": format!("127.0.0.1:{port}"),
                "tls": { "cert_file": file("server.pem"), "key_file": file("server.key") },
                "auth": { "authenticator": "basicauth" },
            })
        };
        // JSON is YAML.
        let config = serde_json::json!({
            "extensions": { "basicauth": { "htpasswd": { "inline": format!("bridge:{PASSWORD}") } } },
            "receivers": { "otlp": { "protocols": { "grpc": listen(grpc), "http": listen(http) } } },
            "exporters": { "otlp/jaeger": {
                "endpoint": shared("BRIDGE_TEST_JAEGER_OTLP_ENDPOINT"), "tls": { "insecure": true },
            } },
            "service": {
                "extensions": ["basicauth"],
                "telemetry": { "metrics": { "level": "none" } },
                "pipelines": { "traces": { "receivers": ["otlp"], "exporters": ["otlp/jaeger"] } },
            },
        });
        std::fs::write(directory.path().join("collector.yaml"), config.to_string())?;
        let log = std::fs::File::create(directory.path().join("log"))?;
        let child = Command::new(shared("BRIDGE_TEST_COLLECTOR_PROGRAM"))
            .arg("--config")
            .arg(directory.path().join("collector.yaml"))
            .env("OTEL_TRACES_SAMPLER", "always_off")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let collector = Self { child, directory, grpc, http };
        eventually("the collector to listen", async || {
            for port in [grpc, http] {
                let tried = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                tried.map_err(|error| format!("{port}: {error}; {}", collector.log()))?;
            }
            Ok::<(), String>(())
        })
        .await;
        Ok(collector)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn header() -> String {
    // As in the specification: what is no plain character is escaped.
    let login = STANDARD.encode(format!("bridge:{PASSWORD}")).replace('=', "%3D");
    format!("authorization=Basic%20{login}")
}

#[tokio::test]
async fn both_protocols_bring_the_header_over_tls_with_an_own_authority() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let authority = collector.file("ca.pem").display().to_string();
    let world = World::build()
        .publisher_environment(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("https://127.0.0.1:{}", collector.grpc),
        )
        .publisher_environment("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .publisher_environment("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority)
        .publisher_environment("OTEL_EXPORTER_OTLP_HEADERS", &header())
        // Those of traces alone go before the general ones.
        .consumer_environment("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        .consumer_environment(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            &format!("https://127.0.0.1:{}/v1/traces", collector.http),
        )
        .consumer_environment("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
        .consumer_environment("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", &authority)
        .consumer_environment("OTEL_EXPORTER_OTLP_TRACES_HEADERS", &header())
        .start()
        .await?;
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    let found = Jaeger::shared()
        .of(&id, |found| {
            found.len() == 1 && !found[0].all("process").is_empty() && !found[0].all("send").is_empty()
        })
        .await;
    assert_eq!(found[0].one("process").service, "bridge-consumer");
    for daemon in [&world.publisher, &world.consumer] {
        let dropped = Scrape::of(daemon).await?.sum("bridge_spans_total", &[("outcome", "dropped")]);
        assert_eq!(dropped, 0.0, "{}: {}", daemon.name(), collector.log());
        let secret = STANDARD.encode(format!("bridge:{PASSWORD}"));
        assert!(!daemon.log().contains(&secret), "{}: the header is in its log", daemon.name());
    }
    world.finish().await
}

async fn drops(daemon: &Daemon) {
    eventually(&format!("{} to drop its spans", daemon.name()), async || {
        let scrape = Scrape::of(daemon).await.map_err(|error| format!("{error:#}"))?;
        let of = |outcome| scrape.sum("bridge_spans_total", &[("outcome", outcome)]);
        let seen = (of("dropped"), of("exported"));
        if seen.0 > 0.0 && seen.1 == 0.0 { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_strange_authority_or_a_missing_header_costs_spans_and_nothing_else() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let authority = |name: &str| collector.file(name).display().to_string();
    let (grpc, http) =
        (format!("https://127.0.0.1:{}", collector.grpc), format!("https://127.0.0.1:{}", collector.http));
    let world = World::build()
        .publisher_environment("OTEL_EXPORTER_OTLP_ENDPOINT", &grpc)
        .publisher_environment("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority("stranger.pem"))
        .publisher_environment("OTEL_EXPORTER_OTLP_HEADERS", &header())
        .consumer_environment("OTEL_EXPORTER_OTLP_ENDPOINT", &http)
        .consumer_environment("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .consumer_environment("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority("ca.pem"))
        .start()
        .await?;
    for id in world.api.many("w", 5).await? {
        world.api.until(&id, "succeeded").await;
    }
    for daemon in [&world.publisher, &world.consumer] {
        drops(daemon).await;
    }
    world.finish().await
}
