//! Asking an outside issuer where its keys are, and for them.

use std::time::Duration;

use reqwest::{Client, redirect};
use serde::Deserialize;
use url::Url;

use crate::config::{AccessError, OutsideIssuer};

/// Metadata and key sets are a few kB.
const LONGEST_ANSWER: usize = 256 << 10;
const REDIRECTS: usize = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{url} did not answer")]
    Transport { url: String, source: reqwest::Error },
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url} answered with more than {LONGEST_ANSWER} bytes")]
    TooLong { url: String },
    #[error("{url} answered with something else than an issuer's metadata")]
    Metadata { url: String, source: serde_json::Error },
    #[error(
        "{url} describes the issuer {found:?}, not this one; `issuer` must be written as the issuer writes it"
    )]
    OtherIssuer { url: String, found: String },
    #[error("{url} names the keys at {jwks_uri:?}, which is neither https nor on this machine")]
    Unsafe { url: String, jwks_uri: String },
    #[error("no answer in time")]
    TimedOut,
    #[error("the keys of {url} cannot be used")]
    Keys { url: String, source: crate::jwks::JwksError },
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// Reaches one issuer.
pub(crate) struct Fetcher {
    client: Client,
    issuer: String,
    /// Where the metadata may be, the likeliest first; none when the keys' address is configured.
    metadata: Vec<String>,
    keys: Option<String>,
}

impl Fetcher {
    pub(crate) fn new(config: &OutsideIssuer, limit: Duration) -> Result<Self, AccessError> {
        let mut builder = Client::builder()
            .user_agent(concat!("n8n-pulsar-bridge/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limit)
            .timeout(limit)
            // The next fetch is minutes away.
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::custom(|attempt| {
                let same =
                    attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
                if same && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
            }));
        if Url::parse(&config.issuer).is_ok_and(|url| is_here(&url)) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|source| AccessError::Client { issuer: config.issuer.clone(), source })?;
        let metadata = match (&config.jwks_url, &config.discovery_url) {
            (Some(_), _) => Vec::new(),
            (None, Some(url)) => vec![url.clone()],
            (None, None) => well_known(&config.issuer),
        };
        Ok(Self { client, issuer: config.issuer.clone(), metadata, keys: config.jwks_url.clone() })
    }

    /// The address of the keys: configured, or found by discovery.
    pub(crate) async fn discover(&self) -> Result<String, FetchError> {
        if let Some(keys) = &self.keys {
            return Ok(keys.clone());
        }
        let mut last = FetchError::TimedOut;
        for url in &self.metadata {
            match self.metadata(url).await {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn metadata(&self, url: &str) -> Result<String, FetchError> {
        let body = self.get(url).await?;
        let metadata: Metadata = serde_json::from_slice(&body)
            .map_err(|source| FetchError::Metadata { url: url.to_owned(), source })?;
        if metadata.issuer != self.issuer {
            let found = metadata.issuer.chars().take(200).collect();
            return Err(FetchError::OtherIssuer { url: url.to_owned(), found });
        }
        // Over plain HTTP only from this machine, and only to it.
        let plain = |url: &Url| url.scheme() == "http" && is_here(url);
        let local = Url::parse(url).is_ok_and(|url| plain(&url));
        match Url::parse(&metadata.jwks_uri) {
            Ok(keys) if keys.scheme() == "https" || local && plain(&keys) => Ok(metadata.jwks_uri),
            _ => {
                let jwks_uri = metadata.jwks_uri.chars().take(200).collect();
                Err(FetchError::Unsafe { url: url.to_owned(), jwks_uri })
            }
        }
    }

    pub(crate) async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let transport = |source: reqwest::Error| FetchError::Transport {
            url: url.to_owned(),
            source: source.without_url(),
        };
        let request = self.client.get(url).header(http::header::ACCEPT, "application/json");
        let mut answer = request.send().await.map_err(transport)?;
        if answer.status() != http::StatusCode::OK {
            return Err(FetchError::Status { url: url.to_owned(), status: answer.status().as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(FetchError::TooLong { url: url.to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// OpenID's place, then RFC 8414's, which stands between the host and the issuer's path; some append it all the same.
fn well_known(issuer: &str) -> Vec<String> {
    let base = issuer.trim_end_matches('/');
    let mut places = vec![format!("{base}/.well-known/openid-configuration")];
    if let Ok(url) = Url::parse(base) {
        let path = url.path().trim_end_matches('/');
        let origin = url.origin().ascii_serialization();
        places.push(format!("{origin}/.well-known/oauth-authorization-server{path}"));
        if !path.is_empty() {
            places.push(format!("{base}/.well-known/oauth-authorization-server"));
        }
    }
    places
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_an_issuers_metadata() {
        assert_eq!(
            well_known("https://id.example.com/"),
            [
                "https://id.example.com/.well-known/openid-configuration",
                "https://id.example.com/.well-known/oauth-authorization-server"
            ]
        );
        assert_eq!(
            well_known("https://id.example.com:8443/realms/lab"),
            [
                "https://id.example.com:8443/realms/lab/.well-known/openid-configuration",
                "https://id.example.com:8443/.well-known/oauth-authorization-server/realms/lab",
                "https://id.example.com:8443/realms/lab/.well-known/oauth-authorization-server"
            ]
        );
    }
}
