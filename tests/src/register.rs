//! Writes tenants and credentials straight into the database, for tests that are about something else.

use anyhow::Context;
use bridge_protocol::{ApiKey, Route, RouteName, Scope, Scopes, TenantId, WorkflowId};
use bridge_service::vault::{Purpose, Vault};
use bridge_store::{Actor, CredentialKind, CredentialRecord, Store};
use chrono::Utc;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::settings::Tenant;

pub struct Registrar {
    store: Store,
    vault: Vault,
    actor: Actor,
}

impl Registrar {
    pub fn new(store: Store, master_keys: &str) -> anyhow::Result<Self> {
        let actor = Actor { who: "test".to_owned(), source: None };
        Ok(Self { store, vault: Vault::from_text(master_keys)?, actor })
    }

    /// With its webhook secret, and its token as an API key with every scope of a tenant.
    pub async fn tenant(&self, tenant: &Tenant) -> anyhow::Result<()> {
        let (id, secret) = (TenantId::parse(&tenant.id)?, Uuid::new_v4());
        let purpose = Purpose::WebhookSecret(&id, secret);
        let sealed = self.vault.seal(&purpose, tenant.webhook_secret.as_bytes(), rand::rng());
        self.store.put_tenant(&self.actor, &id, None, None, Some((secret, sealed))).await?;
        self.key(&tenant.token, vec![id], Scopes::ALL_OF_TENANT).await
    }

    /// `lines`: the route's fields as TOML.
    pub async fn route(&self, tenant: &TenantId, workflow: &str, lines: &str) -> anyhow::Result<()> {
        let route: Route = toml::from_str(lines).with_context(|| format!("the route of {workflow}"))?;
        self.put_route(tenant, workflow, &route).await
    }

    pub async fn put_route(&self, tenant: &TenantId, workflow: &str, route: &Route) -> anyhow::Result<()> {
        let name = RouteName::Workflow(WorkflowId::parse(workflow)?);
        self.store.put_route(&self.actor, tenant, &name, route).await?;
        Ok(())
    }

    /// An administrator's API key.
    pub async fn admin(&self) -> anyhow::Result<String> {
        self.new_key(Vec::new(), Scope::Admin.into()).await
    }

    pub async fn new_key(&self, tenants: Vec<TenantId>, scopes: Scopes) -> anyhow::Result<String> {
        let key = ApiKey::generate(rand::rng());
        self.key(key.expose(), tenants, scopes).await?;
        Ok(key.expose().to_owned())
    }

    async fn key(&self, text: &str, tenants: Vec<TenantId>, scopes: Scopes) -> anyhow::Result<()> {
        // `npb_` and twelve characters.
        let id = &text[..16];
        let record = CredentialRecord {
            id: id.to_owned(),
            kind: CredentialKind::ApiKey,
            name: "of a test".to_owned(),
            tenants,
            scopes,
            digest: Sha256::digest(text.as_bytes()).into(),
            old: None,
            expires_at: None,
            revoked_at: None,
            created_at: Utc::now(),
        };
        self.store.create_credential(&self.actor, &record).await?;
        Ok(())
    }
}
