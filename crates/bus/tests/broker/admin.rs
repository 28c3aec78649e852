use std::error::Error;
use std::time::Duration;

use bridge_bus::{Admin, BrokerAuth, Tls};
use bridge_protocol::Backlog;

use crate::setup::{Bench, SUBSCRIPTION, message, until};

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_was_asked_and_what_the_broker_said() {
    let bench = Bench::new().await;
    bench.admin.healthy().await.unwrap();
    bench.admin.ready().await.unwrap();
    let error = bench.admin.topics("no-such-tenant/workflows").await.unwrap_err();
    assert!(error.is_not_found());
    assert!(error.to_string().contains("list topics of no-such-tenant/workflows"), "{error}");
    assert!(error.source().unwrap().to_string().contains("404"), "{error:?}");
    let error = bench.admin.create_tenant(&bench.tenant, &["standalone".into()]).await.unwrap_err();
    assert_eq!(error.status(), Some(409));
    let error = bench.admin.delete_tenant(&bench.tenant).await.unwrap_err();
    assert_eq!(error.status(), Some(409), "{error:?}");
    let missing = format!("persistent://{}/missing", bench.namespace);
    assert!(bench.admin.backlog(&missing, SUBSCRIPTION).await.unwrap_err().is_not_found());
    assert_eq!(bench.admin.partitions(&missing).await.unwrap(), None);
    assert!(Admin::new("ftp://x", BrokerAuth::None, Tls::default(), Duration::from_secs(1)).is_err());
    let nobody =
        Admin::new("http://127.0.0.1:1", BrokerAuth::None, Tls::default(), Duration::from_secs(5)).unwrap();
    let error = nobody.tenants().await.unwrap_err();
    assert!(error.to_string().contains("check that the broker runs"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn peek_skip_and_delete() {
    let bench = Bench::new().await;
    let topic = bench.topic("peeked").await;
    let producers = bench.producers().await;
    let sent = producers.publish(&topic, message("look at me")).await.unwrap();
    let peeked = bench.admin.peek(&topic, SUBSCRIPTION, 1).await.unwrap().unwrap();
    assert_eq!(&peeked.body[..], b"look at me");
    assert!(sent.as_str().starts_with(&peeked.message_id), "{} {}", sent, peeked.message_id);
    assert!(bench.admin.peek(&topic, SUBSCRIPTION, 2).await.unwrap().is_none());
    assert_eq!(bench.admin.backlog(&topic, "another").await.unwrap().backlog, Backlog::Unknown);
    bench.admin.skip_all(&topic, SUBSCRIPTION).await.unwrap();
    until("the backlog to be skipped", || async {
        bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().backlog == Backlog::Empty
    })
    .await;
    bench.admin.delete_subscription(&topic, SUBSCRIPTION, true).await.unwrap();
    bench.stop.cancel();
    bench.admin.delete_topic(&topic, true).await.unwrap();
    assert!(bench.admin.topics(&bench.namespace).await.unwrap().is_empty());
}
