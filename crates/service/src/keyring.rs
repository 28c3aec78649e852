//! The keyring file: read at start, read again when it changes. A broken new file changes nothing but the log and
//! a metric.

use arc_swap::ArcSwap;
use bridge_protocol::{Keyring, KeyringError};
use std::path::{Path, PathBuf};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

pub type SharedKeyring = Arc<ArcSwap<Keyring>>;

/// How often the file is looked at: a new key waits for the slowest of the consumers.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the keyring {path} cannot be read; check signing.keyring_file and the file's permissions")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the keyring {path} cannot be used")]
    Keys { path: PathBuf, source: KeyringError },
    #[error(
        "the keyring {path} has no key to sign with; set `signing` to the kid of a key with a secret half"
    )]
    CannotSign { path: PathBuf },
}

/// What the keyring is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Sign,
    Verify,
}

/// The keyring of a running daemon.
pub struct KeyringFile {
    path: PathBuf,
    needed_for: Use,
    text: String,
    current: SharedKeyring,
}

impl KeyringFile {
    /// # Errors
    /// When the file cannot be read, is no keyring, or cannot do what it is needed for.
    pub fn load(path: &Path, needed_for: Use) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let keyring = parse(path, &text, needed_for)?;
        let current = Arc::new(ArcSwap::from_pointee(keyring));
        Ok(Self { path: path.to_owned(), needed_for, text, current })
    }

    pub fn shared(&self) -> SharedKeyring {
        self.current.clone()
    }

    /// Looks at the file until the daemon stops.
    pub async fn watch(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let text = match tokio::fs::read_to_string(&self.path).await {
            Ok(text) if text == self.text => return,
            Ok(text) => text,
            Err(source) => return self.keep(&LoadError::Read { path: self.path.clone(), source }),
        };
        match parse(&self.path, &text, self.needed_for) {
            Ok(keyring) => {
                tracing::info!(signing = keyring.signing_kid(), keys = ?keyring.kids(), "keyring replaced");
                self.current.store(Arc::new(keyring));
                metrics::counter!("bridge_keyring_reloads_total", "outcome" => "replaced").increment(1);
                metrics::gauge!("bridge_keyring_broken").set(0.0);
                self.text = text;
            }
            Err(error) => self.keep(&error),
        }
    }

    fn keep(&self, error: &LoadError) {
        tracing::error!(error = error as &dyn std::error::Error, "the keys loaded before stay in use");
        metrics::counter!("bridge_keyring_reloads_total", "outcome" => "broken").increment(1);
        metrics::gauge!("bridge_keyring_broken").set(1.0);
    }
}

fn parse(path: &Path, text: &str, needed_for: Use) -> Result<Keyring, LoadError> {
    let path = path.to_owned();
    match Keyring::from_toml(text) {
        Err(source) => Err(LoadError::Keys { path, source }),
        Ok(keyring) if needed_for == Use::Sign && !keyring.can_sign() => Err(LoadError::CannotSign { path }),
        Ok(keyring) => Ok(keyring),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn ring(kid: &str) -> String {
        let secret = "A".repeat(43) + "=";
        format!("signing = \"{kid}\"\n[[keys]]\nkid = \"{kid}\"\nalg = \"HS256\"\nsecret = \"{secret}\"\n")
    }

    #[tokio::test]
    async fn a_changed_file_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.toml");
        std::fs::write(&path, ring("one")).unwrap();
        let mut file = KeyringFile::load(&path, Use::Sign).unwrap();
        let shared = file.shared();
        assert_eq!(shared.load().signing_kid(), Some("one"));

        std::fs::write(&path, "signing = ").unwrap();
        file.look().await;
        assert_eq!(shared.load().signing_kid(), Some("one"));

        std::fs::write(&path, ring("two")).unwrap();
        file.look().await;
        assert_eq!(shared.load().signing_kid(), Some("two"));
    }
}
