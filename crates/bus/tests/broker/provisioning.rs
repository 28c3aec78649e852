use bridge_bus::topics::{Change, apply};
use bridge_bus::{Admin, BrokerAuth, TopicsFile};
use bridge_protocol::{Lane, TenantId, TopicNames};

use crate::setup::{PATIENCE, SUBSCRIPTION, config, unique};

const SHIPPED: &str = include_str!("../../../../pulsar/topics.yml");

fn admin() -> Admin {
    Admin::new(&config().http_url, BrokerAuth::None, PATIENCE).unwrap()
}

fn tenants(count: usize) -> Vec<TenantId> {
    (0..count).map(|_| TenantId::parse(&unique("tenant")).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_run_has_nothing_to_do() {
    let (admin, names, tenants) = (admin(), TopicNames::default(), tenants(3));
    let yaml =
        SHIPPED.replace("publisher: \"\"", "publisher: pub").replace("consumer: \"\"", "consumer: con");
    let file = TopicsFile::parse(&yaml).unwrap();
    let dry = apply(&admin, &file, &names, &tenants, true).await.unwrap();
    assert!(admin.namespaces(tenants[0].as_str()).await.unwrap().is_none(), "a dry run changes nothing");
    let made = apply(&admin, &file, &names, &tenants, false).await.unwrap();
    assert_eq!(dry, made);
    assert_eq!(made.len(), 3 * 20, "{made:#?}");
    let again = apply(&admin, &file, &names, &tenants, false).await.unwrap();
    assert!(again.is_empty(), "{again:#?}");

    let namespace = format!("{}/workflows", tenants[0]);
    let policies = admin.policies(&namespace).await.unwrap().unwrap();
    assert_eq!(policies.deduplication, Some(false));
    assert_eq!(policies.actions("pub").unwrap().iter().collect::<Vec<_>>(), ["produce"]);
    for lane in Lane::ALL {
        let topic = names.topic(&tenants[0], *lane);
        assert_eq!(admin.subscriptions(&topic).await.unwrap(), [SUBSCRIPTION]);
        assert!(admin.subscriptions(&names.dead_letter(&tenants[0], *lane)).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_is_completed_and_drift_is_corrected() {
    let (admin, names, tenants) = (admin(), TopicNames::default(), tenants(1));
    let file = TopicsFile::parse(SHIPPED).unwrap();
    let namespace = format!("{}/workflows", tenants[0]);
    let short = names.topic(&tenants[0], Lane::Short);
    // As far as a first run came before it was killed.
    admin.create_tenant(tenants[0].as_str(), &admin.clusters().await.unwrap()).await.unwrap();
    admin.create_namespace(&namespace).await.unwrap();
    admin.create_topic(&short).await.unwrap();
    let made = apply(&admin, &file, &names, &tenants, false).await.unwrap();
    assert!(!made.iter().any(|change| matches!(change, Change::CreateTenant { .. })));
    assert!(
        made.contains(&Change::CreateSubscription {
            topic: short.clone(),
            subscription: SUBSCRIPTION.into()
        })
    );

    admin.set_message_ttl(&namespace, 60).await.unwrap();
    admin.set_deduplication(&namespace, true).await.unwrap();
    admin.delete_subscription(&short, SUBSCRIPTION, true).await.unwrap();
    let smaller =
        SHIPPED.replace("megabytes: 2048", "megabytes: 900").replace("megabytes: 1024", "megabytes: 800");
    let smaller = TopicsFile::parse(&smaller).unwrap();
    let made = apply(&admin, &smaller, &names, &tenants, false).await.unwrap();
    assert_eq!(made.len(), 5, "{made:#?}");
    let made = apply(&admin, &file, &names, &tenants, false).await.unwrap();
    assert_eq!(made.len(), 2, "{made:#?}");
    assert!(apply(&admin, &file, &names, &tenants, false).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_raised_and_a_shrinking_file_is_refused() {
    let (admin, names, tenants) = (admin(), TopicNames::default(), tenants(1));
    let with = |partitions: &str| TopicsFile::parse(&SHIPPED.replace("partitions: 0", partitions)).unwrap();
    apply(&admin, &with("partitions: 2"), &names, &tenants, false).await.unwrap();
    let made = apply(&admin, &with("partitions: 3"), &names, &tenants, false).await.unwrap();
    assert!(
        made.iter().all(|change| matches!(change, Change::AddPartitions { from: 2, to: 3, .. })),
        "{made:#?}"
    );
    assert_eq!(made.len(), 8);
    assert!(apply(&admin, &with("partitions: 3"), &names, &tenants, false).await.unwrap().is_empty());
    let error = apply(&admin, &with("partitions: 1"), &names, &tenants, false).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("3 partitions") && source.contains("asks for 1"), "{source}");
}
