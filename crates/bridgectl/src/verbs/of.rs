//! The tenant that is meant, where an API token is for several.

use bridge_protocol::TenantId;

#[derive(clap::Args, Clone, Debug, Default)]
pub struct Of {
    /// Needed when the API token is for several
    #[arg(long)]
    pub tenant: Option<TenantId>,
}

impl Of {
    pub fn query(&self) -> Vec<(&'static str, String)> {
        self.tenant.iter().map(|tenant| ("tenant_id", tenant.to_string())).collect()
    }

    /// What a command that is suggested needs to mean the same tenant.
    pub fn flag(&self) -> String {
        self.tenant.as_ref().map(|tenant| format!(" --tenant {tenant}")).unwrap_or_default()
    }
}
