//! What keeps an execution from being fired, however many slots are free.

use bridge_protocol::{Hold, Target};
use bridge_service::directory::{KeyGone, Tenant};
use bridge_store::TenantState;

use crate::login::{NoLogin, login};

/// Nothing of what it stops is lost: it waits until the bar is lifted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bar {
    #[error("the workflow's route is inactive")]
    Inactive,
    #[error("the tenant is suspended")]
    Suspended,
    #[error("hold {id} stops it: {reason}")]
    Held { id: String, reason: String },
    /// Nothing goes out unsigned.
    #[error(
        "the tenant has no webhook secret that can be used: give it one, or the master key that opens it"
    )]
    Secret,
    #[error("the directory does not name the tenant, so nothing can be signed for it")]
    Unknown,
    #[error(transparent)]
    Credential(#[from] NoLogin),
    /// A claim would be spent on a payload that most likely cannot be opened here.
    #[error("the tenant's payloads cannot be opened here: {0}")]
    MasterKey(String),
}

impl Bar {
    pub fn of(tenant: Option<&Tenant>, hold: Option<&Hold>, target: &Target) -> Option<Self> {
        let Some(tenant) = tenant else { return Some(Self::Unknown) };
        if is_held(tenant) {
            return Some(Self::Suspended);
        }
        if let Some(hold) = hold {
            return Some(Self::Held { id: hold.id.clone(), reason: hold.reason.clone() });
        }
        if !target.is_active {
            return Some(Self::Inactive);
        }
        if tenant.webhook_secrets.is_empty() {
            return Some(Self::Secret);
        }
        if let Err(error) = login(Some(tenant), target) {
            return Some(Self::Credential(error));
        }
        locked(tenant).map(Self::MasterKey)
    }

    /// The name in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Inactive | Self::Suspended | Self::Held { .. } => "hold",
            Self::Secret | Self::Unknown => "secret",
            Self::Credential(_) => "credential",
            Self::MasterKey(_) => "master_key",
        }
    }
}

/// Why the key that seals the tenant's payloads does not open here, though it was never destroyed.
pub fn locked(tenant: &Tenant) -> Option<String> {
    match tenant.sealing_key_gone()? {
        gone @ KeyGone::Sealed { .. } => Some(gone.to_string()),
        _ => None,
    }
}

pub fn is_held(tenant: &Tenant) -> bool {
    tenant.state == TenantState::Suspended
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use bridge_protocol::{TenantId, WebhookSecret};
    use bridge_service::OutgoingCredential;
    use bridge_webhook::AuthError;

    use super::*;

    fn tenant(state: TenantState) -> Tenant {
        let mut tenant = Tenant::new(TenantId::parse("acme").unwrap(), state, Default::default());
        let mut put =
            |name: &str, credential| tenant.credentials.insert(name.to_owned(), Arc::new(credential));
        put("good", OutgoingCredential::Basic { user: "n8n".to_owned(), password: "p".to_owned() });
        put("bad", OutgoingCredential::Header { name: "Webhook-Id".to_owned(), value: "x".to_owned() });
        tenant.webhook_secrets.push(secret());
        tenant
    }

    fn secret() -> WebhookSecret {
        WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=").unwrap()
    }

    fn target(credential: Option<&str>) -> Target {
        Target {
            credential: credential.map(str::to_owned),
            ..crate::settlement::tests::target(bridge_protocol::OnUnknown::Retry)
        }
    }

    #[test]
    fn a_suspended_tenant_is_held_and_a_leaving_one_is_drained() {
        let of = |state| Bar::of(Some(&tenant(state)), None, &target(None));
        assert_eq!(of(TenantState::Active), None);
        assert_eq!(of(TenantState::Deleting), None);
        assert_eq!(of(TenantState::Suspended), Some(Bar::Suspended));
        let inactive = Target { is_active: false, ..target(Some("none")) };
        assert_eq!(Bar::of(Some(&tenant(TenantState::Active)), None, &inactive), Some(Bar::Inactive));
    }

    #[test]
    fn nothing_goes_out_unsigned() {
        let unknown = Bar::of(None, None, &target(None)).unwrap();
        let mut tenant = tenant(TenantState::Active);
        tenant.webhook_secrets.clear();
        let without = Bar::of(Some(&tenant), None, &target(None)).unwrap();
        assert_eq!((&unknown, &without), (&Bar::Unknown, &Bar::Secret));
        assert_eq!((unknown.as_str(), without.as_str()), ("secret", "secret"));
    }

    #[test]
    fn a_credential_must_be_there_and_be_usable() {
        let of = |name| Bar::of(Some(&tenant(TenantState::Active)), None, &target(Some(name)));
        assert_eq!(of("good"), None);
        let missing = of("none").unwrap();
        assert_eq!(
            (missing.as_str(), &missing),
            ("credential", &Bar::Credential(NoLogin::Missing("none".to_owned())))
        );
        let why = AuthError::Reserved("webhook-id".to_owned());
        assert_eq!(of("bad"), Some(Bar::Credential(NoLogin::Unusable { name: "bad".to_owned(), why })));
    }
}
