use std::time::Duration;

use bridge_bus::{BusConfig, Producers, PublishError};
use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::setup::{Bench, message, next, until};

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_name_a_message_alike() {
    let bench = Bench::new().await;
    let topic = bench.topic("same-name").await;
    let producers = bench.producers().await;
    let (_subscriptions, mut deliveries) = bench.receive(&[&topic], 8);
    let sent = producers.publish(&topic, message("hello")).await.unwrap();
    let delivery = next(&mut deliveries).await;
    assert_eq!(delivery.message_id, sent);
    assert!(sent.as_str().ends_with(":-1"), "{sent}");
    assert_eq!(&delivery.body[..], b"hello");
    assert_eq!(delivery.properties["execution_id"], "1");
    assert_eq!(*delivery.topic, *topic);
    assert!(delivery.publish_time.timestamp_millis() > 0);
    delivery.ack();
}

/// hazard 10 and 13: each partition is a consumer of its own, and the name says which partition.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_received_one_by_one_under_their_own_names() {
    let bench = Bench::new().await;
    let topic = format!("persistent://{}/split", bench.namespace);
    bench.admin.create_partitioned_topic(&topic, 3).await.unwrap();
    bench.admin.create_subscription(&topic, "bridge-consumer").await.unwrap();
    let producers = bench.producers().await;
    let (subscriptions, mut deliveries) = bench.receive(&[&topic], 16);
    let mut sent = Vec::new();
    for n in 0..9 {
        sent.push(producers.publish(&topic, message(n.to_string())).await.unwrap());
    }
    let backlog = bench.admin.backlog(&topic, "bridge-consumer").await.unwrap();
    assert_eq!(backlog.count, 9, "{backlog:?}");
    let mut received = Vec::new();
    let mut topics = std::collections::BTreeSet::new();
    for _ in 0..9 {
        let delivery = next(&mut deliveries).await;
        let partition = delivery.message_id.as_str().rsplit(':').next().unwrap().to_owned();
        assert_eq!(*delivery.topic, format!("{topic}-partition-{partition}"));
        topics.insert(delivery.topic.to_string());
        received.push(delivery.message_id.clone());
        delivery.ack();
    }
    sent.sort();
    received.sort();
    assert_eq!(sent, received);
    assert_eq!(topics.len(), 3);
    assert_eq!(subscriptions.health().len(), 3);
    until("the backlog to be empty", || async {
        bench.admin.backlog(&topic, "bridge-consumer").await.unwrap().count == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_said_at_once() {
    let config = BusConfig { service_url: "pulsar://127.0.0.1:1".into(), ..BusConfig::default() };
    let stop = CancellationToken::new();
    let producers = Producers::start(config, stop.clone());
    let started = Instant::now();
    let result = producers.publish("persistent://a/b/c", message("x")).await;
    assert_eq!(result, Err(PublishError::Down));
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(!producers.is_up());
    stop.cancel();
    assert_eq!(producers.publish("persistent://a/b/c", message("x")).await, Err(PublishError::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_refused_blocks_no_other() {
    let bench = Bench::new().await;
    let good = bench.topic("good").await;
    let producers = bench.producers().await;
    let bad = "persistent://no-such-tenant/workflows/bad";
    let bad_ones = join_all((0..200).map(|_| producers.publish(bad, message("x"))));
    let good_ones = async {
        let started = Instant::now();
        for _ in 0..50 {
            producers.publish(&good, message("y")).await.unwrap();
        }
        started.elapsed()
    };
    let (refused, took) = tokio::join!(bad_ones, good_ones);
    assert!(refused.iter().all(|r| matches!(r, Err(PublishError::Refused(_)))), "{:?}", refused.first());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(producers.is_up(), "a refusal is no outage");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_one_producer_and_an_idle_one_is_closed() {
    let mut bench = Bench::new().await;
    bench.config.idle_producer = Duration::from_millis(500);
    let topic = bench.topic("shared").await;
    let producers = bench.producers().await;
    let publish = |n: usize| producers.publish(&topic, message(n.to_string()));
    let results = join_all((0..300).map(publish)).await;
    assert!(results.iter().all(Result::is_ok));
    let publishers = || async {
        let stats = bench.admin.stats(&topic).await.unwrap();
        stats["publishers"].as_array().unwrap().len()
    };
    assert!(publishers().await <= 1);
    until("the idle producer to be closed", || async { publishers().await == 0 }).await;
    publish(1).await.unwrap();
    assert_eq!(publishers().await, 1);
}

/// A topic unload with messages in flight loses none: the library sends again what has no receipt.
#[tokio::test(flavor = "multi_thread")]
async fn an_unload_with_messages_in_flight_loses_nothing() {
    let bench = Bench::new().await;
    let topic = bench.topic("unloaded").await;
    let producers = bench.producers().await;
    let (subscriptions, mut deliveries) = bench.receive(&[&topic], 64);
    let total = 3000;
    let publishing = {
        let (producers, topic) = (producers.clone(), topic.clone());
        tokio::spawn(async move {
            let mut sent = std::collections::BTreeSet::new();
            for chunk in 0..total / 100 {
                let publish = |n: usize| producers.publish(&topic, message((chunk * 100 + n).to_string()));
                for result in join_all((0..100).map(publish)).await {
                    sent.insert(result.unwrap());
                }
            }
            sent
        })
    };
    let unloading = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            bench.admin.unload(&topic).await.unwrap();
        }
    };
    let receiving = async {
        let mut bodies = std::collections::BTreeSet::new();
        let mut ids = std::collections::BTreeSet::new();
        while bodies.len() < total {
            let delivery = next(&mut deliveries).await;
            bodies.insert(String::from_utf8(delivery.body.to_vec()).unwrap());
            ids.insert(delivery.message_id.clone());
            delivery.ack();
        }
        ids
    };
    let (sent, (), received) = tokio::join!(publishing, unloading, receiving);
    assert!(sent.unwrap().is_subset(&received), "every receipted message was received");
    until("the backlog to be empty", async || {
        // What comes again after an unload is acknowledged again.
        while let Ok(again) = deliveries.try_recv() {
            again.ack();
        }
        bench.admin.backlog(&topic, "bridge-consumer").await.unwrap().count == 0
    })
    .await;
    assert!(subscriptions.health().iter().all(|topic| topic.connected));
}
