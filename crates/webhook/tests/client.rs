//! The client against real sockets that hang, reset, redirect and flood.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::{get, post};
use bridge_protocol::Answer;
use bridge_webhook::{Fire, FireResult, HttpAnswer, Refused, WebhookClient, WebhookConfig};
use bytes::Bytes;
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

fn client(change: impl FnOnce(&mut WebhookConfig)) -> WebhookClient {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Fails only when another test's crate was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let mut config =
        WebhookConfig { allow_private: vec!["127.0.0.0/8".parse().unwrap()], ..WebhookConfig::default() };
    change(&mut config);
    WebhookClient::new(config).unwrap()
}

async fn fire(client: &WebhookClient, url: &str, timeout: Duration) -> FireResult {
    let url = url.parse().unwrap();
    let body = Bytes::from_static(b"{\"payload\":1}");
    client.fire(Fire { url: &url, body, headers: HeaderMap::new(), timeout }).await
}

const PLENTY: Duration = Duration::from_secs(20);
const LITTLE: Duration = Duration::from_millis(300);

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A server that does to each connection what the test says.
async fn raw<F>(on_connection: impl Fn(TcpStream, usize) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            number += 1;
            tokio::spawn(on_connection(stream, number));
        }
    });
    address
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.ends_with(b"{\"payload\":1}") {
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    String::from_utf8(seen).unwrap()
}

fn answered(result: FireResult) -> HttpAnswer {
    match result {
        FireResult::Answered(answer) => answer,
        other => panic!("an answer was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_comes_back_with_its_head() {
    let app = post(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], "busy") });
    let address = serve(Router::new().route("/w", app)).await;
    let answer = answered(fire(&client(|_| {}), &format!("http://{address}/w"), PLENTY).await);
    assert_eq!((answer.status, answer.retry_after), (503, Some(Duration::from_secs(7))));
    assert_eq!(&answer.body[..], b"busy");
    assert!(!answer.truncated);
}

#[tokio::test]
async fn the_request_has_a_length_and_one_host() {
    let seen = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&seen);
    let address = raw(move |mut stream, _| {
        let kept = Arc::clone(&kept);
        async move {
            *kept.lock().unwrap() = read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let answer = answered(fire(&client(|_| {}), &format!("http://{address}/w"), PLENTY).await);
    assert_eq!(answer.status, 204);
    let request = seen.lock().unwrap().to_ascii_lowercase();
    assert!(request.starts_with("post /w http/1.1\r\n"), "{request}");
    assert!(request.contains("content-length: 13\r\n"), "{request}");
    assert!(!request.contains("transfer-encoding"), "{request}");
    assert!(request.contains("user-agent: n8n-pulsar-bridge/"), "{request}");
}

#[tokio::test]
async fn a_hang_is_cut_by_the_timeout_and_its_outcome_is_unknown() {
    let address = raw(|mut stream, _| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let begun = Instant::now();
    let result = fire(&client(|_| {}), &format!("http://{address}/"), LITTLE).await;
    assert!(matches!(result.as_answer(), Answer::SentNoAnswer), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_reset_after_the_request_is_unknown() {
    let address = raw(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let result = fire(&client(|_| {}), &format!("http://{address}/"), PLENTY).await;
    assert!(matches!(result.as_answer(), Answer::SentNoAnswer), "{result:?}");
}

#[tokio::test]
async fn a_reset_of_a_reused_connection_is_unknown_and_never_sent_twice() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let address = raw(move |mut stream, _| {
        let counted = Arc::clone(&counted);
        async move {
            read_request(&mut stream).await;
            counted.fetch_add(1, Ordering::SeqCst);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            read_request(&mut stream).await;
            counted.fetch_add(1, Ordering::SeqCst);
            stream.set_zero_linger().unwrap();
        }
    })
    .await;
    let (client, url) = (client(|_| {}), format!("http://{address}/"));
    assert_eq!(answered(fire(&client, &url, PLENTY).await).status, 200);
    let result = fire(&client, &url, PLENTY).await;
    assert!(matches!(result.as_answer(), Answer::SentNoAnswer), "{result:?}");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn no_listener_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let result = fire(&client(|_| {}), &format!("http://{address}/"), PLENTY).await;
    assert!(matches!(result.as_answer(), Answer::ConnectError), "{result:?}");
    let nowhere = fire(&client(|_| {}), "http://no-such-host.invalid/", PLENTY).await;
    assert!(matches!(nowhere.as_answer(), Answer::ConnectError), "{nowhere:?}");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_connect_error_even_at_the_total_timeout() {
    let address = raw(|_stream, _| std::future::pending()).await;
    let result = fire(&client(|_| {}), &format!("https://{address}/"), LITTLE).await;
    assert!(matches!(result.as_answer(), Answer::ConnectError), "{result:?}");
}

#[tokio::test]
async fn a_redirect_to_the_metadata_service_is_not_followed() {
    let app = post(|| async { Redirect::temporary("http://169.254.169.254/latest/meta-data/") });
    let address = serve(Router::new().route("/w", app)).await;
    let answer = answered(fire(&client(|_| {}), &format!("http://{address}/w"), PLENTY).await);
    assert_eq!(answer.status, 307);
}

#[tokio::test]
async fn a_body_of_a_gigabyte_is_cut_and_the_connection_dropped() {
    let written = Arc::new(AtomicUsize::new(0));
    let (done, mut ended) = tokio::sync::mpsc::channel(1);
    let counted = Arc::clone(&written);
    let address = raw(move |mut stream, _| {
        let (counted, done) = (Arc::clone(&counted), done.clone());
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await.unwrap();
            let block = vec![b'x'; 1 << 16];
            while stream.write_all(&block).await.is_ok() {
                counted.fetch_add(block.len(), Ordering::SeqCst);
            }
            done.send(()).await.unwrap();
        }
    })
    .await;
    let result =
        fire(&client(|config| config.max_answer_bytes = 100_000), &format!("http://{address}/"), PLENTY)
            .await;
    assert!(matches!(result.as_answer(), Answer::BodyTooLarge { status: 200 }), "{result:?}");
    let answer = answered(result);
    assert_eq!(answer.body.len(), 100_000);
    ended.recv().await.unwrap();
    assert!(written.load(Ordering::SeqCst) < 64 << 20, "the sender was stopped early");
}

#[tokio::test]
async fn a_body_that_drips_is_cut_by_the_timeout() {
    let address = raw(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let result = fire(&client(|_| {}), &format!("http://{address}/"), LITTLE).await;
    assert!(matches!(result.as_answer(), Answer::SentNoAnswer), "{result:?}");
}

#[tokio::test]
async fn an_error_status_counts_even_when_its_body_breaks_off() {
    let address = raw(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 1000\r\n\r\nno").await.unwrap();
    })
    .await;
    let answer = answered(fire(&client(|_| {}), &format!("http://{address}/"), PLENTY).await);
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn inner_addresses_are_blocked_by_literal_and_by_name() {
    let touched = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&touched);
    let app =
        get(|| async {}).post(move || async move { counted.fetch_add(1, Ordering::SeqCst).to_string() });
    let port = serve(Router::new().route("/", app)).await.port();
    let guarded = client(|config| config.allow_private.clear());
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "localhost"] {
        let result = fire(&guarded, &format!("http://{host}:{port}/"), PLENTY).await;
        assert!(matches!(result, FireResult::Blocked(Refused::Address { .. })), "{host}: {result:?}");
    }
    assert_eq!(touched.load(Ordering::SeqCst), 0);

    let trusting = client(|config| {
        config.allow_private.clear();
        config.trusted_hosts.insert(format!("localhost:{port}"));
    });
    assert_eq!(answered(fire(&trusting, &format!("http://localhost:{port}/"), PLENTY).await).status, 200);
    let literal = fire(&trusting, &format!("http://127.0.0.1:{port}/"), PLENTY).await;
    assert!(matches!(literal, FireResult::Blocked(_)), "only the named host is trusted");
}
