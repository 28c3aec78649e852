//! The login that a route names, from the tenant's outgoing credentials.

use std::sync::Arc;

use bridge_protocol::Target;
use bridge_service::OutgoingCredential;
use bridge_service::directory::Tenant;
use bridge_webhook::{Auth, AuthError};

/// Why a request cannot log in. Nothing goes out without its login.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLogin {
    #[error(
        "the route names the credential {0:?}, which the tenant does not have: put it, or correct the route"
    )]
    Missing(String),
    #[error("the credential {name:?} cannot be used: {why}")]
    Unusable { name: String, why: AuthError },
}

impl NoLogin {
    pub fn unusable(target: &Target, why: AuthError) -> Self {
        Self::Unusable { name: target.credential.clone().unwrap_or_default(), why }
    }
}

/// `None`: the route asks for no login.
pub fn login(tenant: Option<&Tenant>, target: &Target) -> Result<Option<Arc<OutgoingCredential>>, NoLogin> {
    let Some(name) = &target.credential else { return Ok(None) };
    let found = tenant.and_then(|tenant| tenant.credentials.get(name));
    let found = found.ok_or_else(|| NoLogin::Missing(name.clone()))?;
    auth(found).check().map_err(|why| NoLogin::unusable(target, why))?;
    Ok(Some(found.clone()))
}

pub fn auth(credential: &OutgoingCredential) -> Auth<'_> {
    match credential {
        OutgoingCredential::Header { name, value } => Auth::Header { name, value },
        OutgoingCredential::Basic { user, password } => Auth::Basic { user, password },
        OutgoingCredential::Bearer { token } => Auth::Bearer { token },
        OutgoingCredential::Jwt { secret } => Auth::Jwt { secret },
    }
}
