//! The guard against real sockets and resolvers that lie.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::post;
use bridge_webhook::{
    Auth, AuthError, Fire, FireResult, Guard, NotWritable, Refused, WebhookClient, WebhookConfig,
};
use bytes::Bytes;
use http::HeaderMap;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(20);
const INNER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
/// Allowed where a test needs an address that passes and that this machine has.
const PASSING: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Answers each name with its list, the next one at every question, the last one for ever.
#[derive(Default)]
struct Names {
    answers: HashMap<&'static str, Vec<Vec<IpAddr>>>,
    asked: Mutex<HashMap<String, usize>>,
}

impl Names {
    fn of<const N: usize>(list: [(&'static str, &[&[Ipv4Addr]]); N]) -> Arc<Self> {
        let answers = list.into_iter().map(|(name, answers)| {
            (name, answers.iter().map(|one| one.iter().copied().map(IpAddr::V4).collect()).collect())
        });
        Arc::new(Self { answers: answers.collect(), asked: Mutex::default() })
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().trim_end_matches('.').to_owned();
        let found = self.answers.get(host.as_str()).map(|answers| {
            let mut asked = self.asked.lock().unwrap();
            let count = asked.entry(host).or_default();
            *count += 1;
            answers[(*count).min(answers.len()) - 1].clone()
        });
        Box::pin(async move {
            let found = found.ok_or("no such name")?;
            Ok(Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

fn guard(allowed: &[&str], trusted: &[String], names: Arc<Names>) -> Guard {
    let allowed = allowed.iter().map(|net| net.parse().unwrap()).collect();
    Guard::new(allowed, trusted.iter().cloned().collect()).resolving_with(names)
}

fn client(guard: Guard) -> WebhookClient {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Fails only when another test's crate was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    WebhookClient::with_guard(&WebhookConfig::default(), guard).unwrap()
}

async fn fire(client: &WebhookClient, url: &str) -> FireResult {
    let url = url.parse().unwrap();
    let body = Bytes::from_static(b"{}");
    client.fire(Fire { url: &url, body, headers: HeaderMap::new(), timeout: LIMIT }).await
}

/// A listener that counts the requests it gets.
struct Counting {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Counting {
    async fn at(address: Ipv4Addr, port: u16) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let count = post(move || async move { counted.fetch_add(1, Ordering::SeqCst).to_string() });
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(count)).await });
        Self { port, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn is_refused_address(result: &FireResult) -> bool {
    matches!(result, FireResult::Blocked(Refused::Address { .. }))
}

fn status(result: FireResult) -> u16 {
    result.status().unwrap_or_else(|| panic!("an answer was expected, not {result:?}"))
}

#[tokio::test]
async fn no_spelling_of_an_inner_address_reaches_its_listener() {
    let inner = Counting::at(Ipv4Addr::UNSPECIFIED, 0).await;
    // As systems do that ignore a trailing dot; others do not know the name.
    let names = Names::of([("localhost", &[&[INNER]])]);
    let client = client(guard(&[], &[], names));
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.1",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST.",
        "localhost.",
        "good.example@127.0.0.1",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        let result = fire(&client, &format!("http://{host}:{}/", inner.port)).await;
        assert!(matches!(result, FireResult::Blocked(_)), "{host}: {result:?}");
    }
    for address in ["169.254.169.254", "[fd00:ec2::254]", "168.63.129.16", "100.100.100.200"] {
        let result = fire(&client, &format!("http://{address}/latest/meta-data/")).await;
        assert!(is_refused_address(&result), "{address}: {result:?}");
    }
    assert_eq!(inner.requests(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_caught_when_it_is_dialled() {
    let inner = Counting::at(INNER, 0).await;
    let public = Ipv4Addr::new(93, 184, 215, 14);
    let names = Names::of([("rebind.test", &[&[public], &[INNER]])]);
    let guard = guard(&[], &[], names.clone());
    let url = format!("http://rebind.test:{}/w", inner.port);
    guard.check_written(&url.parse().unwrap(), LIMIT).await.unwrap();
    let client = client(guard);
    let result = fire(&client, &url).await;
    assert!(is_refused_address(&result), "{result:?}");
    assert_eq!((inner.requests(), names.asked.lock().unwrap()["rebind.test"]), (0, 2));
}

#[tokio::test]
async fn of_a_name_with_two_faces_only_the_passing_one_is_dialled() {
    let inner = Counting::at(INNER, 0).await;
    let passing = Counting::at(PASSING, inner.port).await;
    let names =
        Names::of([("inner-first.test", &[&[INNER, PASSING]]), ("inner-last.test", &[&[PASSING, INNER]])]);
    let client = client(guard(&["127.0.0.2/32"], &[], names));
    for host in ["inner-first.test", "inner-last.test"] {
        assert_eq!(status(fire(&client, &format!("http://{host}:{}/", inner.port)).await), 200);
    }
    assert_eq!((inner.requests(), passing.requests()), (0, 2));
}

#[tokio::test]
async fn when_the_passing_face_is_dead_the_inner_one_is_no_fallback() {
    let inner = Counting::at(INNER, 0).await;
    let names = Names::of([("half-dead.test", &[&[PASSING, INNER]])]);
    let client = client(guard(&["127.0.0.2/32"], &[], names));
    let result = fire(&client, &format!("http://half-dead.test:{}/", inner.port)).await;
    assert!(matches!(result, FireResult::ConnectError(_)), "{result:?}");
    assert_eq!(inner.requests(), 0);
}

#[tokio::test]
async fn an_allowed_range_opens_itself_and_nothing_beside_it() {
    let inner = Counting::at(INNER, 0).await;
    let passing = Counting::at(PASSING, inner.port).await;
    let client = client(guard(&["127.0.0.2/32"], &[], Arc::default()));
    let url = |host: &str| format!("http://{host}:{}/", inner.port);
    assert_eq!(status(fire(&client, &url("127.0.0.2")).await), 200);
    for host in ["127.0.0.1", "127.0.0.3", "[::ffff:127.0.0.1]", "[::1]"] {
        let result = fire(&client, &url(host)).await;
        assert!(is_refused_address(&result), "{host}: {result:?}");
    }
    assert_eq!((inner.requests(), passing.requests()), (0, 1));
}

#[tokio::test]
async fn the_operators_own_host_stays_reachable_although_it_is_private() {
    let n8n = Counting::at(INNER, 0).await;
    let other = Counting::at(INNER, 0).await;
    let names = Names::of([("n8n.internal", &[&[INNER]]), ("tenant.example", &[&[INNER]])]);
    let trusted = [format!("N8N.internal:{}", n8n.port)];
    let guard = guard(&[], &trusted, names);
    let url = |host: &str, port| format!("http://{host}:{port}/webhook/w");
    guard.check_written(&url("n8n.internal", n8n.port).parse().unwrap(), LIMIT).await.unwrap();
    let client = client(guard);
    assert_eq!(status(fire(&client, &url("n8n.internal", n8n.port)).await), 200);
    // Neither another port of it, nor its address, nor another name for it.
    let others = [("n8n.internal", other.port), ("127.0.0.1", n8n.port), ("tenant.example", n8n.port)];
    for (host, port) in others {
        let result = fire(&client, &url(host, port)).await;
        assert!(is_refused_address(&result), "{host}: {result:?}");
    }
    assert_eq!((n8n.requests(), other.requests()), (1, 0));
}

#[tokio::test]
async fn more_of_the_operators_own_host_is_neither_written_down_nor_dialled() {
    let n8n = Counting::at(INNER, 0).await;
    let names = Names::of([("n8n.internal", &[&[INNER]])]);
    let own = |path: &str| format!("http://n8n.internal:{}{path}", n8n.port);
    let guard = guard(&[], &[format!("n8n.internal:{}", n8n.port)], names)
        .with_own(vec![own("/webhook/").parse().unwrap()]);
    // As a route would say that is older than the rule.
    let client = client(guard.clone());
    for path in ["/rest/workflows", "/webhook/.%2e/rest/workflows", "/webhook"] {
        let written = guard.check_written(&own(path).parse().unwrap(), LIMIT).await;
        assert!(matches!(written, Err(NotWritable::Refused(Refused::Path { .. }))), "{path}: {written:?}");
        let result = fire(&client, &own(path)).await;
        assert!(matches!(result, FireResult::Blocked(Refused::Path { .. })), "{path}: {result:?}");
    }
    assert_eq!(n8n.requests(), 0);
    guard.check_written(&own("/webhook/a").parse().unwrap(), LIMIT).await.unwrap();
    assert_eq!(status(fire(&client, &own("/webhook/a")).await), 200);
}

#[tokio::test]
async fn a_connection_that_trust_opened_serves_no_untrusted_url() {
    let n8n = Counting::at(INNER, 0).await;
    let names = Names::of([("n8n.internal", &[&[INNER]])]);
    let client = client(guard(&[], &[format!("n8n.internal:{}", n8n.port)], names));
    let url = |host: &str| format!("http://{host}:{}/webhook/w", n8n.port);
    // The first leaves its connection in the pool; the second finds it there.
    for _ in 0..2 {
        assert_eq!(status(fire(&client, &url("n8n.internal")).await), 200);
    }
    for host in ["n8n.internal.", "x@n8n.internal.", "127.0.0.1"] {
        let result = fire(&client, &url(host)).await;
        assert!(matches!(result, FireResult::Blocked(_)), "{host}: {result:?}");
    }
    assert_eq!(n8n.requests(), 2);
}

#[tokio::test]
async fn a_redirect_is_followed_nowhere() {
    let inner = Counting::at(INNER, 0).await;
    let targets = [
        format!("http://127.0.0.1:{}/", inner.port),
        format!("http://localhost:{}/", inner.port),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ];
    for target in targets {
        for make in [Redirect::to, Redirect::temporary, Redirect::permanent] {
            let answer = make(&target);
            let app = Router::new().fallback(post(async move || answer));
            let listener = TcpListener::bind((PASSING, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, app).await });
            // Neither for a tenant's host nor for the operator's.
            for trusted in [Vec::new(), vec![address.to_string()]] {
                let client = client(guard(&["127.0.0.2/32"], &trusted, Arc::default()));
                let status = status(fire(&client, &format!("http://{address}/")).await);
                assert!((300..400).contains(&status), "{status}");
            }
        }
    }
    assert_eq!(inner.requests(), 0);
}

#[tokio::test]
async fn what_is_written_down_is_resolved_once_and_judged() {
    struct Silent;
    impl Resolve for Silent {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(std::future::pending())
        }
    }
    let names = Names::of([("inner.test", &[&[INNER]]), ("empty.test", &[&[]])]);
    let guard = guard(&[], &[], names);
    let check = async |url: &str| guard.check_written(&url.parse().unwrap(), LIMIT).await.unwrap_err();
    for url in ["http://inner.test/", "http://10.0.0.1/", "http://[::1]/"] {
        let error = check(url).await;
        assert!(matches!(error, NotWritable::Refused(Refused::Address { .. })), "{url}: {error:?}");
    }
    let login = check("http://u:p@inner.test/").await;
    assert!(matches!(login, NotWritable::Refused(Refused::Login { .. })), "{login:?}");
    for url in ["http://empty.test/", "http://unknown.test/"] {
        let error = check(url).await;
        assert!(matches!(error, NotWritable::Unknown { .. }), "{url}: {error:?}");
    }
    let silent = guard.clone().resolving_with(Arc::new(Silent));
    let url = "http://slow.test/".parse().unwrap();
    let error = silent.check_written(&url, Duration::from_millis(10)).await.unwrap_err();
    assert!(matches!(error, NotWritable::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn a_login_travels_beside_the_signature() {
    let seen = Arc::new(Mutex::new(HeaderMap::new()));
    let kept = seen.clone();
    let app = Router::new().fallback(post(async move |headers: HeaderMap| *kept.lock().unwrap() = headers));
    let listener = TcpListener::bind((PASSING, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let tenant = bridge_protocol::TenantId::parse("acme").unwrap();
    let execution = "01934567-89ab-7cde-8f01-23456789abcd".parse().unwrap();
    let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=".parse().unwrap()];
    let mut headers = bridge_webhook::headers(&bridge_webhook::Headers {
        execution,
        tenant: &tenant,
        attempt: 1,
        timestamp: 1_700_000_000,
        secrets: &secrets,
        body: b"{}",
        traceparent: None,
        callback_url: None,
    });
    let before = headers.clone();
    let minted = bridge_webhook::Minted { execution, tenant: &tenant, body: b"{}", now: 1_700_000_000 };
    let thief = Auth::Header { name: "webhook-signature", value: "v1,none" };
    assert!(matches!(thief.apply(&mut headers, &minted), Err(AuthError::Reserved(_))));
    assert_eq!(headers, before);
    Auth::Basic { user: "n8n", password: "pass" }.apply(&mut headers, &minted).unwrap();

    let client = client(guard(&["127.0.0.2/32"], &[], Arc::default()));
    let fire = Fire { url: &url, body: Bytes::from_static(b"{}"), headers, timeout: LIMIT };
    assert_eq!(status(client.fire(fire).await), 200);
    let seen = seen.lock().unwrap();
    assert_eq!(seen["authorization"], "Basic bjhuOnBhc3M=");
    for (name, value) in &before {
        assert_eq!(seen[name], value, "{name}");
    }
}
