//! A consumer that only verifies: with EdDSA nobody who reads its keyring can forge a message.

use std::path::Path;

use anyhow::bail;
use bridge_protocol::Keyring;
use bridge_service::config::SigningAlgorithm;
use bridge_service::health::{Reading, Status};

/// Refuses to start with a key that could sign, where none should be.
pub fn check(algorithm: SigningAlgorithm, keyring: &Keyring, path: &Path) -> anyhow::Result<()> {
    match secrets(algorithm, keyring) {
        None => Ok(()),
        Some(kids) => bail!(
            "signing.algorithm is eddsa, but the consumer's keyring {} lets its reader sign messages by {kids}: give \
             the consumer a file with the public_pem of each key and nothing else, and leave HS256 keys out or retired",
            path.display()
        ),
    }
}

/// For a file that changed under a running consumer: it goes on verifying, and says so.
pub fn read(algorithm: SigningAlgorithm, keyring: &Keyring) -> Reading {
    match secrets(algorithm, keyring) {
        None => Reading::now(Status::Ok, format!("{} keys", keyring.kids().len())),
        Some(kids) => Reading::now(
            Status::Degraded,
            format!(
                "the keyring holds secrets that a consumer must not have ({kids}); it would not start with them"
            ),
        ),
    }
}

fn secrets(algorithm: SigningAlgorithm, keyring: &Keyring) -> Option<String> {
    let kids = keyring.kids_with_secrets();
    (algorithm == SigningAlgorithm::Eddsa && !kids.is_empty()).then(|| kids.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const PUBLIC: &str = "[[keys]]\nkid = \"ed\"\nalg = \"EdDSA\"\npublic_pem = '''
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
'''\n";
    const PRIVATE: &str = "private_pem = '''
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
'''\n";

    fn check(algorithm: SigningAlgorithm, text: &str) -> Result<(), String> {
        let keyring = Keyring::from_toml(text).unwrap();
        let checked = super::check(algorithm, &keyring, Path::new("/keys.toml"));
        let degraded = read(algorithm, &keyring).status == Status::Degraded;
        assert_eq!(checked.is_err(), degraded);
        checked.map_err(|error| error.to_string())
    }

    #[test]
    fn with_eddsa_a_consumer_holds_public_halves_only() {
        let shared = "[[keys]]\nkid = \"hs\"\nalg = \"HS256\"\nsecret = \"o37tkYiOLZlFCT/nCYc8G5psYVLE5zJwSUL6LQdQTpo=\"\n";
        let both = format!("{PUBLIC}{PRIVATE}");
        assert_eq!(check(SigningAlgorithm::Eddsa, PUBLIC), Ok(()));
        let fault = check(SigningAlgorithm::Eddsa, &both).unwrap_err();
        assert!(fault.contains("/keys.toml") && fault.contains("by ed:"), "{fault}");
        let fault = check(SigningAlgorithm::Eddsa, &format!("{shared}{both}")).unwrap_err();
        assert!(fault.contains("by hs, ed:"), "{fault}");
        assert_eq!(check(SigningAlgorithm::Eddsa, &format!("{shared}retired = true\n{PUBLIC}")), Ok(()));
        assert_eq!(check(SigningAlgorithm::Hmac, &format!("{shared}{both}")), Ok(()));
    }
}
