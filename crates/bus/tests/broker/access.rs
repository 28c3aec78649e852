//! Who may do what at the broker: each role its own job, each tenant its own topics.

use std::time::Duration;

use bridge_bus::topics::apply;
use bridge_bus::{BrokerAuth, BusConfig, Producers, PublishError, Subscriptions, TopicPlan, TopicsFile};
use bridge_protocol::{Lane, TenantId, TopicNames};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::setup::{admin, admin_as, config, message, next, token, unique, until};

struct Two {
    acme: TenantId,
    other: TenantId,
    names: TopicNames,
    stop: CancellationToken,
}

impl Two {
    async fn new() -> Self {
        let tenant = |prefix| TenantId::parse(&unique(prefix)).unwrap();
        let two = Self {
            acme: tenant("acme"),
            other: tenant("other"),
            names: TopicNames::default(),
            stop: CancellationToken::new(),
        };
        let file = TopicsFile::parse(include_str!("../../../../pulsar/topics.yml")).unwrap();
        let tenants = [two.acme.clone(), two.other.clone()];
        apply(&admin(), &file, &two.names, &tenants, false).await.unwrap();
        two
    }

    fn config(&self, role: &str) -> BusConfig {
        BusConfig { auth: BrokerAuth::Token(token(role, None)), ..config() }
    }

    async fn producers(&self, role: &str) -> Producers {
        let producers = Producers::start(self.config(role), self.stop.child_token());
        until("the producers to be up", || async { producers.is_up() }).await;
        producers
    }

    fn receive(
        &self,
        role: &str,
        topics: &[String],
    ) -> (Subscriptions, mpsc::Receiver<bridge_bus::Delivery>) {
        let (sink, deliveries) = mpsc::channel(64);
        let plans = topics.iter().map(|topic| TopicPlan { topic: topic.clone(), permits: 8 }).collect();
        (Subscriptions::start(self.config(role), plans, sink, self.stop.child_token()), deliveries)
    }

    fn own_role(&self) -> String {
        format!("tenant-{}", self.acme)
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn is_forbidden(result: Result<bridge_bus::MessageId, PublishError>) {
    let Err(PublishError::Refused(text)) = result else { panic!("{result:?}") };
    assert!(text.contains("may not produce") && text.contains("topics apply"), "{text}");
}

/// Nobody but the broker's answer decides: the topic says why, and that within the patience of a test.
async fn is_not_received(subscriptions: &Subscriptions, topic: &str) {
    until("the refusal to be told", || async {
        let health = subscriptions.health();
        let status = health.iter().find(|status| *status.logical == *topic);
        status.is_some_and(|status| {
            let trouble = status.trouble.as_deref().unwrap_or_default();
            !status.connected && trouble.contains("may not consume") && trouble.contains("topics apply")
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_publisher_produces_and_the_consumer_consumes_and_neither_does_the_others_job() {
    let two = Two::new().await;
    let lane = two.names.topic(&two.acme, Lane::Short);
    let publisher = two.producers("bridge-publisher").await;
    publisher.publish(&lane, message("one")).await.unwrap();
    publisher.publish(&two.names.dead_letter(&two.acme, Lane::Short), message("dead")).await.unwrap();
    let (received, mut deliveries) = two.receive("bridge-consumer", std::slice::from_ref(&lane));
    next(&mut deliveries).await.ack();

    let consumer = two.producers("bridge-consumer").await;
    is_forbidden(consumer.publish(&lane, message("x")).await);
    assert!(consumer.is_up(), "a missing right is no outage");
    assert_eq!(consumer.fault(), None);
    let (refused, _none) = two.receive("bridge-publisher", std::slice::from_ref(&lane));
    is_not_received(&refused, &lane).await;
    assert!(received.health().iter().all(|topic| topic.connected));
    // What the daemons ask over REST, each with its own role.
    for role in ["bridge-publisher", "bridge-consumer"] {
        let asking = admin_as(BrokerAuth::Token(token(role, None)));
        asking.ready().await.unwrap();
        asking.backlog(&lane, "bridge-consumer").await.unwrap();
    }
    // Neither may administrate.
    for role in ["bridge-publisher", "bridge-consumer"] {
        let asking = admin_as(BrokerAuth::Token(token(role, None)));
        let namespace = format!("{}/workflows", two.acme);
        assert!(asking.create_namespace(&format!("{}/more", two.acme)).await.unwrap_err().is_refusal());
        let right = std::collections::BTreeSet::from(["produce".to_owned()]);
        assert!(asking.grant(&namespace, role, &right).await.unwrap_err().is_refusal());
        assert!(asking.delete_topic(&lane, true).await.unwrap_err().is_refusal());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_role_reads_its_dead_letters_and_touches_nothing_else() {
    let two = Two::new().await;
    let role = two.own_role();
    let dead = |tenant| two.names.dead_letter(tenant, Lane::Ai);
    let lane = |tenant| two.names.topic(tenant, Lane::Ai);
    let topics = [dead(&two.acme), lane(&two.acme), dead(&two.other), lane(&two.other)];

    let producers = two.producers(&role).await;
    for topic in &topics {
        is_forbidden(producers.publish(topic, message("x")).await);
    }
    let (subscriptions, mut deliveries) = two.receive(&role, &topics);
    for topic in &topics[1..] {
        is_not_received(&subscriptions, topic).await;
    }
    // The three refusals share a client with this one, and do not disturb it.
    let publisher = two.producers("bridge-publisher").await;
    until("the tenant to be subscribed to its dead letters", || async {
        subscriptions.health().iter().any(|status| status.connected && *status.topic == *topics[0])
    })
    .await;
    publisher.publish(&topics[0], message("given up")).await.unwrap();
    let delivery = next(&mut deliveries).await;
    assert_eq!((&*delivery.topic, &delivery.body[..]), (&*topics[0], &b"given up"[..]));
    delivery.ack();

    let asking = admin_as(BrokerAuth::Token(token(&role, None)));
    for tenant in [&two.acme, &two.other] {
        let namespace = format!("{tenant}/workflows");
        assert!(asking.namespaces(tenant.as_str()).await.unwrap_err().is_refusal());
        assert!(asking.topics(&namespace).await.unwrap_err().is_refusal());
        assert!(asking.policies(&namespace).await.unwrap_err().is_refusal());
        assert!(asking.stats(&lane(tenant)).await.unwrap_err().is_refusal());
        assert!(asking.peek(&lane(tenant), "bridge-consumer", 1).await.unwrap_err().is_refusal());
        assert!(asking.skip_all(&lane(tenant), "bridge-consumer").await.unwrap_err().is_refusal());
    }
    assert!(asking.stats(&dead(&two.other)).await.unwrap_err().is_refusal());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_topic_waits_while_the_others_of_its_client_go_on_and_comes_back_when_granted() {
    let two = Two::new().await;
    let open = two.names.topic(&two.acme, Lane::Short);
    let shut = two.names.topic(&two.other, Lane::Short);
    let namespace = format!("{}/workflows", two.other);
    admin().revoke(&namespace, "bridge-publisher").await.unwrap();
    admin().revoke(&namespace, "bridge-consumer").await.unwrap();
    let producers = two.producers("bridge-publisher").await;
    let (subscriptions, mut deliveries) = two.receive("bridge-consumer", &[open.clone(), shut.clone()]);
    is_forbidden(producers.publish(&shut, message("x")).await);
    is_not_received(&subscriptions, &shut).await;
    for n in 0..50 {
        let started = Instant::now();
        producers.publish(&open, message(n.to_string())).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
        next(&mut deliveries).await.ack();
    }
    let incarnations = |health: Vec<bridge_bus::TopicHealth>| {
        health.iter().find(|status| *status.topic == *open).map(|status| status.incarnation)
    };
    assert_eq!(incarnations(subscriptions.health()), Some(1), "it was never disturbed");
    let only = |action: &str| std::collections::BTreeSet::from([action.to_owned()]);
    admin().grant(&namespace, "bridge-publisher", &only("produce")).await.unwrap();
    admin().grant(&namespace, "bridge-consumer", &only("consume")).await.unwrap();
    until("the producer to be let in", || async { producers.publish(&shut, message("y")).await.is_ok() })
        .await;
    assert_eq!(*next(&mut deliveries).await.topic, *shut);
}
