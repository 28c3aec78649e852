#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
use std::collections::HashMap;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State as St};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bridge_bus::{Admin, BrokerAuth, BusConfig, Outgoing, Producers};
use bridge_protocol::*;
use bridge_store::*;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

type Seen = Arc<Mutex<HashMap<String, Vec<(HeaderMap, Bytes)>>>>;

async fn hook(St(seen): St<Seen>, Path(workflow): Path<String>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let count = {
        let mut seen = seen.lock().unwrap();
        let list = seen.entry(headers["webhook-id"].to_str().unwrap().to_owned()).or_default();
        list.push((headers.clone(), body));
        list.len()
    };
    match workflow.as_str() {
        "flaky" if count == 1 => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        "bad" => (StatusCode::BAD_REQUEST, "no".into()),
        "hang" => std::future::pending().await,
        "slow" => { tokio::time::sleep(Duration::from_secs(3)).await; (StatusCode::OK, "slow".into()) }
        _ => (StatusCode::OK, r#"{"executionId":"77"}"#.into()),
    }
}

struct World { store: Store, producers: Producers, keyring: Keyring, names: TopicNames, tenant: TenantId, seen: Seen, dir: std::path::PathBuf, port: u16, health: u16, http: String, pulsar: String, db: String }
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

impl World {
    async fn new() -> Self {
        let env = |n: &str| std::env::var(n).expect("run ./scripts/test");
        let (db, pulsar, http) = (env("BRIDGE_TEST_DATABASE_URL"), env("BRIDGE_TEST_PULSAR_URL"), env("BRIDGE_TEST_PULSAR_HTTP"));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let now = chrono::Utc::now();
        let tenant = TenantId::parse(&format!("t{}", now.timestamp_millis())).unwrap();
        let store = Store::open(StoreConfig::new(&db)).unwrap();
        store.migrate(now).await.unwrap();
        let admin = Admin::new(&http, BrokerAuth::None, Duration::from_secs(20)).unwrap();
        let names = TopicNames::default();
        admin.create_tenant(tenant.as_str(), &admin.clusters().await.unwrap()).await.unwrap();
        admin.create_namespace(&format!("{tenant}/workflows")).await.unwrap();
        for lane in Lane::ALL {
            let topic = names.topic(&tenant, *lane);
            if *lane == Lane::Long { admin.create_topic(&topic).await.unwrap(); } else { admin.create_partitioned_topic(&topic, 2).await.unwrap(); }
            admin.create_subscription(&topic, "bridge-consumer").await.unwrap();
        }
        let bus = BusConfig { service_url: pulsar.clone(), http_url: http.clone(), ..BusConfig::default() };
        let producers = Producers::start(bus, CancellationToken::new());
        let ring = format!("signing = \"k\"\n[[keys]]\nkid = \"k\"\nalg = \"HS256\"\nsecret = \"{}=\"\n", "A".repeat(43));
        let dir = std::env::temp_dir().join(format!("walk-{tenant}"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("ring.toml"), &ring).unwrap();
        let seen = Seen::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().route("/webhook/{w}", post(hook)).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let health = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { store, producers, keyring: Keyring::from_toml(&ring).unwrap(), names, tenant, seen, dir, port, health, http, pulsar, db }
    }

    fn start(&self, failpoint: Option<&str>) -> Child {
        let config = format!(r#"
[database]
url = "{}"
[pulsar]
service_url = "{}"
http_url = "{}"
[signing]
keyring_file = "{}/ring.toml"
[consumer]
bind = "127.0.0.1:{}"
[webhook]
default_url = "http://127.0.0.1:{}/webhook/{{workflow_id}}"
[telemetry]
log_level = "{}"
[[tenants]]
id = "{}"
api_token = "0123456789abcdef"
webhook_secrets = ["{SECRET}"]
[[routes]]
tenant = "{}"
workflow = "hang"
max_concurrency = 1
[[routes]]
tenant = "{}"
workflow = "inner"
webhook_url = "http://127.0.0.1:1/x"
"#, self.db, self.pulsar, self.http, self.dir.display(), self.health, self.port, std::env::var("WALK_LOG").unwrap_or("warn".into()), self.tenant, self.tenant, self.tenant);
        let path = self.dir.join("c.toml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bridge-consumer"));
        command.arg("--config").arg(&path).env_remove("DATABASE_URL");
        if let Some(f) = failpoint { command.env("BRIDGE_FAILPOINT", f); }
        command.spawn().unwrap()
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut s = tokio::net::TcpStream::connect(("127.0.0.1", self.health)).await.ok()?;
        s.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.ok()?;
        let mut t = String::new();
        s.read_to_string(&mut t).await.ok()?;
        Some((t.split(' ').nth(1)?.parse().ok()?, t.split_once("\r\n\r\n")?.1.to_owned()))
    }

    async fn ready(&self) {
        loop {
            if let Some((200, body)) = self.get("/health/ready").await && !body.contains("degraded") { return println!("{body}"); }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn accept(&self, workflow: &str, lane: Lane, count: usize) -> Vec<ExecutionId> {
        let payload = Bytes::from_static(b"{\"n\": 1.50}");
        let ids: Vec<_> = (0..count).map(|_| ExecutionId::new(chrono::Utc::now(), &mut rand::rng())).collect();
        let new = |id| NewExecution {
            id, tenant: self.tenant.clone(), workflow: WorkflowId::parse(workflow).unwrap(), lane, kind: None,
            payload: payload.clone(), psh: PayloadHash::of(&payload), metadata: Some("{\"m\":1}".into()), traceparent: None, idempotency: None,
            deliver_at: None, expires_at: None, due_in: Duration::from_secs(30), handed_off: true, decided_by: "request", decided_because: "test".into(),
        };
        let accepts = ids.iter().map(|id| self.store.accept(new(*id), Duration::from_secs(5)));
        for a in join(accepts.collect()).await { a.unwrap(); }
        ids
    }

    async fn publish(&self, workflow: &str, lane: Lane, ids: &[ExecutionId], att: u16) {
        let now = chrono::Utc::now().timestamp();
        let topic = self.names.topic(&self.tenant, lane);
        let sends = ids.iter().map(|id| {
            let claims = Claims { v: 1, iss: "t".into(), aud: topic.clone(), sub: *id, tid: self.tenant.clone(), iat: now, exp: now + 3600, jti: id.to_string(), att, psh: PayloadHash::of(b"{\"n\": 1.50}") };
            let body = self.keyring.sign(&claims).unwrap();
            let properties = vec![("workflow_id".into(), workflow.to_owned()), ("traceparent".into(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into())];
            let (producers, topic) = (&self.producers, &topic);
            async move { producers.publish(topic, Outgoing { body, properties }).await }
        });
        for sent in join(sends.collect()).await { sent.unwrap(); }
    }

    async fn state(&self, id: ExecutionId) -> Execution { self.store.execution(&self.tenant, id).await.unwrap().unwrap() }

    async fn until(&self, ids: &[ExecutionId], state: State) -> Duration {
        let begun = Instant::now();
        for id in ids {
            loop {
                let now = self.state(*id).await;
                if now.state == state { break; }
                assert!(begun.elapsed() < Duration::from_secs(60), "{now:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        begun.elapsed()
    }
}

async fn join<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    // 512 at a time would be enough; the parts bound themselves.
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut out: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (f, o) in all.iter_mut().zip(out.iter_mut()) {
            if o.is_none() {
                match f.as_mut().poll(cx) { std::task::Poll::Ready(v) => *o = Some(v), std::task::Poll::Pending => pending = true }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    }).await;
    out.into_iter().map(Option::unwrap).collect()
}

fn signal(child: &Child, name: &str) { Command::new("kill").args([name, &child.id().to_string()]).status().unwrap(); }

#[tokio::test(flavor = "multi_thread")]
async fn walk() {
    let w = World::new().await;
    let mut child = w.start(None);
    w.ready().await;
    let rss = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    println!("idle {}", rss.lines().find(|l| l.starts_with("VmRSS")).unwrap());

    // A: success on each lane
    for lane in Lane::ALL {
        let ids = w.accept("good", *lane, 1).await;
        w.publish("good", *lane, &ids, 1).await;
        w.until(&ids, State::Succeeded).await;
        let e = w.state(ids[0]).await;
        assert_eq!((e.evidence, e.n8n_execution_id.as_deref(), e.attempt), (Some(Evidence::Response), Some("77"), 1));
        let (headers, body) = w.seen.lock().unwrap()[&ids[0].to_string()][0].clone();
        let t: i64 = headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        assert!(verify_webhook_signature(&[SECRET.parse().unwrap()], &ids[0].to_string(), t, &body, headers["webhook-signature"].to_str().unwrap(), t, Duration::from_secs(9)));
        assert!(std::str::from_utf8(&body).unwrap().ends_with(r#""metadata":{"m": 1},"payload":{"n": 1.50}}"#), "{body:?}");
        assert_eq!(headers["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    }
    // B: retry then success; wrong attempt is stale
    let ids = w.accept("flaky", Lane::Short, 1).await;
    w.publish("flaky", Lane::Short, &ids, 1).await;
    w.until(&ids, State::Retrying).await;
    w.publish("flaky", Lane::Short, &ids, 1).await;
    w.publish("flaky", Lane::Short, &ids, 2).await;
    w.until(&ids, State::Succeeded).await;
    println!("{:?}", w.state(ids[0]).await.attempts);
    // C: permanent, blocked
    let ids = w.accept("bad", Lane::Short, 1).await;
    w.publish("bad", Lane::Short, &ids, 1).await;
    w.until(&ids, State::DeadLettered).await;
    println!("{:?} {:?}", w.state(ids[0]).await.reason, w.state(ids[0]).await.error);
    let ids = w.accept("inner", Lane::Short, 1).await;
    w.publish("inner", Lane::Short, &ids, 1).await;
    w.until(&ids, State::DeadLettered).await;
    println!("{:?} {:?}", w.state(ids[0]).await.reason, w.state(ids[0]).await.error);
    // wrong hint
    let ids = w.accept("good", Lane::Short, 1).await;
    w.publish("bad", Lane::Short, &ids, 1).await;
    w.until(&ids, State::Succeeded).await;
    // D: forged
    for body in ["junk", "a.b.c"] {
        w.producers.publish(&w.names.topic(&w.tenant, Lane::Short), Outgoing { body: body.into(), properties: vec![] }).await.unwrap();
    }
    let ids = w.accept("good", Lane::Short, 1).await;
    w.publish("good", Lane::Short, &ids, 1).await;
    w.until(&ids, State::Succeeded).await;
    println!("notices {:?}", w.store.notices(50).await.unwrap().iter().filter(|n| n.tenant == w.tenant).map(|n| (n.kind.clone(), n.reason.clone())).collect::<Vec<_>>());
    // E: hanging workflow beside healthy ones
    let hung = w.accept("hang", Lane::Short, 600).await;
    w.publish("hang", Lane::Short, &hung, 1).await;
    let ids = w.accept("good", Lane::Short, 50).await;
    w.publish("good", Lane::Short, &ids, 1).await;
    println!("healthy beside a hang: {:?}", w.until(&ids, State::Succeeded).await);
    // G: throughput
    let n: usize = std::env::var("WALK_N").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let ids = w.accept("good", Lane::Long, n).await;
    let begun = Instant::now();
    w.publish("good", Lane::Long, &ids, 1).await;
    let published = begun.elapsed();
    w.until(&ids, State::Succeeded).await;
    println!("{n}: published in {published:?}, all recorded by {:?}", begun.elapsed());
    let rss = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    println!("after {}", rss.lines().find(|l| l.starts_with("VmRSS")).unwrap());
    let metrics = w.get("/metrics").await.unwrap().1;
    for line in metrics.lines().filter(|l| !l.starts_with('#') && !l.ends_with(" 0") && !l.contains("bucket") && !l.contains("store")) { println!("{line}"); }
    println!("{}", w.get("/health/ready").await.unwrap().1);
    // F: SIGTERM with work in hand
    let ids = w.accept("slow", Lane::Long, 20).await;
    w.publish("slow", Lane::Long, &ids, 1).await;
    while !ids.iter().all(|id| w.seen.lock().unwrap().contains_key(&id.to_string())) { tokio::time::sleep(Duration::from_millis(10)).await; }
    signal(&child, "-TERM");
    let begun = Instant::now();
    w.until(&ids, State::Succeeded).await;
    println!("in flight ended {:?} after SIGTERM", begun.elapsed());
    signal(&child, "-TERM");
    println!("exit {:?}", child.wait().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_every_two_steps() {
    let w = World::new().await;
    for step in ["received", "verified", "slotted", "claimed", "fired", "finished", "acked"] {
        let mut child = w.start(Some(&format!("consumer.{step}:3")));
        let ids = w.accept("good", Lane::Short, 5).await;
        w.publish("good", Lane::Short, &ids, 1).await;
        println!("{step}: {:?}", child.wait().unwrap());
        let mut child = w.start(None);
        w.ready().await;
        let mut states = Vec::new();
        for _ in 0..100 {
            states.clear();
            for id in &ids { states.push(w.state(*id).await.state); }
            if states.iter().all(|s| *s != State::Accepted) { break; }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("{step}: {states:?}");
        signal(&child, "-TERM");
        let begun = Instant::now();
        println!("{step}: exit {:?} in {:?}", child.wait().unwrap(), begun.elapsed());
    }
}
