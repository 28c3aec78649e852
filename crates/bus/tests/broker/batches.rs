//! hazard 1, with a foreign producer that batches.

use futures::future::join_all;
use pulsar::{Authentication, ProducerOptions, Pulsar, TokioExecutor};

use crate::setup::{Bench, SUBSCRIPTION, next, token, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_batch_is_acknowledged_with_its_last_message() {
    let bench = Bench::new().await;
    let topic = bench.topic("batched").await;
    let url = bench.config.service_url.clone();
    let credential = Authentication { name: "token".into(), data: token("bridge-admin", None).into_bytes() };
    let client: Pulsar<_> = Pulsar::builder(url, TokioExecutor).with_auth(credential).build().await.unwrap();
    let options = ProducerOptions { batch_size: Some(5), ..ProducerOptions::default() };
    let mut foreign = client.producer().with_topic(&topic).with_options(options).build().await.unwrap();
    let mut receipts = Vec::new();
    for n in 0..5 {
        receipts.push(foreign.send_non_blocking(format!("sibling {n}")).await.unwrap());
    }
    join_all(receipts).await.into_iter().for_each(|receipt| drop(receipt.unwrap()));

    let (subscriptions, mut deliveries) = bench.receive(&[&topic], 16);
    let mut siblings = Vec::new();
    for _ in 0..5 {
        siblings.push(next(&mut deliveries).await);
    }
    let names: std::collections::BTreeSet<_> = siblings.iter().map(|s| s.message_id.to_string()).collect();
    assert_eq!(names.len(), 5, "siblings have names of their own: {names:?}");
    let unfinished = siblings.pop().unwrap();
    siblings.into_iter().for_each(|sibling| sibling.ack());
    until("four acknowledgements to be dealt with", || async {
        subscriptions.health()[0].permits_in_use == 1
    })
    .await;

    // The consumer is lost with one message unfinished: the whole entry must still be there.
    subscriptions.rebuild(&topic);
    let mut again = Vec::new();
    for _ in 0..5 {
        again.push(next(&mut deliveries).await);
    }
    assert!(again.iter().any(|sibling| sibling.message_id == unfinished.message_id));
    again.into_iter().for_each(|sibling| sibling.ack());
    until("the entry to be acknowledged", || async {
        bench.admin.backlog(&topic, SUBSCRIPTION).await.unwrap().count == 0
    })
    .await;
}
