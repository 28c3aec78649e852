//! API keys, and what becomes of them when the directory changes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_access::CallerKind;
use bridge_protocol::{ApiKey, Scope, Scopes};
use bridge_service::clock::entropy;
use bridge_service::directory::{CredentialKind, TenantState};
use http::HeaderMap;

use crate::lab::{Lab, credential, seconds, start, tenant, why};

fn headers(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
}

#[tokio::test]
async fn a_key_is_taken_in_three_ways() {
    let lab = Lab::new();
    let key = lab.key.expose();
    let basic = format!("Basic {}", STANDARD.encode(format!("whoever:{key}")));
    for headers in [
        headers("authorization", &format!("Bearer {key}")),
        headers("x-api-key", key),
        headers("authorization", &basic),
    ] {
        let caller = lab.access.authenticate(&headers).await.unwrap();
        assert_eq!(&*caller.subject, lab.key.id());
        assert_eq!(caller.kind, CallerKind::ApiKey);
        assert_eq!(caller.tenants, [tenant("acme")]);
        assert_eq!(caller.scopes, Scopes::ALL_OF_TENANT);
    }
}

#[tokio::test]
async fn a_token_is_taken_as_bearer_only() {
    let lab = Lab::new();
    let token = lab.token(None);
    assert!(lab.bearer(&token).await.is_ok());
    let basic = format!("Basic {}", STANDARD.encode(format!("x:{token}")));
    assert_eq!(why(lab.access.authenticate(&headers("x-api-key", &token)).await), "malformed");
    assert_eq!(why(lab.access.authenticate(&headers("authorization", &basic)).await), "malformed");
}

#[tokio::test]
async fn a_clients_secret_opens_nothing_but_the_token_route() {
    let mut lab = Lab::new();
    let secret = lab.secret.expose().to_owned();
    assert_eq!(lab.why(&secret).await, "malformed");
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{secret}", crate::lab::CLIENT)));
    assert_eq!(why(lab.access.authenticate(&headers("authorization", &basic)).await), "malformed");
    // Even a secret that has the shape of a key.
    let odd = ApiKey::generate(entropy());
    let account = credential("svc_odd000000000", CredentialKind::ServiceAccount, odd.digest(), &["acme"]);
    lab.world.credentials.push(account);
    lab.publish();
    assert_eq!(lab.why(odd.expose()).await, "unknown_key");
}

#[tokio::test]
async fn revocation_takes_effect_with_the_next_snapshot() {
    let mut lab = Lab::new();
    let key = lab.key.expose().to_owned();
    for _ in 0..3 {
        assert!(lab.bearer(&key).await.is_ok());
    }
    lab.world.credentials.retain(|credential| credential.kind != CredentialKind::ApiKey);
    lab.publish();
    assert_eq!(lab.why(&key).await, "unknown_key");
    assert_eq!(lab.why(&key).await, "unknown_key");
}

#[tokio::test]
async fn expiry_and_the_old_keys_end_are_judged_at_use() {
    let mut lab = Lab::new();
    let (old, new) = (lab.key.expose().to_owned(), ApiKey::generate(entropy()));
    assert!(lab.bearer(&old).await.is_ok());
    let id = lab.key.id().to_owned();
    let credential = lab.world.credential(&id);
    credential.old = Some((credential.digest, start() + seconds(100)));
    credential.digest = new.digest();
    credential.expires_at = Some(start() + seconds(200));
    lab.publish();
    assert!(lab.bearer(&old).await.is_ok());
    assert!(lab.bearer(new.expose()).await.is_ok());
    lab.clock.advance(seconds(100));
    assert_eq!(lab.why(&old).await, "expired");
    assert!(lab.bearer(new.expose()).await.is_ok());
    lab.clock.advance(seconds(100));
    assert_eq!(lab.why(new.expose()).await, "expired");
}

#[tokio::test]
async fn a_removed_tenant_drops_out_and_a_suspended_one_stays() {
    let mut lab = Lab::new();
    let (key, id) = (lab.key.expose().to_owned(), lab.key.id().to_owned());
    lab.world.credential(&id).tenants = vec![tenant("acme"), tenant("other")];
    lab.world.tenants[0].1 = TenantState::Suspended;
    lab.publish();
    assert_eq!(lab.bearer(&key).await.unwrap().tenants, [tenant("acme"), tenant("other")]);
    lab.world.tenants.remove(0);
    lab.publish();
    assert_eq!(lab.bearer(&key).await.unwrap().tenants, [tenant("other")]);
    lab.world.tenants.clear();
    lab.publish();
    // It must not turn into somebody without a tenant, which is what an administrator is.
    assert_eq!(lab.why(&key).await, "tenant");
}

#[tokio::test]
async fn admin_is_apart() {
    let mut lab = Lab::new();
    let id = lab.key.id().to_owned();
    let mut all = Scopes::ALL_OF_TENANT;
    all.insert(Scope::Admin);
    lab.world.credential(&id).scopes = all;
    lab.publish();
    let caller = lab.bearer(lab.key.expose()).await.unwrap();
    assert_eq!(caller.scopes, Scopes::ALL_OF_TENANT, "who has a tenant does not administer");
    lab.world.credential(&id).tenants.clear();
    lab.publish();
    let caller = lab.bearer(lab.key.expose()).await.unwrap();
    assert_eq!((caller.scopes, caller.tenants.len()), (Scope::Admin.into(), 0), "and the reverse");
    lab.world.credential(&id).scopes = Scopes::ALL_OF_TENANT;
    lab.publish();
    assert_eq!(lab.why(lab.key.expose()).await, "tenant", "neither the one nor the other");
}

#[tokio::test]
async fn nobody_is_refused_before_the_directory_was_loaded() {
    let lab = Lab::new();
    lab.unload();
    assert_eq!(lab.why(lab.key.expose()).await, "not_ready");
    assert_eq!(why(lab.access.authenticate(&HeaderMap::new()).await), "missing");
}
