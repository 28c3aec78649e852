//! What keeps an execution from being fired, however many slots are free.

use bridge_protocol::Target;
use bridge_service::directory::Tenant;

use crate::login::{NoLogin, login};
use crate::tenants::is_held;

#[derive(Debug, PartialEq, Eq)]
pub enum Bar {
    /// The route is not active.
    Inactive,
    /// The tenant is suspended, or not known (any more).
    Suspended,
    Credential(NoLogin),
}

impl Bar {
    pub fn of(tenant: Option<&Tenant>, target: &Target) -> Option<Self> {
        if tenant.is_none_or(is_held) {
            return Some(Self::Suspended);
        }
        if !target.is_active {
            return Some(Self::Inactive);
        }
        login(tenant, target).err().map(Self::Credential)
    }

    /// The name in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Inactive | Self::Suspended => "hold",
            Self::Credential(_) => "credential",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use bridge_protocol::TenantId;
    use bridge_service::OutgoingCredential;
    use bridge_store::TenantState;
    use bridge_webhook::AuthError;

    use super::*;

    fn tenant(state: TenantState) -> Tenant {
        let mut tenant = Tenant::new(TenantId::parse("acme").unwrap(), state, Default::default());
        let mut put =
            |name: &str, credential| tenant.credentials.insert(name.to_owned(), Arc::new(credential));
        put("good", OutgoingCredential::Basic { user: "n8n".to_owned(), password: "p".to_owned() });
        put("bad", OutgoingCredential::Header { name: "Webhook-Id".to_owned(), value: "x".to_owned() });
        tenant
    }

    fn target(credential: Option<&str>) -> Target {
        Target {
            credential: credential.map(str::to_owned),
            ..crate::outcome::tests::target(bridge_protocol::OnUnknown::Retry)
        }
    }

    #[test]
    fn a_suspended_tenant_is_held_and_a_leaving_one_is_drained() {
        let of = |state| Bar::of(Some(&tenant(state)), &target(None));
        assert_eq!(of(TenantState::Active), None);
        assert_eq!(of(TenantState::Deleting), None);
        assert_eq!(of(TenantState::Suspended), Some(Bar::Suspended));
        assert_eq!(Bar::of(None, &target(None)), Some(Bar::Suspended));
        let inactive = Target { is_active: false, ..target(Some("none")) };
        assert_eq!(Bar::of(Some(&tenant(TenantState::Active)), &inactive), Some(Bar::Inactive));
    }

    #[test]
    fn a_credential_must_be_there_and_be_usable() {
        let of = |name| Bar::of(Some(&tenant(TenantState::Active)), &target(Some(name)));
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
