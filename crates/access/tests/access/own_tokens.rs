//! The built-in issuer: what it signs, what it takes, and how long.

use bridge_access::{CallerKind, TokenError};
use bridge_protocol::{ClientSecret, Scope, Scopes};
use bridge_service::clock::entropy;
use bridge_service::key_pair::KeyPair;
use jsonwebtoken::jwk::JwkSet;
use serde_json::json;

use crate::lab::{AUDIENCE, CLIENT, ISSUER, Lab, issuer_key, seconds, start, tenant};

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
