//! Client credentials at an OAuth2 issuer. One token serves every connection of this process until it grows old.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{CredentialError, read_secret};
use crate::config::Tls;

/// An issuer that does not say how long its token lasts is asked again after this.
const UNSAID: Duration = Duration::from_secs(300);
const LONGEST_ANSWER: usize = 1 << 20;

pub(super) struct OAuth2 {
    pub(super) issuer: String,
    pub(super) audience: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) client: String,
    pub(super) secret_file: PathBuf,
    pub(super) tls: Tls,
    pub(super) limit: Duration,
    pub(super) kept: Mutex<Option<Kept>>,
    /// One fetch at a time: many connections may ask at once.
    pub(super) fetching: Semaphore,
}

#[derive(Clone)]
pub(super) struct Kept {
    token: String,
    /// From then on a newer one is looked for.
    old: Instant,
    end: Instant,
}

#[derive(Deserialize)]
struct Metadata {
    token_endpoint: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Refused {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl OAuth2 {
    pub(super) async fn token(&self) -> Result<String, CredentialError> {
        if let Some(kept) = self.kept().filter(|kept| Instant::now() < kept.old) {
            return Ok(kept.token);
        }
        // Only closed by nobody, so this always waits for its turn.
        let _turn = self.fetching.acquire().await;
        let kept = self.kept();
        if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() < kept.old) {
            return Ok(kept.token.clone());
        }
        let asked = Instant::now();
        match self.fetch().await {
            Ok(issued) => {
                let lasts = issued.expires_in.map_or(UNSAID, Duration::from_secs);
                // A token near its end would only make the broker close the new connection soon.
                let kept = Kept {
                    token: issued.access_token.clone(),
                    old: asked + lasts.mul_f64(0.7),
                    end: asked + lasts,
                };
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                Ok(issued.access_token)
            }
            Err(error) => match kept.filter(|kept| Instant::now() < kept.end) {
                Some(kept) => {
                    tracing::warn!(
                        error = error.told(),
                        "no newer OAuth2 token, the present one still lasts"
                    );
                    Ok(kept.token)
                }
                None => Err(error),
            },
        }
    }

    pub(super) fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn kept(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing of the last time is used again: secret, endpoints and authorities may have changed.
    async fn fetch(&self) -> Result<Issued, CredentialError> {
        let secret = read_secret(&self.secret_file, "OAuth2 client secret").await?;
        crate::client::install_crypto();
        let mut builder = reqwest::Client::builder()
            .timeout(self.limit)
            .connect_timeout(self.limit)
            .redirect(reqwest::redirect::Policy::none());
        if self.tls.ca_file.is_some() {
            builder = builder.tls_certs_merge(self.tls.clone().certificates().await?);
        }
        let http = builder.build().map_err(|source| self.unreachable(source))?;
        let metadata = self.discover(&http).await?;
        let supported = &metadata.token_endpoint_auth_methods_supported;
        let supports = |method: &str| supported.iter().any(|one| one == method);
        // RFC 8414: unsaid means the Authorization header.
        let mut by_header = supported.is_empty() || supports("client_secret_basic");
        loop {
            let request = self.request(&http, &metadata.token_endpoint, &secret, by_header);
            let answer = request.send().await.map_err(|source| self.unreachable(source))?;
            let (status, body) = self.body(answer).await?;
            if status.is_success() {
                return serde_json::from_slice(&body)
                    .map_err(|error| self.issuer(format!("its answer to a token request is {error}")));
            }
            let refused: Refused = serde_json::from_slice(&body).unwrap_or_default();
            // An issuer may support both ways and let this client use only the other.
            if by_header && refused.error == "invalid_client" && supports("client_secret_post") {
                by_header = false;
                continue;
            }
            let words = [refused.error, refused.error_description].join(" ");
            let why = format!("status {}, {}", status.as_u16(), words.trim());
            let (issuer, client) = (self.issuer.clone(), self.client.clone());
            return Err(CredentialError::Denied { issuer, client, why });
        }
    }

    async fn discover(&self, http: &reqwest::Client) -> Result<Metadata, CredentialError> {
        let mut last = String::new();
        for document in ["openid-configuration", "oauth-authorization-server"] {
            let url = format!("{}/.well-known/{document}", self.issuer);
            let answer = http.get(url).send().await.map_err(|source| self.unreachable(source))?;
            let (status, body) = self.body(answer).await?;
            if !status.is_success() {
                last = format!(".well-known/{document} answers status {}", status.as_u16());
                continue;
            }
            return serde_json::from_slice(&body)
                .map_err(|error| self.issuer(format!(".well-known/{document} is not understood: {error}")));
        }
        Err(self.issuer(last))
    }

    fn request(
        &self,
        http: &reqwest::Client,
        endpoint: &str,
        secret: &str,
        by_header: bool,
    ) -> reqwest::RequestBuilder {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in [("audience", &self.audience), ("scope", &self.scope)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        let mut request =
            http.post(endpoint).header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if by_header {
            // RFC 6749, 2.3.1: both are form-encoded before they go into the header.
            let encoded =
                |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(encoded(&self.client), Some(encoded(secret)));
        } else {
            form.append_pair("client_id", &self.client).append_pair("client_secret", secret);
        }
        request.body(form.finish())
    }

    async fn body(&self, mut answer: reqwest::Response) -> Result<(StatusCode, Vec<u8>), CredentialError> {
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|source| self.unreachable(source))? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(self.issuer(format!("it answers with more than {LONGEST_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }

    fn issuer(&self, why: String) -> CredentialError {
        CredentialError::Issuer { issuer: self.issuer.clone(), why }
    }

    fn unreachable(&self, source: reqwest::Error) -> CredentialError {
        CredentialError::Unreachable { issuer: self.issuer.clone(), source: source.without_url() }
    }
}

#[cfg(test)]
mod tests;
