//! Credentials for the broker, the same for its binary protocol and for its REST interface.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use pulsar::authentication::Authentication;
use pulsar::authentication::oauth2::{OAuth2Authentication, OAuth2Params};
use pulsar::error::AuthenticationError;

use crate::config::BrokerAuth;

type AuthResult<'a, T> = Pin<Box<dyn Future<Output = Result<T, AuthenticationError>> + Send + 'a>>;

/// A provider for one client of the binary protocol.
pub(crate) fn provider(auth: &BrokerAuth) -> Option<Box<dyn Authentication>> {
    match auth {
        BrokerAuth::None => None,
        _ => Some(Box::new(Provider { auth: auth.clone(), oauth2: None })),
    }
}

/// hazard 12: the library does not announce that it can refresh a credential, so the broker closes the connection
/// when the token expires, and the reconnect asks `auth_data` again. That call therefore must always look afresh.
struct Provider {
    auth: BrokerAuth,
    oauth2: Option<Box<dyn Authentication>>,
}

impl Provider {
    async fn token(&mut self) -> Result<String, AuthenticationError> {
        match &self.auth {
            BrokerAuth::None => Ok(String::new()),
            BrokerAuth::Token(token) => Ok(token.trim().to_owned()),
            BrokerAuth::TokenFile(path) => read_secret(path, "broker token").await,
            BrokerAuth::OAuth2 { .. } => {
                if self.oauth2.is_none() {
                    let mut fresh = oauth2(&self.auth).await?;
                    fresh.initialize().await?;
                    self.oauth2 = Some(fresh);
                }
                let Some(oauth2) = self.oauth2.as_mut() else { return Ok(String::new()) };
                match oauth2.auth_data().await {
                    Ok(token) => Ok(String::from_utf8_lossy(&token).into_owned()),
                    Err(error) => {
                        // The secret or the issuer's endpoints may have changed: read both again next time.
                        self.oauth2 = None;
                        Err(error)
                    }
                }
            }
        }
    }
}

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
        Box::pin(async { self.token().await.map(String::into_bytes) })
    }
}

/// The REST client's view of the same credential.
#[derive(Clone)]
pub(crate) struct Bearer {
    auth: BrokerAuth,
    /// Taken out while it is used; a second caller meanwhile makes a provider of its own.
    kept: Arc<Mutex<Option<Provider>>>,
}

impl Bearer {
    pub(crate) fn new(auth: BrokerAuth) -> Self {
        Self { auth, kept: Arc::default() }
    }

    pub(crate) async fn token(&self) -> Result<Option<String>, AuthenticationError> {
        if matches!(self.auth, BrokerAuth::None) {
            return Ok(None);
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut provider = kept.unwrap_or_else(|| Provider { auth: self.auth.clone(), oauth2: None });
        let token = provider.token().await?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(provider);
        Ok(Some(token))
    }
}

async fn read_secret(path: &Path, what: &str) -> Result<String, AuthenticationError> {
    let text = tokio::fs::read_to_string(path).await.map_err(|error| {
        AuthenticationError::Custom(format!("cannot read the {what} from {}: {error}", path.display()))
    })?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(AuthenticationError::Custom(format!("the {what} file {} is empty", path.display())));
    }
    Ok(secret.to_owned())
}

async fn oauth2(auth: &BrokerAuth) -> Result<Box<dyn Authentication>, AuthenticationError> {
    let BrokerAuth::OAuth2 { issuer_url, audience, scope, client_id, client_secret_file } = auth else {
        return Err(AuthenticationError::Custom("OAuth2 is not configured".into()));
    };
    let client_secret = read_secret(client_secret_file, "OAuth2 client secret").await?;
    let credentials = serde_json::json!({ "client_id": client_id, "client_secret": client_secret });
    // The library reads credentials from a URL only; a data URL keeps the secret off the disk.
    let encoded = base64::engine::general_purpose::STANDARD.encode(credentials.to_string());
    Ok(OAuth2Authentication::client_credentials(OAuth2Params {
        issuer_url: issuer_url.clone(),
        credentials_url: format!("data:application/json;base64,{encoded}"),
        audience: audience.clone(),
        scope: scope.clone(),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_file_is_read_again_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let mut provider = provider(&BrokerAuth::TokenFile(path.clone())).unwrap();
        assert_eq!(provider.auth_data().await.unwrap(), b"one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(provider.auth_data().await.unwrap(), b"two");
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
        let error = Bearer::new(auth).token().await.unwrap_err().to_string();
        assert!(error.contains("/nonexistent/secret"), "{error}");
    }
}
