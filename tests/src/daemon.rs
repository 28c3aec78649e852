//! A daemon as a process of its own: started, killed, asked to leave.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::parts::Pulsar;
use crate::wait::{eventually, eventually_within};

pub const PUBLISHER: &str = "bridge-publisher";
pub const CONSUMER: &str = "bridge-consumer";

pub struct Daemon {
    name: &'static str,
    config: PathBuf,
    log: PathBuf,
    port: u16,
    /// Its role's at the broker.
    token: PathBuf,
    child: Option<Child>,
    http: reqwest::Client,
}

impl Daemon {
    pub fn new(name: &'static str, directory: &Path, port: u16, pulsar: &Pulsar) -> Self {
        let token = if name == CONSUMER { &pulsar.consumer_token } else { &pulsar.publisher_token };
        Self {
            name,
            config: directory.join("bridge.toml"),
            log: logs_of(directory).join(format!("{name}-{port}.log")),
            port,
            token: token.clone(),
            child: None,
            http: crate::http_client(),
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts the process; `environment` beside the configuration file.
    pub fn start(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        self.start_with(environment, &[])
    }

    pub fn start_with(&mut self, environment: &[(&str, &str)], flags: &[&str]) -> anyhow::Result<()> {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let binary = binary(self.name);
        std::fs::create_dir_all(self.log.parent().unwrap_or(Path::new("/")))?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(&binary)
            .arg("--config")
            .arg(&self.config)
            .args(flags)
            .env_clear()
            .envs(
                std::env::vars()
                    .filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME" | "SSL_CERT_DIR")),
            )
            .env("RUST_BACKTRACE", "1")
            .env("PULSAR_AUTH_TOKEN_FILE", &self.token)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!("{} cannot be started; run: cargo build --workspace --bins", binary.display())
            })?;
        self.child = Some(child);
        Ok(())
    }

    pub async fn start_ready(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        self.start(environment)?;
        self.ready().await;
        Ok(())
    }

    /// Until it says that it can do its work.
    pub async fn ready(&mut self) {
        let (name, url, http) = (self.name, format!("{}/health/ready", self.url()), self.http.clone());
        eventually(&format!("{name} to be ready"), async || {
            if let Some(status) = self.exited() {
                panic!("{name} ended with {status} while it was starting");
            }
            let answer = http.get(&url).send().await.map_err(|error| format!("{error:?}"))?;
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            if status.is_success() { Ok(()) } else { Err(format!("{status} {text}")) }
        })
        .await;
    }

    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM.
    pub fn ask_to_leave(&self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// By its name without SIG.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} does not run", self.name))?;
        let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status()?;
        anyhow::ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }

    pub async fn left(&mut self, deadline: Duration) -> ExitStatus {
        let name = self.name;
        let status =
            eventually_within(deadline, &format!("{name} to leave"), async || self.exited().ok_or("it runs"))
                .await;
        self.child = None;
        status
    }

    /// SIGTERM, and the end of it.
    pub async fn leave(&mut self) -> anyhow::Result<ExitStatus> {
        self.ask_to_leave()?;
        Ok(self.left(Duration::from_secs(20)).await)
    }

    pub fn runs(&mut self) -> bool {
        self.child.is_some() && self.exited().is_none()
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    pub async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.http.get(format!("{}/metrics", self.url())).send().await?.error_for_status()?.text().await?)
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn log_tail(&self, lines: usize) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().rev().take(lines).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Where the daemons of a directory write: what scripts/test searches afterwards outlives the test.
pub fn logs_of(directory: &Path) -> PathBuf {
    match (std::env::var_os("BRIDGE_TEST_LOGS"), directory.file_name()) {
        (Some(logs), Some(name)) => Path::new(&logs).join("daemons").join(name),
        _ => directory.to_owned(),
    }
}

/// From BRIDGE_BIN_DIR, else beside the test's own executable.
pub fn binary(name: &str) -> PathBuf {
    let directory = std::env::var_os("BRIDGE_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        // target/<profile>/deps/integration-<hash>
        std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
    });
    let binary = directory.join(name);
    assert!(binary.exists(), "{} is not built; run: cargo build --workspace --bins", binary.display());
    binary
}

/// Below the range that the kernel hands out to outgoing connections, so that a restart finds it free again.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(14_000..20_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
