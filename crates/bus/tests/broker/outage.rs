//! The broker is killed and comes back. Wants a broker of its own: `BRIDGE_TEST_PULSAR_KILL` and
//! `BRIDGE_TEST_PULSAR_START` are shell commands that kill it with -9 and start it again.

use std::collections::BTreeSet;
use std::time::Duration;

use bridge_bus::PublishError;
use futures::StreamExt;
use tokio::time::Instant;

use crate::setup::{Bench, SUBSCRIPTION, message, next, required, until};

fn shell(variable: &str) {
    let status = std::process::Command::new("sh").arg("-c").arg(required(variable)).status().unwrap();
    assert!(status.success(), "{variable} failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills its broker"]
async fn nothing_receipted_is_lost_when_the_broker_is_killed() {
    let bench = Bench::new().await;
    let topics = [bench.topic("killed-a").await, bench.topic("killed-b").await];
    let producers = bench.producers().await;
    let (subscriptions, mut deliveries) = bench.receive(&[&topics[0], &topics[1]], 256);
    let over = tokio_util::sync::CancellationToken::new();

    let publishing = {
        let (producers, topics, over) = (producers.clone(), topics.clone(), over.clone());
        tokio::spawn(async move {
            let (mut receipted, mut timed_out, mut down) = (Vec::new(), 0, 0);
            let mut longest_call = Duration::ZERO;
            let mut results = futures::stream::iter(0u64..)
                .take_while(|_| std::future::ready(!over.is_cancelled()))
                .map(|n| {
                    let (producers, topic) = (producers.clone(), topics[(n % 2) as usize].clone());
                    async move {
                        let started = Instant::now();
                        let result = producers.publish(&topic, message(n.to_string())).await;
                        if result.is_err() {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        (n, started.elapsed(), result)
                    }
                })
                .buffer_unordered(64);
            while let Some((n, took, result)) = results.next().await {
                longest_call = longest_call.max(took);
                match result {
                    Ok(_) => receipted.push(n),
                    Err(PublishError::TimedOut) => timed_out += 1,
                    Err(_) => down += 1,
                }
            }
            (receipted, timed_out, down, longest_call)
        })
    };
    let killing = async {
        for round in 0..2 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            shell("BRIDGE_TEST_PULSAR_KILL");
            let killed = Instant::now();
            until("the outage to be noticed", || async { !producers.is_up() }).await;
            println!("round {round}: down noticed after {:?}", killed.elapsed());
            let asked = Instant::now();
            assert_eq!(producers.publish(&topics[0], message("x")).await, Err(PublishError::Down));
            assert!(asked.elapsed() < Duration::from_secs(1), "Down is said at once");
            shell("BRIDGE_TEST_PULSAR_START");
            until("the broker to be well", || async { bench.admin.healthy().await.is_ok() }).await;
            let healthy = Instant::now();
            until("the producers to be up", || async { producers.is_up() }).await;
            until("the consumers to be back", || async {
                subscriptions.health().iter().all(|topic| topic.connected)
            })
            .await;
            println!("round {round}: producers and consumers back {:?} after it was well", healthy.elapsed());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        over.cancel();
    };
    let receiving = async {
        let (mut seen, mut repeated) = (BTreeSet::new(), 0);
        while !over.is_cancelled() {
            let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(1), deliveries.recv()).await
            else {
                continue;
            };
            if let Ok(n) = String::from_utf8_lossy(&delivery.body).parse::<u64>() {
                repeated += u32::from(!seen.insert(n));
            }
            delivery.ack();
        }
        (seen, repeated)
    };
    let (published, (), (mut seen, mut repeated)) = tokio::join!(publishing, killing, receiving);
    let (receipted, timed_out, down, longest_call) = published.unwrap();
    while !receipted.iter().all(|n| seen.contains(n)) {
        let delivery = next(&mut deliveries).await;
        if let Ok(n) = String::from_utf8_lossy(&delivery.body).parse::<u64>() {
            repeated += u32::from(!seen.insert(n));
        }
        delivery.ack();
    }
    println!(
        "{} receipted, {timed_out} timed out, {down} down or refused, longest call {longest_call:?}; {} received, {repeated} again",
        receipted.len(),
        seen.len(),
    );
    for topic in &topics {
        until("the backlog to be empty", async || {
            while let Ok(again) = deliveries.try_recv() {
                again.ack();
            }
            bench.admin.backlog(topic, SUBSCRIPTION).await.is_ok_and(|backlog| backlog.count == 0)
        })
        .await;
    }
}
