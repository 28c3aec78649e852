//! When what the daemon shows to the broker, and what it trusts it by, runs out. Read afresh each time: files are renewed
//! under a running daemon.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_bus::{BrokerAuth, Tls};
use bridge_protocol::Time;
use serde::Deserialize;
use x509_cert::Certificate;

/// What may expire.
#[derive(Clone)]
pub struct Expiries {
    auth: BrokerAuth,
    tls: Tls,
}

impl Expiries {
    pub fn new(auth: BrokerAuth, tls: Tls) -> Self {
        Self { auth, tls }
    }

    /// Each that has an end, with it. What cannot be read is the broker's client's to complain of.
    pub async fn read(&self) -> Vec<(&'static str, Time)> {
        let token = match &self.auth {
            BrokerAuth::Token(token) => Some(token.clone()),
            BrokerAuth::TokenFile(path) => tokio::fs::read_to_string(path).await.ok(),
            // Without a token, or with one that is fetched anew in time.
            _ => None,
        };
        let authorities = match &self.tls.ca_file {
            Some(path) => tokio::fs::read(path).await.ok(),
            None => None,
        };
        let token = token.as_deref().and_then(token_ends).map(|end| ("broker_token", end));
        let authority = authorities.as_deref().and_then(first_end).map(|end| ("ca_certificate", end));
        token.into_iter().chain(authority).collect()
    }
}

/// A token's `exp`. Nothing is believed because of it.
fn token_ends(token: &str) -> Option<Time> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    Time::from_timestamp(exp as i64, 0)
}

/// Of the certificates in a PEM file, the end of the one that ends first.
fn first_end(pem: &[u8]) -> Option<Time> {
    let certificates = Certificate::load_pem_chain(pem).ok()?;
    let end = |certificate: &Certificate| {
        let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
        Time::from_timestamp(i64::try_from(end.as_secs()).ok()?, 0)
    };
    certificates.iter().filter_map(end).min()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims))
    }

    #[tokio::test]
    async fn a_tokens_end_is_read_and_one_without_an_end_has_none() {
        let of = async |token: String| Expiries::new(BrokerAuth::Token(token), Tls::default()).read().await;
        let end = Time::from_timestamp(1_900_000_000, 0).unwrap();
        assert_eq!(of(token(r#"{"sub":"x","exp":1900000000}"#)).await, [("broker_token", end)]);
        assert_eq!(of(token(r#"{"sub":"x"}"#)).await, []);
        assert_eq!(of("no token".to_owned()).await, []);

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let renewed = Expiries::new(BrokerAuth::TokenFile(file.clone()), Tls::default());
        assert_eq!(renewed.read().await, []);
        std::fs::write(&file, token(r#"{"exp":1900000000}"#) + "\n").unwrap();
        assert_eq!(renewed.read().await, [("broker_token", end)]);
    }

    #[tokio::test]
    async fn of_several_authorities_the_first_to_end_counts() {
        let directory = tempfile::tempdir().unwrap();
        let (long, short) = (made(directory.path(), "a", "400"), made(directory.path(), "b", "20"));
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, long + &short).unwrap();
        let tls = Tls { ca_file: Some(file.clone()) };
        let expiries = Expiries::new(BrokerAuth::None, tls);
        let [("ca_certificate", end)] = expiries.read().await[..] else { panic!() };
        #[allow(clippy::disallowed_methods, reason = "openssl writes the present")]
        let days = (end - chrono::Utc::now()).num_days();
        assert!((18..=20).contains(&days), "{days}");
        std::fs::write(&file, "no certificate").unwrap();
        assert_eq!(expiries.read().await, []);
    }

    fn made(directory: &std::path::Path, name: &str, days: &str) -> String {
        let (key, certificate) = (directory.join("key"), directory.join(name));
        let made = std::process::Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=test", "-days", days, "-keyout",
            ])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{made:?}");
        std::fs::read_to_string(certificate).unwrap()
    }
}
