//! Credentials the bridge shows to webhooks, one kind for each that n8n's Webhook node can check.

use bridge_webhook::is_reserved_header;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

const LONGEST: usize = 4096;

/// Its JSON is what the vault seals, and what the API takes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OutgoingCredential {
    Header {
        name: String,
        value: String,
    },
    Basic {
        user: String,
        password: String,
    },
    Bearer {
        token: String,
    },
    /// Signs a short-lived HS256 token for each request.
    Jwt {
        secret: String,
    },
}

impl OutgoingCredential {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Header { .. } => "header",
            Self::Basic { .. } => "basic",
            Self::Bearer { .. } => "bearer",
            Self::Jwt { .. } => "jwt",
        }
    }

    /// What the vault seals.
    pub fn to_secret(&self) -> Zeroizing<Vec<u8>> {
        // A struct of strings always serializes.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// What the vault opened.
    pub fn from_secret(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Every field that could not be sent, and why. No value is repeated.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut fits = |field: &'static str, text: &str| {
            if text.is_empty() {
                faults.push((field, "must not be empty".to_owned()));
            } else if text.len() > LONGEST {
                faults.push((field, format!("must not be longer than {LONGEST} bytes")));
            } else if HeaderValue::from_str(text).is_err() {
                faults.push((field, "must be visible ASCII characters and spaces".to_owned()));
            }
        };
        match self {
            Self::Header { name, value } => {
                fits("value", value);
                let lower = name.to_ascii_lowercase();
                if HeaderName::from_bytes(name.as_bytes()).is_err() {
                    faults.push(("name", "is not the name of an HTTP header".to_owned()));
                } else if is_reserved_header(&lower) {
                    faults.push((
                        "name",
                        format!("{lower} is set by the bridge itself; choose another header"),
                    ));
                }
            }
            Self::Basic { user, password } => {
                fits("user", user);
                if user.contains(':') {
                    faults.push(("user", "must not contain a colon".to_owned()));
                }
                if password.len() > LONGEST {
                    faults.push(("password", format!("must not be longer than {LONGEST} bytes")));
                }
            }
            Self::Bearer { token } => fits("token", token),
            Self::Jwt { secret } => {
                if !(32..=LONGEST).contains(&secret.len()) {
                    faults.push(("secret", format!("must be 32 to {LONGEST} bytes long")));
                }
            }
        }
        faults
    }
}

impl fmt::Debug for OutgoingCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutgoingCredential({}, hidden)", self.kind())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_what_is_read_and_nothing_is_shown() {
        let all = [
            r#"{"kind":"header","name":"X-Key","value":"geheim"}"#,
            r#"{"kind":"basic","user":"n8n","password":"geheim"}"#,
            r#"{"kind":"bearer","token":"geheim"}"#,
            r#"{"kind":"jwt","secret":"geheim-geheim-geheim-geheim-gehe"}"#,
        ];
        for json in all {
            let credential = OutgoingCredential::from_secret(json.as_bytes()).unwrap();
            assert_eq!(credential.faults(), []);
            assert_eq!(credential.to_secret().as_slice(), json.as_bytes());
            assert!(!format!("{credential:?}").contains("geheim"));
        }
        assert!(OutgoingCredential::from_secret(br#"{"kind":"bearer","token":"x","more":1}"#).is_none());
    }

    #[test]
    fn what_could_not_be_sent_is_said_by_field() {
        let fields = |credential: OutgoingCredential| -> Vec<&'static str> {
            credential.faults().into_iter().map(|(field, _)| field).collect()
        };
        let header =
            |name: &str, value: &str| OutgoingCredential::Header { name: name.into(), value: value.into() };
        assert_eq!(fields(header("a b", "x\ny")), ["value", "name"]);
        for ours in ["Host", "Content-Length", "X-Execution-Id", "webhook-signature"] {
            assert_eq!(fields(header(ours, "x")), ["name"], "{ours}");
        }
        assert_eq!(fields(OutgoingCredential::Bearer { token: String::new() }), ["token"]);
        assert_eq!(fields(OutgoingCredential::Jwt { secret: "short".into() }), ["secret"]);
        let basic = OutgoingCredential::Basic { user: "a:b".into(), password: String::new() };
        assert_eq!(fields(basic), ["user"]);
    }
}
