//! Real parts: those that all tests share, and those that one test may break.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// The shared parts; nobody may stop, wipe or unbalance them.
pub struct Shared {
    pub database_url: String,
    pub pulsar_url: String,
    pub pulsar_http: String,
}

impl Shared {
    pub fn from_env() -> Self {
        Self {
            database_url: shared("BRIDGE_TEST_DATABASE_URL"),
            pulsar_url: shared("BRIDGE_TEST_PULSAR_URL"),
            pulsar_http: shared("BRIDGE_TEST_PULSAR_HTTP"),
        }
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

    async fn start_new(kind: &'static str) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        // Open for the user postgres, under which the server runs when the tests run as root.
        let open = std::fs::Permissions::from_mode(0o755);
        let state = tempfile::Builder::new().prefix("bridge-part-").permissions(open).tempdir_in("/tmp")?;
        let part = Self { kind, state };
        part.run("start", &[]).await?;
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
