//! The ways to say who calls.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge_protocol::{Scope, Scopes, TenantId};
use bridge_tests::parts::shared;
use bridge_tests::{World, eventually};
use chrono::Utc;
use serde_json::json;

use crate::oauth::outside_token;

/// What it may, and for whom.
pub struct Credential {
    pub name: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub scopes: Option<Scopes>,
    /// For several tenants: a request has to name the one it means.
    pub several: bool,
}

impl Credential {
    fn of(name: &'static str, headers: Vec<(&'static str, String)>, scopes: Option<Scopes>) -> Self {
        Self { name, headers, scopes, several: false }
    }

    fn bearer(name: &'static str, token: &str, scopes: Option<Scopes>) -> Self {
        Self::of(name, vec![("authorization", format!("Bearer {token}"))], scopes)
    }

    /// The status of a request to a route by this credential, or what the row says for who may.
    pub fn expected(&self, need: &str, allowed: u16) -> u16 {
        if need == "open" {
            return allowed;
        }
        let Some(scopes) = self.scopes else { return 401 };
        let scope: Scope = need.parse().unwrap_or_else(|_| panic!("{need} is no scope"));
        if scopes.contains(scope) { allowed } else { 403 }
    }

    /// With the tenant named, where only this tells whose request it is.
    pub fn path(&self, path: String, body_names_it: bool, tenant: &str) -> String {
        if !self.several || body_names_it || path.contains("tenant_id=") {
            return path;
        }
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{path}{separator}tenant_id={tenant}")
    }
}

/// The issuer of scripts/parts, for a publisher: its tenant `outside` is the first of the world, `other` this one.
pub fn issuers(other: &str) -> String {
    let tenants = json!({ (shared("BRIDGE_TEST_OIDC_TENANT")): "__OWN__",
        (shared("BRIDGE_TEST_OIDC_OTHER_TENANT")): other });
    json!([{ "issuer": shared("BRIDGE_TEST_OIDC_ISSUER"), "audience": shared("BRIDGE_TEST_OIDC_AUDIENCE"),
        "tenant_claim": "tenant_id", "tenants": tenants }])
    .to_string()
}

/// Everybody who may do something on the first tenant, and who may nothing. `other` is a tenant that some of them have
/// too.
pub async fn all(world: &World, other: &TenantId) -> anyhow::Result<Vec<Credential>> {
    let own = &world.tenants[0];
    let every = Some(Scopes::ALL_OF_TENANT);
    let basic = format!("Basic {}", STANDARD.encode(format!("anyone:{}", own.token)));
    let mut credentials = vec![
        Credential::of("nothing", vec![], None),
        Credential::bearer("a wrong key", "npb_000000000000_nothing", None),
        Credential::bearer("a wrong token", "a.b.c", None),
        Credential::bearer("an API key", &own.token, every),
        Credential::of("X-API-Key", vec![("x-api-key", own.token.clone())], every),
        Credential::of("Basic", vec![("authorization", basic)], every),
        Credential::bearer("an administrator", &world.admin_token, Some(Scope::Admin.into())),
    ];
    for scope in Scope::ALL.iter().copied().filter(|scope| *scope != Scope::Admin) {
        let key = world.registrar.new_key(vec![world.tenant()], scope.into()).await?;
        credentials.push(Credential::bearer(scope.as_str(), &key, Some(scope.into())));
    }
    let scopes = Scopes::ALL_OF_TENANT.to_string();
    let (id, secret) = service_account(world, &world.tenant(), &scopes).await?;
    credentials.push(Credential::bearer("our token", &our_token(world, &id, &secret).await?, every));
    let (id, secret) = service_account(world, &world.tenant(), &scopes).await?;
    let revoked = our_token(world, &id, &secret).await?;
    let gone = world.admin().delete(&format!("/pulsar/clients/{id}")).await?;
    anyhow::ensure!(gone.json["in_effect"] == true, "{gone:?}");
    credentials.push(Credential::bearer("a token of a revoked client", &revoked, None));
    credentials.push(Credential::bearer("an expired key", &expired(world).await?, None));
    let several = world.registrar.new_key(vec![world.tenant(), other.clone()], Scopes::ALL_OF_TENANT).await?;
    let several = Credential::bearer("a key of several tenants", &several, every);
    credentials.push(Credential { several: true, ..several });
    credentials.extend(outside(world).await?);
    Ok(credentials)
}

/// What a real issuer made.
async fn outside(world: &World) -> anyhow::Result<Vec<Credential>> {
    let audience = shared("BRIDGE_TEST_OIDC_AUDIENCE");
    let one = shared("BRIDGE_TEST_OIDC_CLIENT_ID");
    let every = Scopes::ALL_OF_TENANT.to_string();
    // It may say so; the configuration does not let it.
    let admin = outside_token(&one, &audience, &format!("{every} admin")).await?;
    let whole = outside_token(&one, &audience, &every).await?;
    let many = outside_token(&shared("BRIDGE_TEST_OIDC_MANY_CLIENT_ID"), &audience, "publish read").await?;
    let nobody =
        outside_token(&shared("BRIDGE_TEST_OIDC_NO_TENANT_CLIENT_ID"), &audience, "publish read").await?;
    let api = world.api.with_token(&whole);
    eventually("the issuer's keys to be there", async || {
        let answer = api.get("/pulsar/executions").await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let few = Some([Scope::Publish, Scope::Read].into_iter().collect());
    let many = Credential::bearer("an outside token of several tenants", &many, few);
    Ok(vec![
        Credential::bearer("an outside token", &whole, Some(Scopes::ALL_OF_TENANT)),
        Credential::bearer("an outside token that says admin", &admin, Some(Scopes::ALL_OF_TENANT)),
        Credential { several: true, ..many },
        Credential::bearer("an outside token of no tenant", &nobody, None),
    ])
}

/// A key that was good a moment ago.
async fn expired(world: &World) -> anyhow::Result<String> {
    let end = (Utc::now() + chrono::Duration::seconds(2)).to_rfc3339();
    let body = json!({ "name": "ends", "kind": "api_key", "tenants": [world.tenant()], "scopes": ["read"],
        "expires_at": end });
    let made = world.admin().post("/pulsar/clients", &body).await?;
    let key = made.json["api_key"].as_str().ok_or_else(|| anyhow::anyhow!("{made:?}"))?.to_owned();
    let api = world.api.with_token(&key);
    eventually("the key to end", async || {
        let answer = api.get("/pulsar/executions").await.map_err(|error| error.to_string())?;
        if answer.status == 401 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    Ok(key)
}

/// As n8n's OAuth 2 credential gets it.
async fn our_token(world: &World, id: &str, secret: &str) -> anyhow::Result<String> {
    let token = world.api.login(id, secret, &Scopes::ALL_OF_TENANT.to_string()).await?;
    anyhow::ensure!(token.status == 200, "{token:?}");
    Ok(token.json["access_token"].as_str().unwrap_or_default().to_owned())
}

pub async fn service_account(
    world: &World,
    tenant: &TenantId,
    scopes: &str,
) -> anyhow::Result<(String, String)> {
    let scopes: Vec<&str> = scopes.split(' ').collect();
    let body = json!({ "name": "n8n", "kind": "service_account", "tenants": [tenant], "scopes": scopes });
    let made = world.admin().post("/pulsar/clients", &body).await?;
    anyhow::ensure!(made.status == 201, "{made:?}");
    let text = |field: &str| made.json[field].as_str().unwrap_or_default().to_owned();
    Ok((text("client_id"), text("client_secret")))
}
