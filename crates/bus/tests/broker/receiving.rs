use std::time::Duration;

use bridge_bus::TopicPlan;
use bridge_protocol::Backlog;

use crate::setup::{Bench, SUBSCRIPTION, message, next, until};

#[tokio::test(flavor = "multi_thread")]
async fn unsettled_deliveries_never_exceed_the_permits() {
    let bench = Bench::new().await;
    let topic = bench.topic("bounded").await;
    let producers = bench.producers().await;
    for n in 0..50 {
        producers.publish(&topic, message(n.to_string())).await.unwrap();
    }
    let (subscriptions, mut deliveries) = bench.receive(&[&topic], 7);
    let mut held = Vec::new();
    for _ in 0..7 {
        held.push(next(&mut deliveries).await);
    }
    let health = subscriptions.health().remove(0);
    assert_eq!((health.permits_in_use, health.permits, health.connected), (7, 7, true));
    let more = tokio::time::timeout(Duration::from_millis(500), deliveries.recv()).await;
    assert!(more.is_err(), "an eighth came without a permit");
    held.pop().unwrap().ack();
    held.push(next(&mut deliveries).await);
    assert!(subscriptions.health()[0].last_ack.is_some());
}

/// The backlog must count what is delivered and not acknowledged, or timers would publish it twice.
#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_is_what_is_not_acknowledged() {
    let bench = Bench::new().await;
    let topic = bench.topic("backlog").await;
    assert_eq!(bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().backlog, Backlog::Empty);
    let producers = bench.producers().await;
    for n in 0..3 {
        producers.publish(&topic, message(n.to_string())).await.unwrap();
    }
    let (_subscriptions, mut deliveries) = bench.receive(&[&topic], 8);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut deliveries).await);
    }
    let oldest = held[0].publish_time;
    let backlog = bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap();
    assert_eq!((backlog.backlog, backlog.count, backlog.consumers), (Backlog::Since(oldest), 3, 1));

    // The second of three: the first still marks the time.
    held.remove(1).ack();
    until("the acknowledgement to arrive", || async {
        bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().count == 2
    })
    .await;
    assert_eq!(bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().backlog, Backlog::Since(oldest));
    held.remove(0).ack();
    let last = held[0].publish_time;
    until("the time to move on", || async {
        bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().backlog == Backlog::Since(last)
    })
    .await;
    held.remove(0).ack();
    until("the backlog to be empty", || async {
        bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().backlog == Backlog::Empty
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_and_dropped_deliveries_come_again() {
    let bench = Bench::new().await;
    let topic = bench.topic("again").await;
    let producers = bench.producers().await;
    let (_subscriptions, mut deliveries) = bench.receive(&[&topic], 4);
    let sent = producers.publish(&topic, message("once more")).await.unwrap();
    next(&mut deliveries).await.nack();
    let second = next(&mut deliveries).await;
    assert_eq!(second.message_id, sent);
    drop(second);
    let third = next(&mut deliveries).await;
    assert_eq!(third.message_id, sent);
    third.ack();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_topic_delivers_again_and_ignores_old_verdicts() {
    let bench = Bench::new().await;
    let topic = bench.topic("rebuilt").await;
    let producers = bench.producers().await;
    let (subscriptions, mut deliveries) = bench.receive(&[&topic], 4);
    producers.publish(&topic, message("x")).await.unwrap();
    let first = next(&mut deliveries).await;
    subscriptions.rebuild(&topic);
    let again = next(&mut deliveries).await;
    assert_eq!(again.message_id, first.message_id);
    assert_eq!(subscriptions.health()[0].incarnation, 2);
    first.ack();
    until("the old permit to be free", || async { subscriptions.health()[0].permits_in_use == 1 }).await;
    assert_eq!(bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().count, 1);
    again.ack();
    until("the backlog to be empty", || async {
        bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().count == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_topic_that_is_stuck_does_not_hold_up_another() {
    let bench = Bench::new().await;
    let (stuck, free) = (bench.topic("stuck").await, bench.topic("free").await);
    let producers = bench.producers().await;
    for n in 0..20 {
        producers.publish(&stuck, message(n.to_string())).await.unwrap();
    }
    let (_subscriptions, mut deliveries) = bench.receive(&[&stuck, &free], 2);
    let held = [next(&mut deliveries).await, next(&mut deliveries).await];
    assert!(held.iter().all(|delivery| *delivery.topic == *stuck));
    for n in 0..20 {
        producers.publish(&free, message(n.to_string())).await.unwrap();
        let delivery = next(&mut deliveries).await;
        assert_eq!(*delivery.topic, *free);
        delivery.ack();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_acknowledgements_leave_before_it_closes() {
    let bench = Bench::new().await;
    let topic = bench.topic("drained").await;
    let producers = bench.producers().await;
    for n in 0..3000 {
        producers.publish(&topic, message(n.to_string())).await.unwrap();
    }
    // Far more waits in the library's queue than there are permits, so acknowledgements stand behind messages.
    let (subscriptions, mut deliveries) = bench.receive(&[&topic], 64);
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(next(&mut deliveries).await);
    }
    bench.stop.cancel();
    held.into_iter().for_each(|delivery| delivery.ack());
    tokio::time::timeout(Duration::from_secs(20), subscriptions.drained()).await.expect("drained in time");
    until("all acknowledgements to arrive", || async {
        bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().count == 3000 - 64
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_come_and_go() {
    let bench = Bench::new().await;
    let (one, two) = (bench.topic("one").await, bench.topic("two").await);
    let (subscriptions, mut deliveries) = bench.receive(&[&one], 4);
    subscriptions.set_topics(vec![TopicPlan { topic: two.clone(), permits: 4 }]);
    until("only the second to be there", || async {
        let health = subscriptions.health();
        health.len() == 1 && *health[0].topic == *two && health[0].connected
    })
    .await;
    until("the first to have no consumer", || async {
        bench.admin.backlog(&one, SUBSCRIPTION).await.unwrap().consumers == 0
    })
    .await;
    let producers = bench.producers().await;
    producers.publish(&two, message("x")).await.unwrap();
    next(&mut deliveries).await.ack();
}
