//! The built-in issuer: what it signs, what it takes, and how long.

use bridge_access::{Access, CallerKind, Denied, TokenError};
use bridge_protocol::{ClientSecret, Scope, Scopes};
use bridge_service::clock::entropy;
use bridge_service::directory::Directory;
use bridge_service::key_pair::KeyPair;
use bridge_service::vault::Vault;
use bridge_store::{Store, StoreConfig};
use jsonwebtoken::jwk::JwkSet;
use serde_json::json;

use crate::lab::{AUDIENCE, CLIENT, ISSUER, Lab, bearer, but, config, issuer_key, seconds, start, tenant};

#[tokio::test]
async fn a_client_gets_a_token_that_is_taken_until_it_expires() {
    let lab = Lab::new();
    let issued = lab.access.token(CLIENT, lab.secret.expose(), None).unwrap();
    assert_eq!((issued.token_type, issued.expires_in), ("Bearer", 900));
    assert_eq!(issued.scope, Scopes::ALL_OF_TENANT.to_string());
    let caller = lab.bearer(&issued.access_token).await.unwrap();
    assert_eq!((&*caller.subject, caller.kind), (CLIENT, CallerKind::Client));
    assert_eq!(caller.tenants, [tenant("acme")]);
    lab.clock.advance(seconds(899));
    assert!(lab.bearer(&issued.access_token).await.is_ok());
    lab.clock.advance(seconds(1));
    assert_eq!(lab.why(&issued.access_token).await, "expired");
    assert_eq!(lab.why(&issued.access_token).await, "expired", "also when it is out of the cache");
}

#[test]
fn the_token_is_what_others_expect() {
    let lab = Lab::new();
    let token = lab.token(Some("read publish"));
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some("at+jwt"), Some("one")));
    let keys: JwkSet = serde_json::from_value(lab.access.jwks()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find("one").unwrap()).unwrap();
    let mut checks = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    checks.set_audience(&[AUDIENCE]);
    checks.set_issuer(&[ISSUER]);
    checks.validate_exp = false; // the library reads the machine's clock
    let claims = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &checks).unwrap().claims;
    assert_eq!(claims["sub"], CLIENT);
    assert_eq!(claims["client_id"], CLIENT);
    assert_eq!(claims["scope"], "publish read");
    assert_eq!(claims["iat"], start().timestamp());
    assert_eq!(claims["exp"], start().timestamp() + 900);
    assert_eq!(claims["sec"], lab.mark());
    assert_ne!(lab.token(None), lab.token(None), "each token has its own id");
}

#[test]
fn the_documents_for_others() {
    let lab = Lab::new();
    let metadata = lab.access.metadata().unwrap();
    assert_eq!(metadata["issuer"], ISSUER);
    assert_eq!(metadata["token_endpoint"], format!("{ISSUER}/oauth2/token"));
    assert_eq!(metadata["jwks_uri"], format!("{ISSUER}/.well-known/jwks.json"));
    let mut key = lab.pair.jwk("one");
    assert_eq!(lab.access.jwks(), json!({ "keys": [key.take()] }));
}

#[test]
fn an_unknown_client_and_a_wrong_secret_look_alike() {
    let mut lab = Lab::new();
    let secret = lab.secret.expose().to_owned();
    let refused = |lab: &Lab, client: &str, secret: &str| {
        let error = lab.access.token(client, secret, Some("nonsense")).unwrap_err();
        assert!(matches!(error, TokenError::InvalidClient), "{error}");
    };
    refused(&lab, "svc_000000000000", &secret);
    refused(&lab, CLIENT, "nps_wrong");
    refused(&lab, CLIENT, "");
    refused(&lab, "", "");
    // An API key is no client.
    refused(&lab, lab.key.id(), lab.key.expose());
    lab.world.credential(CLIENT).expires_at = Some(start());
    lab.publish();
    refused(&lab, CLIENT, &secret);
    lab.world.credential(CLIENT).expires_at = None;
    lab.world.tenants.clear();
    lab.publish();
    refused(&lab, CLIENT, &secret);
}

#[test]
fn the_old_secret_is_good_until_its_end() {
    let mut lab = Lab::new();
    let (old, new) = (lab.secret.expose().to_owned(), ClientSecret::generate(entropy()));
    let credential = lab.world.credential(CLIENT);
    credential.old = Some((credential.digest, start() + seconds(60)));
    credential.digest = new.digest();
    lab.publish();
    lab.clock.advance(seconds(59));
    assert!(lab.access.token(CLIENT, &old, None).is_ok());
    assert!(lab.access.token(CLIENT, new.expose(), None).is_ok());
    lab.clock.advance(seconds(1));
    assert!(matches!(lab.access.token(CLIENT, &old, None), Err(TokenError::InvalidClient)));
    assert!(lab.access.token(CLIENT, new.expose(), None).is_ok());
}

/// Puts a new secret in force, with the old one beside it for a while.
fn rotate(lab: &mut Lab, overlap: u64) -> ClientSecret {
    let new = ClientSecret::generate(entropy());
    let credential = lab.world.credential(CLIENT);
    credential.old = (overlap > 0).then_some((credential.digest, start() + seconds(overlap)));
    credential.digest = new.digest();
    lab.publish();
    new
}

#[tokio::test]
async fn a_token_dies_with_its_secret() {
    let mut lab = Lab::new();
    let (cached, fresh) = (lab.token(None), lab.token(None));
    assert!(lab.bearer(&cached).await.is_ok());
    let new = rotate(&mut lab, 0);
    for token in [&cached, &fresh, &cached] {
        assert_eq!(lab.why(token).await, "revoked");
    }
    let issued = lab.access.token(CLIENT, new.expose(), None).unwrap();
    assert!(lab.bearer(&issued.access_token).await.is_ok());
}

#[tokio::test]
async fn a_token_of_the_old_secret_lives_to_the_end_of_the_overlap() {
    let mut lab = Lab::new();
    let (cached, fresh) = (lab.token(None), lab.token(None));
    assert!(lab.bearer(&cached).await.is_ok());
    let new = rotate(&mut lab, 60);
    let late = lab.access.token(CLIENT, lab.secret.expose(), None).unwrap();
    assert_eq!(late.expires_in, 60, "no token outlives its secret");
    let of_new = lab.access.token(CLIENT, new.expose(), None).unwrap();
    assert_eq!(of_new.expires_in, 900);
    lab.clock.advance(seconds(59));
    assert!(lab.bearer(&cached).await.is_ok());
    lab.clock.advance(seconds(1));
    for token in [&cached, &fresh, &late.access_token] {
        assert_eq!(lab.why(token).await, "expired");
    }
    assert!(lab.bearer(&of_new.access_token).await.is_ok());
    // A second rotation leaves nothing of the first secret, overlap or not.
    rotate(&mut lab, 1000);
    assert_eq!(lab.why(&cached).await, "revoked");
    assert!(lab.bearer(&of_new.access_token).await.is_ok());
}

#[tokio::test]
async fn a_token_must_say_which_secret_got_it() {
    let lab = Lab::new();
    let (header, claims) = (lab.header(), lab.claims());
    assert!(lab.bearer(&lab.sign(&header, &claims)).await.is_ok());
    for without in [json!(null), json!(7)] {
        assert_eq!(lab.why(&lab.sign(&header, &but(&claims, "sec", without))).await, "secret");
    }
    assert_eq!(lab.why(&lab.sign(&header, &but(&claims, "sec", json!("")))).await, "revoked");
}

#[tokio::test]
async fn scopes_are_asked_for_and_never_grow() {
    let mut lab = Lab::new();
    let narrow = lab.token(Some(" read "));
    assert_eq!(lab.bearer(&narrow).await.unwrap().scopes, Scope::Read.into());
    for bad in ["root", "read admin"] {
        let error = lab.access.token(CLIENT, lab.secret.expose(), Some(bad)).unwrap_err();
        assert!(matches!(error, TokenError::InvalidScope(_)), "{error}");
    }
    let wide = lab.token(Some(""));
    assert_eq!(lab.bearer(&wide).await.unwrap().scopes, Scopes::ALL_OF_TENANT);
    // What the client loses, its tokens lose.
    lab.world.credential(CLIENT).scopes = Scope::Publish.into();
    lab.publish();
    assert_eq!(lab.bearer(&wide).await.unwrap().scopes, Scope::Publish.into());
    assert!(lab.bearer(&narrow).await.unwrap().scopes.is_empty());
}

#[tokio::test]
async fn a_revoked_clients_cached_token_is_refused_with_the_next_snapshot() {
    let mut lab = Lab::new();
    let token = lab.token(None);
    assert!(lab.bearer(&token).await.is_ok());
    let credentials = std::mem::take(&mut lab.world.credentials);
    lab.publish();
    assert_eq!(lab.why(&token).await, "revoked");
    assert_eq!(lab.why(&token).await, "revoked", "also when it is out of the cache");
    lab.world.credentials = credentials;
    lab.publish();
    assert!(lab.bearer(&token).await.is_ok());
}

/// Loaded once, and Postgres has not answered since.
#[tokio::test]
async fn a_stale_directory_lets_nobody_in() {
    let lab = Lab::new();
    let vault = Vault::from_text("a:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap();
    let store = Store::open(StoreConfig::new("postgres://nobody@127.0.0.1:9/none")).unwrap();
    let stale = Directory::new(store, vault.clone());
    stale.set(lab.snapshot());
    assert!(stale.is_loaded() && !stale.is_fresh());
    let of = |directory| Access::new(config(Vec::new()), directory, lab.clock.clone()).unwrap();
    let good = bearer(lab.key.expose());
    let (still, stale) = (of(Directory::still(vault, lab.snapshot())), of(stale));
    assert!(still.authenticate(&good).await.is_ok());
    assert_eq!(stale.authenticate(&good).await.unwrap_err(), Denied::NotReady);
    let error = stale.token(CLIENT, lab.secret.expose(), None).unwrap_err();
    assert!(matches!(error, TokenError::NotReady), "{error}");
}

#[tokio::test]
async fn keys_rotate_with_an_overlap() {
    let mut lab = Lab::new();
    let before = lab.token(None);
    let next = KeyPair::generate(entropy());
    let (switch, end) = (start() + seconds(10), start() + seconds(100));
    let old = issuer_key("one", &lab.pair, start() - seconds(60), Some(end));
    lab.world.keys = vec![issuer_key("two", &next, switch, None), old];
    lab.publish();
    // Known before it signs; the old one signs until then.
    assert_eq!(lab.access.jwks()["keys"].as_array().unwrap().len(), 2);
    assert_eq!(jsonwebtoken::decode_header(lab.token(None)).unwrap().kid.unwrap(), "one");
    let issued = lab.access.token(CLIENT, lab.secret.expose(), None).unwrap();
    assert_eq!(issued.expires_in, 100, "no token outlives its key");
    lab.clock.advance(seconds(10));
    let after = lab.token(None);
    assert_eq!(jsonwebtoken::decode_header(&after).unwrap().kid.unwrap(), "two");
    assert!(lab.bearer(&before).await.is_ok() && lab.bearer(&after).await.is_ok());
    lab.clock.advance(seconds(90));
    assert_eq!(lab.why(&before).await, "expired", "cached, and its key has retired");
    assert_eq!(lab.why(&before).await, "kid");
    assert!(lab.bearer(&after).await.is_ok());
    assert_eq!(lab.access.jwks()["keys"][0]["kid"], "two");
    assert_eq!(lab.access.jwks()["keys"].as_array().unwrap().len(), 1);
    // A key that is taken away at once, because it leaked.
    lab.world.keys.clear();
    lab.publish();
    assert_eq!(lab.why(&after).await, "revoked");
    let error = lab.access.token(CLIENT, lab.secret.expose(), None).unwrap_err();
    assert!(matches!(error, TokenError::NoKey), "{error}");
}

#[tokio::test]
async fn a_key_that_is_no_key_hides_no_other() {
    let mut lab = Lab::new();
    let broken = bridge_service::directory::IssuerKey {
        kid: "broken".to_owned(),
        pkcs8: zeroize::Zeroizing::new(b"junk".to_vec()),
        public_jwk: lab.pair.jwk("broken"),
        signs_from: start(),
        retires_at: None,
    };
    lab.world.keys.insert(0, broken.into());
    lab.publish();
    assert!(lab.bearer(&lab.token(None)).await.is_ok());
}
