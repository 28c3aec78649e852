#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::loopback::Target;

#[tokio::test]
async fn an_execution_that_fails_once_is_seen_twice() {
    let dir = tempfile::tempdir().unwrap();
    let ids = dir.path().join("ids");
    let journal = Journal::open(None, Some(&ids), Vec::new()).unwrap();
    let endpoint = Rc::new(Endpoint { behaviour: Behaviour::default(), journal: RefCell::new(journal) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let local = tokio::task::LocalSet::new();
    local.spawn_local(serve(listener, endpoint.clone()));
    local
        .run_until(async {
            let target = Target::resolve(&url.parse().unwrap(), &[]).await.unwrap();
            let mut connection = target.connect().await.unwrap();
            // Without an execution id every request to the flaky path is a first one.
            let (status, _) = connection.post_json("/webhook/flaky", "{}".into()).await.unwrap();
            assert_eq!(status, 503);
            let (status, body) = connection.post_json("/webhook/x/y", "{}".into()).await.unwrap();
            assert_eq!((status, &body[..]), (StatusCode::OK, &br#"{"ok":true}"#[..]));
            let (_, totals) = connection.get("/seen").await.unwrap();
            assert_eq!(&totals[..], br#"{"executions":0,"requests":2}"#);
            let (status, _) = connection.get("/seen/nonsense").await.unwrap();
            assert_eq!(status, 400);
        })
        .await;
}

#[test]
fn an_arrival_is_remembered_with_its_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines");
    let mut journal = Journal::open(Some(&path), None, Vec::new()).unwrap();
    let id = Uuid::from_u128(1);
    for attempt in ["1", "2"] {
        let mut headers = HeaderMap::new();
        headers.insert("x-attempt", attempt.parse().unwrap());
        headers.insert("x-tenant-id", "acme".parse().unwrap());
        let arrival = Arrival {
            at: 1_700_000_000_000_000,
            path: "/webhook/ok",
            id: Some(id),
            headers: &headers,
            body: &Bytes::from_static(b"{}"),
            status: StatusCode::OK,
        };
        journal.write(&arrival).unwrap();
    }
    journal.flush().unwrap();
    assert_eq!(journal.seen(id), br#"{"count":2,"attempts":[1,2]}"#);
    let lines = std::fs::read_to_string(path).unwrap();
    insta::assert_snapshot!(lines.lines().next().unwrap(), @r#"{"time":"2023-11-14T22:13:20.000000Z","path":"/webhook/ok","status":200,"execution_id":"00000000-0000-0000-0000-000000000001","attempt":1,"tenant_id":"acme","body_bytes":2}"#);
}
