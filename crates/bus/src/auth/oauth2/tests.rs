#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};

use crate::auth::Credentials;
use crate::config::{BrokerAuth, Tls};

/// An issuer whose clients log in by the body, and that counts what it was asked.
#[derive(Clone)]
struct Issuer {
    url: String,
    asked: Arc<AtomicU32>,
    lasts: u64,
}

async fn token(State(issuer): State<Issuer>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    if headers.contains_key("authorization") || !body.contains("client_secret=s%26cret") {
        return (StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#.into());
    }
    for part in ["grant_type=client_credentials", "audience=urn%3Apulsar", "scope=a+b", "client_id=bridge"] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let n = issuer.asked.fetch_add(1, Ordering::SeqCst);
    (StatusCode::OK, format!(r#"{{"access_token":"token-{n}","expires_in":{}}}"#, issuer.lasts))
}

async fn metadata(State(issuer): State<Issuer>) -> String {
    format!(
        r#"{{"token_endpoint":"{}/token","token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post"]}}"#,
        issuer.url
    )
}

struct Lab {
    issuer: Issuer,
    credentials: Credentials,
    secret: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

async fn lab(lasts: u64) -> Lab {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let issuer = Issuer { url: url.clone(), asked: Arc::default(), lasts };
    let router = Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/token", post(token))
        .with_state(issuer.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s&cret\n").unwrap();
    let auth = BrokerAuth::OAuth2 {
        issuer_url: url + "/",
        audience: Some("urn:pulsar".into()),
        scope: Some("a b".into()),
        client_id: "bridge".into(),
        client_secret_file: secret.clone(),
    };
    let credentials = Credentials::new(&auth, &Tls::default(), std::time::Duration::from_secs(5));
    Lab { issuer, credentials, secret, _dir: dir }
}

#[tokio::test]
async fn many_ask_at_once_and_the_issuer_is_asked_once() {
    let lab = lab(3600).await;
    let asking = (0..20).map(|_| lab.credentials.token());
    let tokens = futures::future::join_all(asking).await;
    assert!(tokens.into_iter().all(|token| token.unwrap().as_deref() == Some("token-0")));
    assert_eq!(lab.issuer.asked.load(Ordering::SeqCst), 1);
    // The broker did not take it.
    lab.credentials.refused();
    assert_eq!(lab.credentials.token().await.unwrap().as_deref(), Some("token-1"));
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_kept_when_the_issuer_refuses() {
    let lab = lab(3).await;
    assert_eq!(lab.credentials.token().await.unwrap().as_deref(), Some("token-0"));
    tokio::time::sleep(std::time::Duration::from_millis(2200)).await;
    // Seven tenths are over, and the secret is wrong: the present token still lasts.
    std::fs::write(&lab.secret, "another").unwrap();
    assert_eq!(lab.credentials.token().await.unwrap().as_deref(), Some("token-0"));
    std::fs::write(&lab.secret, "s&cret").unwrap();
    assert_eq!(lab.credentials.token().await.unwrap().as_deref(), Some("token-1"));
}

#[tokio::test]
async fn who_refuses_is_named() {
    let lab = lab(3600).await;
    std::fs::write(&lab.secret, "another").unwrap();
    let error = lab.credentials.token().await.unwrap_err().to_string();
    for part in [lab.issuer.url.as_str(), "client bridge", "401", "invalid_client"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(!error.contains("another"), "{error}");
}
