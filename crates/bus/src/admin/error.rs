//! Which call failed, on what, what the broker said, and what helps.

use std::fmt;
use std::time::Duration;

use http::Method;

use crate::auth::CredentialError;
use crate::tls::TlsError;

#[derive(Debug, thiserror::Error)]
pub struct AdminError {
    /// What was asked for, as a verb: "create tenant".
    pub call: &'static str,
    /// Its object: "acme/workflows".
    pub object: String,
    /// The request: "PUT /admin/v2/tenants/acme"; empty when it did not come to one.
    pub request: Box<str>,
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
    Credential(#[source] Box<CredentialError>),
    #[error("the broker's authorities cannot be used")]
    Certificates(#[source] TlsError),
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
        Self { call, object: object.into(), request: Box::default(), problem }
    }

    pub(super) fn asked(self, method: &Method, path: &str) -> Self {
        Self { request: format!("{method} {path}").into(), ..self }
    }

    /// Asking the same for others with the same credential is of no use.
    pub fn is_refusal(&self) -> bool {
        matches!(self.problem, Problem::Status { status: 401 | 403, .. } | Problem::Credential(_))
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
            Problem::Certificates(_) => "correct pulsar.tls_ca_file",
            Problem::Transport(error) if is_certificate(error) => {
                "the broker's certificate is not trusted: check pulsar.tls_ca_file and the host in pulsar.http_url"
            }
            Problem::Transport(_) | Problem::Timeout(_) => {
                "check that the broker runs and that pulsar.http_url is its web port"
            }
            Problem::Redirect(_) => "check what the broker advertises as its web address",
            // Above the namespaces the broker answers 401 also to a good credential without the right.
            Problem::Status { status: 401, reason } if names_a_right(reason) => {
                "the role is known but has no right to this: only a superuser (superUserRoles of the broker) may, so \
                 give PULSAR_ADMIN_TOKEN_FILE a superuser's token"
            }
            Problem::Status { status: 401, .. } => {
                "the broker does not take the token, it is missing, wrong or expired: renew it"
            }
            Problem::Status { status: 403, .. } => {
                "the role has no right to this: name it in the tenant's admin roles, or use a superuser's token"
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
        write!(f, "broker admin could not {} {}", self.call, self.object)?;
        if !self.request.is_empty() {
            write!(f, " ({})", self.request)?;
        }
        write!(f, "; {}", self.advice())
    }
}

/// "Unauthorized to validate..." is about a right, "Authentication required" about the credential.
pub(super) fn names_a_right(reason: &str) -> bool {
    reason.contains("Unauthorized to") || reason.contains("permission")
}

fn is_certificate(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.is::<rustls::Error>() {
            return true;
        }
        // What an I/O error wraps is not its source.
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    false
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
        let error = AdminError::new("list topics of", "acme/workflows", problem)
            .asked(&Method::GET, "/admin/v2/persistent/acme/workflows");
        let text = error.to_string();
        assert!(text.contains("(GET /admin/v2/persistent/acme/workflows)"), "{text}");
        assert!(text.contains("list topics of acme/workflows") && text.contains("topics apply"), "{text}");
        assert!(!text.contains("Tenant not found"), "{text}");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("status 404: Tenant not found"));
    }

    #[test]
    fn a_missing_right_is_told_from_a_bad_token() {
        let said = |reason: &str| {
            AdminError::new("create tenant", "a", Problem::Status { status: 401, reason: reason.into() })
                .to_string()
        };
        assert!(said("Unauthorized to validateSuperUserAccess").contains("superUserRoles"));
        assert!(said("Error 401 Authentication required").contains("renew it"));
    }
}
