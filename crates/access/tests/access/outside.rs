//! Outside issuers: discovery, rotation, floods, failures; tenants and scopes by claim.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_access::{Access, AccessError, CallerKind};
use bridge_protocol::{Scope, Scopes};
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::issuer::{Issuer, spawn, until};
use crate::lab::{Lab, but, config, seconds, tenant};

/// An issuer whose keys may be asked for at any time.
async fn eager() -> (Issuer, Lab) {
    let issuer = Issuer::start().await;
    let lab = Lab::with(bridge_access::AccessConfig {
        jwks_min_refresh: Duration::from_millis(1),
        ..config(vec![issuer.entry()])
    });
    (issuer, lab)
}

#[tokio::test]
async fn each_kind_of_key_verifies() {
    let issuer = Issuer::start().await;
    let lab = Lab::with(config(vec![issuer.entry()]));
    let _running = issuer.run(&lab).await;
    for kid in ["rsa", "p256", "ed"] {
        let caller = lab.bearer(&issuer.token(&lab, kid)).await.unwrap();
        assert_eq!(*caller.subject, format!("{}|robot", issuer.url));
        assert_eq!(caller.kind, CallerKind::Outside);
        assert_eq!(caller.tenants, [tenant("acme")]);
        assert_eq!(caller.scopes, Scopes::parse("publish read").unwrap());
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_token_expires_in_the_cache() {
    let issuer = Issuer::start().await;
    let lab = Lab::with(config(vec![issuer.entry()]));
    let _running = issuer.run(&lab).await;
    let token = issuer.token(&lab, "rsa");
    lab.bearer(&token).await.unwrap();
    lab.clock.advance(seconds(300));
    assert_eq!(lab.why(&token).await, "expired");
}

#[tokio::test]
async fn the_other_place_of_the_metadata_is_found() {
    let issuer = Issuer::start().await;
    *issuer.site.metadata_path.lock().unwrap() = "/.well-known/oauth-authorization-server";
    let lab = Lab::with(config(vec![issuer.entry()]));
    let _running = issuer.run(&lab).await;
}

#[tokio::test]
async fn the_address_of_the_keys_may_be_configured() {
    let issuer = Issuer::start().await;
    *issuer.site.metadata_path.lock().unwrap() = "/nowhere";
    let mut entry = issuer.entry();
    entry.jwks_url = Some(format!("{}/jwks", issuer.url));
    let lab = Lab::with(config(vec![entry]));
    let _running = issuer.run(&lab).await;
}

#[tokio::test]
async fn a_new_kid_shows_at_once_and_a_withdrawn_one_is_gone() {
    let (issuer, lab) = eager().await;
    issuer.show(&["rsa"]);
    let _running = issuer.run(&lab).await;
    let old = issuer.token(&lab, "rsa");
    lab.bearer(&old).await.unwrap();
    issuer.show(&["ed"]);
    lab.bearer(&issuer.token(&lab, "ed")).await.unwrap();
    assert_eq!(lab.why(&old).await, "revoked", "it was in the cache");
    assert_eq!(lab.why(&old).await, "kid");
}

#[tokio::test]
async fn all_who_wait_for_a_new_kid_wait_for_one_fetch() {
    let (issuer, lab) = eager().await;
    issuer.show(&["rsa"]);
    let _running = issuer.run(&lab).await;
    issuer.site.gate.forget_permits(usize::MAX);
    issuer.show(&["rsa", "ed"]);
    let before = issuer.fetches();
    let token = issuer.token(&lab, "ed");
    let all = join_all((0..100).map(|_| lab.bearer(&token)));
    let open = async {
        until(|| async { issuer.fetches() > before }).await;
        issuer.site.gate.add_permits(1000);
    };
    let (found, ()) = tokio::join!(all, open);
    assert!(found.iter().all(Result::is_ok));
    assert_eq!(issuer.fetches(), before + 1);
}

#[tokio::test]
async fn a_flood_of_unknown_kids_costs_one_fetch_in_a_window() {
    let issuer = Issuer::start().await;
    let lab = Lab::with(config(vec![issuer.entry()]));
    let _running = issuer.run(&lab).await;
    let token = |kid: usize| {
        issuer.sign("ed", &json!({ "alg": "EdDSA", "kid": format!("made-up-{kid}") }), &issuer.claims(&lab))
    };
    for round in 0..10 {
        let tokens: Vec<_> = (0..100).map(|n| token(round * 100 + n)).collect();
        let found = join_all(tokens.iter().map(|token| lab.why(token))).await;
        assert!(found.iter().all(|why| *why == "kid"));
    }
    assert_eq!(issuer.fetches(), 1, "the window began with the first fetch");
    lab.bearer(&issuer.token(&lab, "rsa")).await.unwrap();
}

#[tokio::test]
async fn a_flood_after_the_window_costs_one_fetch_more() {
    let issuer = Issuer::start().await;
    let window = Duration::from_millis(1500);
    let lab =
        Lab::with(bridge_access::AccessConfig { jwks_min_refresh: window, ..config(vec![issuer.entry()]) });
    let _running = issuer.run(&lab).await;
    let token = issuer.sign("ed", &json!({ "alg": "EdDSA", "kid": "made-up" }), &issuer.claims(&lab));
    until(|| async { lab.why(&token).await == "kid" && issuer.fetches() == 2 }).await;
    let began = tokio::time::Instant::now();
    join_all((0..500).map(|_| lab.why(&token))).await;
    let windows = began.elapsed().as_millis() / window.as_millis();
    assert!(issuer.fetches() <= 2 + usize::try_from(windows).unwrap(), "{} fetches", issuer.fetches());
}

#[tokio::test]
async fn an_encryption_key_verifies_nothing() {
    let issuer = Issuer::start().await;
    let lab = Lab::with(config(vec![issuer.entry()]));
    let mut encrypts = issuer.jwk("ed");
    encrypts["use"] = json!("enc");
    issuer.show_all(vec![encrypts, issuer.jwk("rsa")]);
    let _running = issuer.run(&lab).await;
    assert_eq!(lab.why(&issuer.token(&lab, "ed")).await, "kid");
}

#[tokio::test]
async fn an_issuer_that_fails_keeps_its_keys() {
    let (issuer, lab) = eager().await;
    issuer.show(&["rsa"]);
    let _running = issuer.run(&lab).await;
    let fails = || async {
        let before = issuer.fetches();
        until(|| async { lab.why(&issuer.token(&lab, "ed")).await == "kid" && issuer.fetches() > before })
            .await;
        // Not in the cache: it is in the present second's claims.
        lab.clock.advance(seconds(1));
        lab.bearer(&issuer.token(&lab, "rsa")).await.unwrap();
    };
    *issuer.site.status.lock().unwrap() = StatusCode::INTERNAL_SERVER_ERROR;
    fails().await;
    *issuer.site.status.lock().unwrap() = StatusCode::OK;
    issuer.show_all(Vec::new());
    fails().await;
    *issuer.site.jwks.lock().unwrap() = json!({ "keys": "x".repeat(300 << 10) });
    fails().await;
    *issuer.site.jwks.lock().unwrap() = json!(["no", "jwks"]);
    fails().await;
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_is_tried_again_and_delays_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let late = Issuer::at(listener.local_addr().unwrap().port());
    drop(listener);
    let up = Issuer::start().await;
    let lab = Lab::with(bridge_access::AccessConfig {
        jwks_min_refresh: Duration::from_millis(20),
        ..config(vec![late.entry(), up.entry()])
    });
    let _running = up.run(&lab).await;
    assert_eq!(lab.why(&late.token(&lab, "rsa")).await, "no_keys");
    lab.bearer(&lab.token(None)).await.unwrap();
    lab.bearer(lab.key.expose()).await.unwrap();
    late.serve(TcpListener::bind(late.url.trim_start_matches("http://")).await.unwrap());
    until(|| async { lab.bearer(&late.token(&lab, "rsa")).await.is_ok() }).await;
}

#[tokio::test]
async fn metadata_of_another_issuer_is_not_believed() {
    let issuer = Issuer::start().await;
    let mut entry = issuer.entry();
    entry.issuer = format!("{}/", issuer.url);
    let lab = Lab::with(config(vec![entry]));
    let _running = spawn(&lab);
    let claims = but(&issuer.claims(&lab), "iss", json!(format!("{}/", issuer.url)));
    let token = issuer.sign("rsa", &json!({ "alg": "RS256", "kid": "rsa" }), &claims);
    assert_eq!(lab.why(&token).await, "no_keys");
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn a_redirect_leads_to_no_other_host() {
    let issuer = Issuer::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut entry = issuer.entry();
    entry.jwks_url = Some(format!("http://{}/jwks", listener.local_addr().unwrap()));
    let to = axum::response::Redirect::temporary(&format!("{}/jwks", issuer.url));
    let router = axum::Router::new().route("/jwks", axum::routing::get(|| async { to }));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let lab = Lab::with(config(vec![entry]));
    let _running = spawn(&lab);
    assert_eq!(lab.why(&issuer.token(&lab, "rsa")).await, "no_keys");
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn tenants_and_scopes_come_from_the_claims() {
    let issuer = Issuer::start().await;
    let mut entry = issuer.entry();
    entry.tenants = Some(BTreeMap::from([
        ("Acme Inc.".to_owned(), tenant("acme")),
        ("Other".to_owned(), tenant("other")),
        ("Gone".to_owned(), tenant("gone")),
    ]));
    entry.default_scopes = Some(Scope::Read.into());
    let mut lab = Lab::with(config(vec![entry]));
    let _running = spawn(&lab);
    let with = |lab: &Lab, field: &str, to: Value| {
        let claims = but(&but(&issuer.claims(lab), "tenant_id", json!("Acme Inc.")), field, to);
        issuer.sign("rsa", &json!({ "alg": "RS256", "kid": "rsa", "typ": "at+jwt" }), &claims)
    };
    let caller = lab.bearer(&with(&lab, "scope", json!(["replay", "unknown"]))).await.unwrap();
    assert_eq!((&*caller.tenants, caller.scopes), (&[tenant("acme")][..], Scope::Replay.into()));
    for none in [Value::Null, json!("openid profile")] {
        assert_eq!(lab.bearer(&with(&lab, "scope", none)).await.unwrap().scopes, Scope::Read.into());
    }
    // Without `admin = true` nobody administers from outside.
    let caller = lab.bearer(&with(&lab, "scope", json!("admin publish"))).await.unwrap();
    assert_eq!(caller.scopes, Scope::Publish.into());
    let several = with(&lab, "tenant_id", json!(["Other", "Acme Inc.", "Gone", "Unheard of", "Other"]));
    assert_eq!(lab.bearer(&several).await.unwrap().tenants, [tenant("acme"), tenant("other")]);
    for none in [Value::Null, json!("acme"), json!("Gone"), json!([]), json!(7)] {
        assert_eq!(lab.why(&with(&lab, "tenant_id", none)).await, "tenant");
    }
    // Removed while the token is in the cache.
    lab.world.tenants.remove(0);
    lab.publish();
    assert_eq!(lab.bearer(&several).await.unwrap().tenants, [tenant("other")]);
}

#[tokio::test]
async fn an_issuer_that_may_name_administrators() {
    let issuer = Issuer::start().await;
    let mut entry = issuer.entry();
    entry.admin = true;
    let lab = Lab::with(config(vec![entry]));
    let _running = issuer.run(&lab).await;
    let claims = but(&issuer.claims(&lab), "scope", json!("publish admin"));
    let caller =
        lab.bearer(&issuer.sign("ed", &json!({ "alg": "EdDSA", "kid": "ed" }), &claims)).await.unwrap();
    assert_eq!((caller.scopes, caller.tenants.len()), (Scope::Admin.into(), 0));
    let caller = lab.bearer(&issuer.token(&lab, "ed")).await.unwrap();
    assert!(!caller.may(Scope::Admin) && caller.tenants == [tenant("acme")]);
}

#[test]
fn hmac_is_on_nobodys_allow_list() {
    let issuer = Issuer::at(1);
    for bad in ["HS256", "none", "RSA"] {
        let mut entry = issuer.entry();
        entry.algorithms = vec!["RS256".to_owned(), bad.to_owned()];
        let state = std::sync::Arc::new(arc_swap::ArcSwap::<bridge_service::directory::Snapshot>::default());
        let error =
            Access::new(config(vec![entry]), state, bridge_service::clock::SystemClock::shared()).err();
        assert!(matches!(error, Some(AccessError::Algorithm { algorithm, .. }) if algorithm == bad));
    }
}

#[tokio::test]
async fn a_burst_beyond_the_waiting_room_is_refused_at_once() {
    let (issuer, lab) = eager().await;
    issuer.show(&["rsa"]);
    let _running = issuer.run(&lab).await;
    issuer.site.gate.forget_permits(usize::MAX);
    let token = issuer.token(&lab, "ed");
    let refused = std::sync::atomic::AtomicUsize::new(0);
    let all = join_all((0..400).map(|_| async {
        assert_eq!(lab.why(&token).await, "kid");
        refused.fetch_add(1, Ordering::SeqCst);
    }));
    let open = async {
        until(|| async { refused.load(Ordering::SeqCst) >= 400 - 256 }).await;
        issuer.site.gate.add_permits(1000);
    };
    tokio::join!(all, open);
}
