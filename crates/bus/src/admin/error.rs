//! Which call failed, on what, what the broker said, and what helps.

use std::fmt;
use std::time::Duration;

use pulsar::error::AuthenticationError;

#[derive(Debug, thiserror::Error)]
pub struct AdminError {
    /// What was asked for, as a verb: "create tenant".
    pub call: &'static str,
    /// Its object: "acme/workflows".
    pub object: String,
    #[source]
    pub problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("the URL is not an http or https URL with a host")]
    BadUrl,
    #[error("{0}")]
    BadName(String),
    #[error("cannot get a credential")]
    Credential(#[source] AuthenticationError),
    #[error("the request failed")]
    Transport(#[source] reqwest::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("redirected too often, or to somewhere unsafe: {0}")]
    Redirect(String),
    /// The broker's own status and reason.
    #[error("status {status}: {reason}")]
    Status { status: u16, reason: String },
    #[error("the answer could not be read: {0}")]
    Answer(String),
}

impl AdminError {
    pub(crate) fn new(call: &'static str, object: impl Into<String>, problem: Problem) -> Self {
        Self { call, object: object.into(), problem }
    }

    pub fn status(&self) -> Option<u16> {
        match self.problem {
            Problem::Status { status, .. } => Some(status),
            _ => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    fn advice(&self) -> &'static str {
        match &self.problem {
            Problem::BadUrl => "set pulsar.http_url (PULSAR_HTTP_URL) to the broker's web address",
            Problem::BadName(_) => "correct the name",
            Problem::Credential(_) => "check the broker token or the OAuth2 settings",
            Problem::Transport(_) | Problem::Timeout(_) => {
                "check that the broker runs and that pulsar.http_url is its web port"
            }
            Problem::Redirect(_) => "check what the broker advertises as its web address",
            Problem::Status { status: 401, .. } => {
                "the token is missing, expired, or has no right here: use an admin token"
            }
            Problem::Status { status: 403, .. } => {
                "the role needs a permission on the namespace, or an admin token"
            }
            Problem::Status { status: 404, .. } => "create it first: bridgectl topics apply",
            Problem::Status { status: 409, .. } => "it exists already or is in use",
            Problem::Status { status: 412, .. } => "the broker's own limits forbid it: see its reason",
            Problem::Status { status: 500.., .. } => "the broker is in trouble: try again, then see its log",
            Problem::Status { .. } | Problem::Answer(_) => "check that pulsar.http_url is a Pulsar 4 broker",
        }
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker admin could not {} {}; {}", self.call, self.object, self.advice())
    }
}

/// The broker answers `{"reason": ...}`, or an HTML page whose title says it.
pub(super) fn reason(body: &str) -> String {
    if let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(body)
        && let Some(reason) = fields.get("reason").and_then(|reason| reason.as_str())
    {
        return shortened(reason);
    }
    let title = body.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    match title {
        Some((title, _)) => shortened(title.trim()),
        None if body.trim().is_empty() => "no reason given".to_owned(),
        None => shortened(body.trim()),
    }
}

fn shortened(text: &str) -> String {
    // A broker's stack trace is no reason.
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_the_broker_gives_a_reason_is_understood() {
        assert_eq!(reason(r#"{"reason":"Tenant not found"}"#), "Tenant not found");
        assert_eq!(
            reason("<html><head><title>Error 401 Unauthorized</title></head></html>"),
            "Error 401 Unauthorized"
        );
        assert_eq!(reason(""), "no reason given");
        assert_eq!(reason("\n --- An unexpected error ---\njava.lang"), "--- An unexpected error ---");
    }

    #[test]
    fn the_error_names_call_object_and_remedy_and_leaves_the_reason_to_its_source() {
        let problem = Problem::Status { status: 404, reason: "Tenant not found".into() };
        let error = AdminError::new("list topics of", "acme/workflows", problem);
        let text = error.to_string();
        assert!(text.contains("list topics of acme/workflows") && text.contains("topics apply"), "{text}");
        assert!(!text.contains("Tenant not found"), "{text}");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("status 404: Tenant not found"));
    }
}
