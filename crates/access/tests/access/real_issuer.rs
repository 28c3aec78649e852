//! Against an issuer that somebody else wrote.
//!
//! `BRIDGE_TEST_OIDC_ISSUER=http://127.0.0.1:28081 cargo test -p bridge-access -- --ignored real_issuer`, with a client
//! `svc-client:svc-secret` whose tokens are for `https://api.example.test` and name the tenant `tenant-a`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bridge_access::{Access, AccessConfig, OutsideIssuer};
use bridge_protocol::{Scope, Scopes};
use bridge_service::clock::SystemClock;
use bridge_service::directory::{Snapshot, Tenant, TenantLimits, TenantState};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::issuer::{OUT_AUDIENCE, until};
use crate::lab::{bearer, config, seconds, tenant, why};

async fn token(issuer: &str) -> String {
    let http = reqwest::Client::builder().no_proxy().timeout(seconds(20)).build().unwrap();
    let place = format!("{issuer}/.well-known/openid-configuration");
    let metadata: Value = http.get(place).send().await.unwrap().json().await.unwrap();
    let request = http
        .post(metadata["token_endpoint"].as_str().unwrap())
        .basic_auth("svc-client", Some("svc-secret"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("grant_type=client_credentials&scope=api.read&resource={OUT_AUDIENCE}"));
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn access(entry: OutsideIssuer) -> Access {
    let id = tenant("tenant-a");
    let known = Arc::new(Tenant::new(id.clone(), TenantState::Active, TenantLimits::default()));
    let snapshot = Snapshot { revision: 1, tenants: [(id, known)].into(), ..Snapshot::default() };
    let state = Arc::new(ArcSwap::from_pointee(snapshot));
    let config = AccessConfig { jwks_min_refresh: seconds(1), ..config(vec![entry]) };
    Access::new(config, state, SystemClock::shared()).unwrap()
}

#[tokio::test]
#[ignore = "needs a running issuer, named by BRIDGE_TEST_OIDC_ISSUER"]
async fn a_real_issuers_token_is_taken() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let issuer = std::env::var("BRIDGE_TEST_OIDC_ISSUER").expect("the address of the issuer");
    let entry = OutsideIssuer {
        issuer: issuer.clone(),
        audience: OUT_AUDIENCE.to_owned(),
        discovery_url: None,
        jwks_url: None,
        algorithms: vec!["RS256".to_owned(), "ES256".to_owned()],
        tenant_claim: "tenant_id".to_owned(),
        scope_claim: "scope".to_owned(),
        tenants: None,
        default_scopes: Some(Scope::Publish.into()),
        admin: false,
    };
    let access = access(entry.clone());
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    tokio::spawn(access.clone().run(stop.clone()));
    let token = token(&issuer).await;
    until(|| async { access.authenticate(&bearer(&token)).await.is_ok() }).await;
    let caller = access.authenticate(&bearer(&token)).await.unwrap();
    println!("{} may {:?} for {:?}", caller.subject, caller.scopes, caller.tenants);
    assert!(caller.subject.starts_with(&format!("{issuer}|")));
    assert_eq!((&*caller.tenants, caller.scopes), (&[tenant("tenant-a")][..], Scopes::from(Scope::Publish)));
    let (head, tail) = token.split_at(token.len() - 20);
    let forged = format!("{head}AAAA{}", &tail[4..]);
    assert_eq!(why(access.authenticate(&bearer(&forged)).await), "signature");

    let other = self::access(OutsideIssuer { audience: "another".to_owned(), ..entry });
    assert_eq!(why(other.authenticate(&bearer(&token)).await), "audience");
}
