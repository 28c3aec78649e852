//! Figures, and that they are not absurd. Run alone with `--ignored --nocapture` in release mode.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use crate::setup::{Bench, message, next};

const BODY: usize = 400;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: wants the machine for itself"]
async fn receipts_and_deliveries_per_second() {
    let bench = Bench::new().await;
    for topics in [1, 10, 100] {
        let mut names = Vec::new();
        for n in 0..topics {
            names.push(bench.topic(&format!("speed-{topics}-{n}")).await);
        }
        let producers = bench.producers().await;
        let publish = |n: usize| {
            let (producers, topic) = (producers.clone(), names[n % topics].clone());
            async move { producers.publish(&topic, message("x".repeat(BODY))).await }
        };
        for name in &names {
            producers.publish(name, message("warm")).await.unwrap();
        }
        let total = 100_000;
        let started = Instant::now();
        let failures = futures::stream::iter(0..total)
            .map(publish)
            .buffer_unordered(1024)
            .filter(|result| std::future::ready(result.is_err()))
            .count()
            .await;
        let rate = total as f64 / started.elapsed().as_secs_f64();
        println!("{topics} topics: {rate:.0} receipts/s, {failures} failures");

        let plans: Vec<&String> = names.iter().collect();
        let (subscriptions, mut deliveries) = bench.receive(&plans, 512);
        next(&mut deliveries).await.ack();
        let started = Instant::now();
        for _ in 0..total {
            next(&mut deliveries).await.ack();
        }
        let rate = total as f64 / started.elapsed().as_secs_f64();
        println!("{topics} topics: {rate:.0} received and acknowledged/s");
        drop(subscriptions);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: wants the machine for itself"]
async fn a_thousand_topics_at_once() {
    let bench = Bench::new().await;
    let create = |n: usize| {
        let bench = &bench;
        async move { bench.topic(&format!("many-{n}")).await }
    };
    let names: Vec<String> = futures::stream::iter(0..1000).map(create).buffered(16).collect().await;
    let producers = bench.producers().await;
    let plans: Vec<&String> = names.iter().collect();
    let started = Instant::now();
    let (subscriptions, mut deliveries) = bench.receive(&plans, 64);
    while subscriptions.health().iter().filter(|topic| topic.connected).count() < 1000 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("1000 topics subscribed in {:?}", started.elapsed());
    let started = Instant::now();
    let sent = futures::stream::iter(&names)
        .map(|name| producers.publish(name, message("x")))
        .buffer_unordered(1024)
        .filter(|result| std::future::ready(result.is_ok()))
        .count()
        .await;
    println!("{sent} of 1000 topics published to in {:?}", started.elapsed());
    assert_eq!(sent, 1000);
    for _ in 0..1000 {
        next(&mut deliveries).await.ack();
    }
}
