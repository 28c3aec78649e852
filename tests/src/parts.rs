//! Real parts: those that all tests share, and those that one test may break.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// A broker, and what proves to it who somebody is.
#[derive(Clone, Debug)]
pub struct Pulsar {
    pub service_url: String,
    pub http_url: String,
    pub tls_url: String,
    pub https_url: String,
    pub ca: PathBuf,
    /// May do everything.
    pub admin_token: PathBuf,
    pub publisher_token: PathBuf,
    pub consumer_token: PathBuf,
    /// Signs the tokens of further roles.
    pub secret_key: PathBuf,
}

impl Pulsar {
    /// The one that all tests share; nobody may stop, wipe or unbalance it.
    pub fn shared() -> Self {
        let file = |name| PathBuf::from(shared(name));
        Self {
            service_url: shared("BRIDGE_TEST_PULSAR_URL"),
            http_url: shared("BRIDGE_TEST_PULSAR_HTTP"),
            tls_url: shared("BRIDGE_TEST_PULSAR_TLS_URL"),
            https_url: shared("BRIDGE_TEST_PULSAR_HTTPS"),
            ca: file("BRIDGE_TEST_PULSAR_CA"),
            admin_token: file("BRIDGE_TEST_PULSAR_ADMIN_TOKEN_FILE"),
            publisher_token: file("BRIDGE_TEST_PULSAR_PUBLISHER_TOKEN_FILE"),
            consumer_token: file("BRIDGE_TEST_PULSAR_CONSUMER_TOKEN_FILE"),
            secret_key: file("BRIDGE_TEST_PULSAR_SECRET_KEY"),
        }
    }

    /// A test's own.
    pub fn of(part: &Part) -> anyhow::Result<Self> {
        let file = |name| part.value(name).map(PathBuf::from);
        Ok(Self {
            service_url: part.value("PULSAR_SERVICE_URL")?,
            http_url: part.value("PULSAR_HTTP_URL")?,
            tls_url: part.value("PULSAR_TLS_URL")?,
            https_url: part.value("PULSAR_HTTPS_URL")?,
            ca: file("PULSAR_CA_FILE")?,
            admin_token: file("PULSAR_ADMIN_TOKEN_FILE")?,
            publisher_token: file("PULSAR_PUBLISHER_TOKEN_FILE")?,
            consumer_token: file("PULSAR_CONSUMER_TOKEN_FILE")?,
            secret_key: file("PULSAR_SECRET_KEY_FILE")?,
        })
    }
}

pub fn shared(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run ./scripts/test, which starts the real parts"))
}

pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A part of one test's own, to be stopped, killed and wiped. It ends with the test.
pub struct Part {
    kind: &'static str,
    state: TempDir,
}

impl Part {
    pub async fn postgres() -> anyhow::Result<Self> {
        Self::start_new("postgres").await
    }

    pub async fn pulsar() -> anyhow::Result<Self> {
        Self::start_new("pulsar").await
    }

    /// Takes half a gigabyte; workflows and credentials of `import` are there and active, and its spans go to `otlp`.
    pub async fn n8n(import: &Path, otlp: &str) -> anyhow::Result<Self> {
        Self::start_with("n8n", &["--import", &import.display().to_string(), "--otlp", otlp]).await
    }

    async fn start_new(kind: &'static str) -> anyhow::Result<Self> {
        Self::start_with(kind, &[]).await
    }

    async fn start_with(kind: &'static str, flags: &[&str]) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        // Open for the user postgres, under which the server runs when the tests run as root.
        let open = std::fs::Permissions::from_mode(0o755);
        let state = tempfile::Builder::new().prefix("bridge-part-").permissions(open).tempdir_in("/tmp")?;
        let part = Self { kind, state };
        part.run("start", flags).await?;
        Ok(part)
    }

    pub async fn start(&self) -> anyhow::Result<()> {
        self.run("start", &[]).await
    }

    /// With all its data gone.
    pub async fn start_fresh(&self) -> anyhow::Result<()> {
        self.run("start", &["--fresh"]).await
    }

    pub async fn stop(&self) -> anyhow::Result<()> {
        self.run("stop", &[]).await
    }

    pub async fn kill(&self) -> anyhow::Result<()> {
        self.run("kill", &[]).await
    }

    /// It keeps its connections and says nothing any more, until `thaw`.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal("-STOP").await
    }

    pub async fn thaw(&self) -> anyhow::Result<()> {
        self.signal("-CONT").await
    }

    async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = std::fs::read_to_string(self.state.path().join(format!("{}.pid", self.kind)))?;
        let mut command = Command::new("kill");
        command.args([signal, pid.trim()]);
        anyhow::ensure!(output(command).await?.status.success(), "kill {signal} {} failed", self.kind);
        Ok(())
    }

    /// A line of its environment file, for example DATABASE_URL.
    pub fn value(&self, name: &str) -> anyhow::Result<String> {
        let file = self.state.path().join(format!("{}.env", self.kind));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let lines: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        Ok((*lines.get(name).with_context(|| format!("{} has no {name}", file.display()))?).to_owned())
    }

    async fn run(&self, verb: &str, flags: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(script());
        command.args([verb, self.kind, "--state"]).arg(self.state.path()).args(flags);
        let output = output(command).await.context("scripts/parts cannot be run")?;
        if !output.status.success() {
            bail!("scripts/parts {verb} {}: {}", self.kind, String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let state = self.state.path();
        // A part that does not die is told by the script; the test has its own result to report.
        let _ = Command::new(script()).args(["kill", self.kind, "--state"]).arg(state).output();
    }
}

/// Runs a command to its end without holding up the other tasks.
pub async fn output(mut command: Command) -> anyhow::Result<Output> {
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

fn script() -> PathBuf {
    repository().join("scripts/parts")
}
