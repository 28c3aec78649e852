//! Who calls: one static token per tenant, as `Authorization: Bearer`, `X-API-Key` or the password of Basic.

use std::collections::HashMap;

use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_protocol::TenantId;
use bridge_service::Problem;
use bridge_service::config::Tenant;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use crate::app::AppState;

/// Tokens by their digest: looking one up takes the same time whatever a wrong token has in common with a right one.
pub struct Tokens(HashMap<[u8; 32], TenantId>);

impl Tokens {
    pub fn new(tenants: &[Tenant]) -> Self {
        Self(tenants.iter().map(|tenant| (digest(tenant.api_token.expose()), tenant.id.clone())).collect())
    }

    fn tenant(&self, headers: &HeaderMap) -> Option<TenantId> {
        self.0.get(&digest(&token(headers)?)).cloned()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn token(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let Some(authorization) = text(AUTHORIZATION.as_str()) else {
        return text("x-api-key").map(str::to_owned);
    };
    let (scheme, credential) = authorization.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(credential.trim().to_owned()),
        "basic" => {
            let decoded = String::from_utf8(STANDARD.decode(credential.trim()).ok()?).ok()?;
            decoded.split_once(':').map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

/// The tenant a request acts for. A handler that takes one needs a credential.
pub struct Caller {
    pub tenant: TenantId,
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        match app.tokens.tenant(&parts.headers) {
            Some(tenant) => Ok(Self { tenant }),
            None => {
                metrics::counter!("bridge_unauthorized_total").increment(1);
                Err(unauthorized())
            }
        }
    }
}

/// The same words for a missing and a wrong token.
fn unauthorized() -> Problem {
    let detail = "send a valid API token as Authorization: Bearer, as X-API-Key, or as the password of Basic";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized", detail).with_challenge()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use bridge_service::config::Secret;

    fn tokens() -> Tokens {
        Tokens::new(&[Tenant {
            id: TenantId::parse("acme").unwrap(),
            api_token: Secret::new("acme-token-000000001"),
            webhook_secrets: Vec::new(),
        }])
    }

    fn tenant(name: &'static str, value: &str) -> Option<TenantId> {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        tokens().tenant(&headers)
    }

    #[test]
    fn a_token_arrives_in_three_ways() {
        let basic = STANDARD.encode("anyone:acme-token-000000001");
        assert!(tenant("authorization", "Bearer acme-token-000000001").is_some());
        assert!(tenant("authorization", "bearer  acme-token-000000001").is_some());
        assert!(tenant("x-api-key", "acme-token-000000001").is_some());
        assert!(tenant("authorization", &format!("Basic {basic}")).is_some());
    }

    #[test]
    fn nothing_else_is_a_token() {
        for bad in ["", "Bearer", "Bearer ", "Bearer acme-token-00000000", "Basic acme", "Digest x"] {
            assert!(tenant("authorization", bad).is_none(), "{bad}");
        }
        assert!(tokens().tenant(&HeaderMap::new()).is_none());
    }
}
