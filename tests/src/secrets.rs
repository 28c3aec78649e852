//! What nobody may ever find in what the daemons write, and the search for it.

use std::path::Path;

use crate::daemon::{Daemon, logs_of};
use crate::world::World;

/// In the payloads that `Api` publishes. scripts/test searches every log for it once more, when all worlds are gone.
pub const MARK: &str = "pLaNtEdMaRk";

/// Lines with anything between the quotes of `name = "..."`.
fn values<'t>(text: &'t str, name: &str) -> impl Iterator<Item = String> + use<'t> {
    let start = format!("{name} = ");
    text.lines().filter_map(move |line| Some(line.strip_prefix(&start)?.trim_matches('"').to_owned()))
}

impl World {
    /// Each with its name.
    pub fn secrets(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut secrets =
            vec![("a planted mark", MARK.to_owned()), ("the administrator's key", self.admin_token.clone())];
        for tenant in &self.tenants {
            secrets.push(("an API key", tenant.token.clone()));
            secrets.push(("a webhook secret", tenant.webhook_secret.trim_start_matches("whsec_").to_owned()));
        }
        let keyring = std::fs::read_to_string(self.file("keyring.toml"))?;
        secrets.extend(values(&keyring, "secret").map(|key| ("a signing key", key)));
        // A key in PEM is one line here, with its line ends escaped.
        let pem =
            values(&keyring, "private_pem").filter_map(|pem| pem.split("\\n").nth(1).map(str::to_owned));
        secrets.extend(pem.map(|key| ("a private signing key", key)));
        let master = std::fs::read_to_string(self.file("master.keys"))?;
        let keys = master.lines().filter_map(|line| Some(line.split_once(':')?.1.trim().to_owned()));
        secrets.extend(keys.filter(|key| !key.is_empty()).map(|key| ("a master key", key)));
        for path in [&self.pulsar.publisher_token, &self.pulsar.consumer_token] {
            secrets.push(("a broker token", std::fs::read_to_string(path)?.trim().to_owned()));
        }
        for (what, secret) in &secrets {
            anyhow::ensure!(secret.len() > 8, "{what} is no secret: {secret:?}");
        }
        Ok(secrets)
    }

    /// Whatever the world's daemons have written, and what they show.
    pub async fn nothing_secret_was_written(&mut self) -> anyhow::Result<()> {
        let secrets = self.secrets()?;
        let mut texts = logs(&logs_of(self.file("bridge.toml").parent().unwrap_or(Path::new("/"))))?;
        for daemon in [&mut self.publisher, &mut self.consumer] {
            if daemon.runs() {
                texts.push((format!("/metrics of {}", daemon.name()), shown(daemon).await));
            }
        }
        let faults: Vec<String> =
            texts.iter().filter_map(|(from, text)| found(from, text, &secrets)).collect();
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    }
}

/// Of a daemon that hangs or is about to leave there is nothing to see.
async fn shown(daemon: &Daemon) -> String {
    daemon.metrics().await.unwrap_or_default()
}

fn logs(directory: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
    Ok(found)
}

/// The first line with a secret in it.
pub fn found(from: &str, text: &str, secrets: &[(&str, String)]) -> Option<String> {
    secrets.iter().find_map(|(what, secret)| {
        let line = text.lines().find(|line| line.contains(secret.as_str()))?;
        let line: String = line.chars().take(600).collect();
        Some(format!("{from} shows {what}: {line}"))
    })
}
