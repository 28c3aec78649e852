//! A caller who has been let in.

use std::sync::Arc;

use bridge_protocol::{Scope, Scopes, TenantId};
use bridge_service::directory::Snapshot;

/// How the caller logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerKind {
    ApiKey,
    /// A service account, by a token of the built-in issuer.
    Client,
    /// A token of an outside issuer.
    Outside,
    /// Nobody was asked: `--insecure-dev`.
    Insecure,
}

impl CallerKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Client => "client",
            Self::Outside => "outside",
            Self::Insecure => "insecure",
        }
    }
}

/// Either an administrator (no tenant, the scope `admin` alone) or somebody of one or more tenants (never `admin`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `npb_x`, `svc_x`, or `issuer|sub`.
    pub subject: Arc<str>,
    pub kind: CallerKind,
    /// Empty only for an administrator.
    pub tenants: Vec<TenantId>,
    pub scopes: Scopes,
}

/// Why a request has no tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhichTenant {
    /// Named, but none of the caller's: to be answered as if it did not exist.
    #[error("the credential does not belong to that tenant")]
    Foreign,
    /// The caller has several and named none.
    #[error("the credential belongs to several tenants; name one of {}", list(.0))]
    NameOne(Vec<TenantId>),
}

fn list(tenants: &[TenantId]) -> String {
    tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join(", ")
}

impl Caller {
    /// Whom a tally counts: an outside issuer as one, whatever it calls its callers.
    pub fn counted_as(&self) -> &str {
        match self.kind {
            CallerKind::Outside => self.subject.split('|').next().unwrap_or_default(),
            _ => &self.subject,
        }
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }

    /// The tenant a request acts for: the one it names, or the only one there is.
    ///
    /// # Errors
    /// When the named one is not the caller's, or none is named and there are several.
    pub fn tenant(&self, named: Option<&TenantId>) -> Result<&TenantId, WhichTenant> {
        match (named, self.tenants.as_slice()) {
            (Some(named), own) => own.iter().find(|own| *own == named).ok_or(WhichTenant::Foreign),
            (None, [only]) => Ok(only),
            (None, []) => Err(WhichTenant::Foreign),
            (None, several) => Err(WhichTenant::NameOne(several.to_vec())),
        }
    }
}

/// What a credential stands for today. `None` when nothing is left of it: its tenants are gone, or it names no
/// tenant and does not administer either.
pub(crate) fn present(
    named: &[TenantId],
    scopes: Scopes,
    snapshot: &Snapshot,
) -> Option<(Vec<TenantId>, Scopes)> {
    if named.is_empty() {
        return scopes.contains(Scope::Admin).then(|| (Vec::new(), Scope::Admin.into()));
    }
    // A suspended tenant's callers may still read: it is the publish that is refused.
    let tenants: Vec<_> =
        named.iter().filter(|tenant| snapshot.tenants.contains_key(tenant)).cloned().collect();
    (!tenants.is_empty()).then(|| (tenants, scopes.intersection(Scopes::ALL_OF_TENANT)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn caller(tenants: &[&str]) -> Caller {
        Caller {
            subject: "svc_x".into(),
            kind: CallerKind::Client,
            tenants: tenants.iter().map(|id| TenantId::parse(id).unwrap()).collect(),
            scopes: Scopes::ALL_OF_TENANT,
        }
    }

    #[test]
    fn the_tenant_is_named_when_there_are_several() {
        let (a, c) = (TenantId::parse("a").unwrap(), TenantId::parse("c").unwrap());
        assert_eq!(caller(&["a"]).tenant(None), Ok(&a));
        assert_eq!(caller(&["b", "a"]).tenant(Some(&a)), Ok(&a));
        assert_eq!(caller(&["a", "b"]).tenant(Some(&c)), Err(WhichTenant::Foreign));
        let error = caller(&["a", "b"]).tenant(None).unwrap_err();
        assert!(error.to_string().ends_with("name one of a, b"), "{error}");
    }

    #[test]
    fn an_administrator_acts_for_no_tenant() {
        let a = TenantId::parse("a").unwrap();
        assert_eq!(caller(&[]).tenant(None), Err(WhichTenant::Foreign));
        assert_eq!(caller(&[]).tenant(Some(&a)), Err(WhichTenant::Foreign));
    }
}
