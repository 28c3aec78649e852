//! A broker sends the caller on to the one that owns the topic; the credential has to go along.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::put;
use bridge_bus::{Admin, BrokerAuth, Tls};
use tokio::net::TcpListener;

const TOPIC: &str = "persistent://acme/workflows/a";
const PATH: &str = "/admin/v2/persistent/acme/workflows/a/unload";

async fn serve(listener: TcpListener, router: Router) {
    axum::serve(listener, router).await.unwrap();
}

fn admin(listener: &TcpListener) -> Admin {
    let url = format!("http://{}", listener.local_addr().unwrap());
    Admin::new(&url, BrokerAuth::Token("the-token".into()), Tls::default(), Duration::from_secs(2)).unwrap()
}

#[tokio::test]
async fn a_redirect_to_the_owner_keeps_method_and_credential() {
    let (first, owner) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let admin = admin(&first);
    let location = format!("http://{}{PATH}?authoritative=true", owner.local_addr().unwrap());
    let asked = move || async move { (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]) };
    tokio::spawn(serve(first, Router::new().route(PATH, put(asked))));
    let answer = |headers: HeaderMap| async move {
        let sent = headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer the-token");
        if sent { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
    };
    tokio::spawn(serve(owner, Router::new().route(PATH, put(answer))));
    admin.unload(TOPIC).await.unwrap();
}

#[tokio::test]
async fn a_redirect_in_a_circle_and_a_broker_that_hangs_end() {
    let circle = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (circling, waiting) = (admin(&circle), admin(&hanging));
    let again = || async { (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, PATH)]).into_response() };
    tokio::spawn(serve(circle, Router::new().route(PATH, put(again))));
    let error = circling.unload(TOPIC).await.unwrap_err();
    assert!(matches!(error.problem, bridge_bus::admin::Problem::Redirect(_)), "{error:?}");
    // It accepts the connection and never answers.
    let started = tokio::time::Instant::now();
    let error = waiting.unload(TOPIC).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5), "{error:?}");
    assert!(error.to_string().contains(TOPIC), "{error}");
}
