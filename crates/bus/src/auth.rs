//! Credentials for the broker, the same for its binary protocol and for its REST interface.

mod oauth2;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pulsar::authentication::Authentication;
use pulsar::error::AuthenticationError;

use crate::config::{BrokerAuth, Tls};
use crate::tls::TlsError;
use oauth2::OAuth2;

/// No credential can be had, whatever the broker would say to it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("cannot read the {what} from {}", path.display())]
    Unreadable {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the {what} file {} is empty", path.display())]
    Empty { what: &'static str, path: PathBuf },
    #[error("the OAuth2 issuer {issuer} cannot be used: {why}")]
    Issuer { issuer: String, why: String },
    #[error("the OAuth2 issuer {issuer} does not answer")]
    Unreachable {
        issuer: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the OAuth2 issuer {issuer} gives client {client} no token: {why}")]
    Denied { issuer: String, client: String, why: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl CredentialError {
    /// With its sources, for where only text goes on.
    pub(crate) fn told(&self) -> String {
        chain(self)
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Where the tokens come from. Clones share what was fetched.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<Source>);

enum Source {
    None,
    Fixed(String),
    /// Read again for every connection and every request.
    File(PathBuf),
    OAuth2(Box<OAuth2>),
}

impl Credentials {
    /// `limit` bounds each request to an issuer.
    pub(crate) fn new(auth: &BrokerAuth, tls: &Tls, limit: Duration) -> Self {
        Self(Arc::new(match auth {
            BrokerAuth::None => Source::None,
            BrokerAuth::Token(token) => Source::Fixed(token.trim().to_owned()),
            BrokerAuth::TokenFile(path) => Source::File(path.clone()),
            BrokerAuth::OAuth2 { issuer_url, audience, scope, client_id, client_secret_file } => {
                Source::OAuth2(Box::new(OAuth2 {
                    issuer: issuer_url.trim_end_matches('/').to_owned(),
                    audience: audience.clone(),
                    scope: scope.clone(),
                    client: client_id.clone(),
                    secret_file: client_secret_file.clone(),
                    tls: tls.clone(),
                    limit,
                    kept: std::sync::Mutex::default(),
                    fetching: tokio::sync::Semaphore::new(1),
                }))
            }
        }))
    }

    /// The token for the next connection; `None` where no credential is configured.
    pub(crate) async fn token(&self) -> Result<Option<String>, CredentialError> {
        match &*self.0 {
            Source::None => Ok(None),
            Source::Fixed(token) => Ok(Some(token.clone())),
            Source::File(path) => read_secret(path, "broker token").await.map(Some),
            Source::OAuth2(oauth2) => oauth2.token().await.map(Some),
        }
    }

    /// The broker did not take what it was given: the next one is fetched, however long the old one would last.
    pub(crate) fn refused(&self) {
        if let Source::OAuth2(oauth2) = &*self.0 {
            oauth2.forget();
        }
    }

    /// For the client of the binary protocol.
    pub(crate) fn provider(&self) -> Option<Box<dyn Authentication>> {
        match &*self.0 {
            Source::None => None,
            _ => Some(Box::new(Provider(self.clone()))),
        }
    }

    /// What to do when the broker refuses it.
    pub(crate) fn remedy(&self) -> Remedy<'_> {
        Remedy(&self.0)
    }
}

/// Said behind the broker's refusal.
pub(crate) struct Remedy<'a>(&'a Source);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Source::None => {
                f.write_str("set a token (PULSAR_AUTH_TOKEN_FILE) or the PULSAR_OAUTH2_ settings and restart")
            }
            Source::Fixed(_) => f.write_str(
                "the configured token is fixed: replace PULSAR_AUTH_TOKEN and restart, or use \
                 PULSAR_AUTH_TOKEN_FILE, which is read again without a restart",
            ),
            Source::File(path) => write!(
                f,
                "put a new token into {}: it is read again for each try, no restart is needed",
                path.display()
            ),
            Source::OAuth2(oauth2) => write!(
                f,
                "check that the broker trusts {} and expects this audience and scope of client {}; a new token is \
                 fetched for each try",
                oauth2.issuer, oauth2.client
            ),
        }
    }
}

/// hazard 12: the library does not announce that it can refresh a credential, so the broker closes the connection
/// when the token expires, and the reconnect asks `auth_data` again. That call therefore must always look afresh.
struct Provider(Credentials);

type AuthResult<'a, T> = Pin<Box<dyn Future<Output = Result<T, AuthenticationError>> + Send + 'a>>;

// Written without `async_trait`: these are the signatures that macro makes.
impl Authentication for Provider {
    fn auth_method_name(&self) -> String {
        "token".into()
    }

    fn initialize<'a, 'b>(&'a mut self) -> AuthResult<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async { Ok(()) })
    }

    fn auth_data<'a, 'b>(&'a mut self) -> AuthResult<'b, Vec<u8>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            let token = self.0.token().await.map_err(|error| AuthenticationError::Custom(error.told()))?;
            Ok(token.unwrap_or_default().into_bytes())
        })
    }
}

async fn read_secret(path: &Path, what: &'static str) -> Result<String, CredentialError> {
    let text = tokio::fs::read_to_string(path).await.map_err(|source| CredentialError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(CredentialError::Empty { what, path: path.to_owned() });
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn credentials(auth: &BrokerAuth) -> Credentials {
        Credentials::new(auth, &Tls::default(), Duration::from_secs(1))
    }

    #[tokio::test]
    async fn a_token_file_is_read_again_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let credentials = credentials(&BrokerAuth::TokenFile(path.clone()));
        let mut provider = credentials.provider().unwrap();
        assert_eq!(provider.auth_data().await.unwrap(), b"one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(provider.auth_data().await.unwrap(), b"two");
        assert_eq!(credentials.token().await.unwrap().as_deref(), Some("two"));
        std::fs::write(&path, " \n").unwrap();
        let error = provider.auth_data().await.unwrap_err().to_string();
        assert!(error.contains("is empty"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_secret_file_is_named() {
        let auth = BrokerAuth::OAuth2 {
            issuer_url: "https://issuer.invalid".into(),
            audience: None,
            scope: None,
            client_id: "bridge".into(),
            client_secret_file: "/nonexistent/secret".into(),
        };
        let error = credentials(&auth).token().await.unwrap_err().told();
        assert!(error.contains("/nonexistent/secret") && error.contains("No such file"), "{error}");
    }
}
