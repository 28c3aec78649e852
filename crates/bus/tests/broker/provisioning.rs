use bridge_bus::topics::{Change, apply, apply_each, remove};
use bridge_bus::{BrokerAuth, TopicsFile};
use bridge_protocol::{Lane, TenantId, TopicNames};
use futures::StreamExt;

use crate::setup::{Bench, SUBSCRIPTION, admin, admin_as, message, next, token, unique};

const SHIPPED: &str = include_str!("../../../../pulsar/topics.yml");

fn tenants(count: usize) -> Vec<TenantId> {
    (0..count).map(|_| TenantId::parse(&unique("tenant")).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_run_has_nothing_to_do() {
    let (admin, names, tenants) = (admin(), TopicNames::default(), tenants(3));
    let file = TopicsFile::parse(SHIPPED).unwrap();
    let dry = apply(&admin, &file, &names, &tenants, true).await.unwrap();
    assert!(admin.namespaces(tenants[0].as_str()).await.unwrap().is_none(), "a dry run changes nothing");
    let made = apply(&admin, &file, &names, &tenants, false).await.unwrap();
    assert_eq!(dry, made);
    // Tenant, namespace, four lanes with a subscription each, four topics for dead letters.
    assert_eq!(made.len(), 3 * 14, "{made:#?}");
    let again = apply(&admin, &file, &names, &tenants, false).await.unwrap();
    assert!(again.is_empty(), "{again:#?}");

    let namespace = format!("{}/workflows", tenants[0]);
    let policies = admin.policies(&namespace).await.unwrap().unwrap();
    assert_eq!(policies.deduplication, Some(false));
    let granted = |role: &str| policies.permissions.on_namespace(role).unwrap().iter().collect::<Vec<_>>();
    assert_eq!(granted("bridge-publisher"), ["produce"]);
    assert_eq!(granted("bridge-consumer"), ["consume"]);
    assert_eq!(policies.message_ttl, None);
    assert_eq!(policies.retention.unwrap().retention_size_in_mb, 2048);
    assert_eq!(policies.backlog_quota().unwrap().policy, "producer_exception");
    assert!(!policies.inactive_topics.as_ref().unwrap().delete_while_inactive);
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

#[tokio::test(flavor = "multi_thread")]
async fn many_tenants_are_told_one_by_one() {
    let (admin, names, tenants) = (admin(), TopicNames::default(), tenants(12));
    let file = TopicsFile::parse(SHIPPED).unwrap();
    let told = std::sync::Mutex::new(Vec::new());
    let on_done = |tenant: &TenantId, changes: &[Change]| {
        told.lock().unwrap().push((tenant.clone(), changes.len()));
    };
    let made = apply_each(&admin, &file, &names, &tenants, false, on_done).await.unwrap();
    assert_eq!(made.len(), 12 * 14);
    assert!(matches!(&made[14], Change::CreateTenant { tenant, .. } if tenant == tenants[1].as_str()));
    let mut told = told.into_inner().unwrap();
    told.sort();
    let mut expected: Vec<_> = tenants.iter().map(|tenant| (tenant.clone(), 14)).collect();
    expected.sort();
    assert_eq!(told, expected);
    assert!(apply(&admin, &file, &names, &tenants, false).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_drifted_are_put_right() {
    let (admin, names, tenants) = (admin(), TopicNames::default(), tenants(1));
    let file = TopicsFile::parse(SHIPPED).unwrap();
    apply(&admin, &file, &names, &tenants, false).await.unwrap();
    let namespace = format!("{}/workflows", tenants[0]);
    let own = file.roles.of_tenant(&tenants[0]).unwrap();
    let both = ["consume", "produce"].map(String::from).into();
    let lane = names.topic(&tenants[0], Lane::Ai);
    admin.grant(&namespace, "bridge-consumer", &both).await.unwrap();
    admin.grant(&namespace, &own, &both).await.unwrap();
    admin.grant(&lane, &own, &both).await.unwrap();
    admin.revoke(&names.dead_letter(&tenants[0], Lane::Ai), &own).await.unwrap();
    let made = apply(&admin, &file, &names, &tenants, false).await.unwrap();
    assert_eq!(made.len(), 4, "{made:#?}");
    assert!(made.contains(&Change::Revoke { on: lane, role: own }));
    assert!(apply(&admin, &file, &names, &tenants, false).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_says_which_call_and_what_is_needed() {
    let (names, tenants) = (TopicNames::default(), tenants(20));
    let file = TopicsFile::parse(SHIPPED).unwrap();
    let text = async |auth| {
        let error = apply(&admin_as(auth), &file, &names, &tenants, false).await.unwrap_err();
        let error = anyhow::Error::from(error);
        format!("{error:#}")
    };
    // One call with few tenants, another with many: both are named.
    let said = text(BrokerAuth::Token(token("bridge-publisher", None))).await;
    for part in ["GET /admin/v2/", "status 401", "Unauthorized", "superUserRoles"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = text(BrokerAuth::Token("junk".into())).await;
    for part in ["GET /admin/v2/clusters", "status 401", "renew it", "nothing was changed"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // What is not there may be asked for, but not made; the clusters are in the file.
    let yaml = SHIPPED.replace("clusters: []", "clusters: [standalone]");
    let file = TopicsFile::parse(&yaml).unwrap();
    let nobody = admin_as(BrokerAuth::Token(token("bridge-publisher", None)));
    let error = apply(&nobody, &file, &names, &tenants[..2], false).await.unwrap_err();
    let said = format!("{:#}", anyhow::Error::from(error));
    assert!(said.contains("PUT /admin/v2/tenants/tenant-") && said.contains("superUserRoles"), "{said}");
    // Nothing is half made, and who has the right completes it.
    let made = apply(&admin(), &file, &names, &tenants[..2], false).await.unwrap();
    assert_eq!(made.len(), 2 * 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_removed_with_all_it_has_and_only_once() {
    let bench = Bench::new().await;
    let (admin, names) = (&bench.admin, TopicNames::default());
    let tenant = TenantId::parse(&bench.tenant).unwrap();
    let file = TopicsFile::parse(&SHIPPED.replacen("partitions: 0", "partitions: 2", 1)).unwrap();
    apply(admin, &file, &names, std::slice::from_ref(&tenant), false).await.unwrap();
    // With a backlog and a consumer that is connected.
    let lane = names.topic(&tenant, Lane::Ai);
    let producers = bench.producers().await;
    producers.publish(&lane, message("left behind")).await.unwrap();
    let (subscriptions, mut deliveries) = bench.receive(&[&lane], 8);
    let held = next(&mut deliveries).await;
    let removed = remove(admin, &names, &tenant).await.unwrap();
    assert_eq!(removed.len(), 8 + 2, "{removed:#?}");
    assert!(admin.namespaces(tenant.as_str()).await.unwrap().is_none());
    assert!(remove(admin, &names, &tenant).await.unwrap().is_empty());
    assert!(!admin.tenants().await.unwrap().contains(&bench.tenant));
    drop((held, subscriptions));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_namespaces_of_others_keeps_them() {
    let bench = Bench::new().await;
    let tenant = TenantId::parse(&bench.tenant).unwrap();
    let foreign = format!("{tenant}/foreign");
    bench.admin.create_namespace(&foreign).await.unwrap();
    let error = remove(&bench.admin, &TopicNames::default(), &tenant).await.unwrap_err();
    assert!(error.to_string().contains(&foreign), "{error}");
    assert_eq!(bench.admin.namespaces(tenant.as_str()).await.unwrap(), Some(vec![foreign]));
}

/// The figure that operators wait for. `BRIDGE_TEST_TENANTS` says how many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: wants the machine for itself"]
async fn a_thousand_tenants() {
    let count = std::env::var("BRIDGE_TEST_TENANTS").map_or(1000, |n| n.parse().unwrap());
    let (admin, names, tenants) = (admin(), TopicNames::default(), tenants(count));
    let file = TopicsFile::parse(SHIPPED).unwrap();
    for run in ["first", "second"] {
        let started = tokio::time::Instant::now();
        let made = apply(&admin, &file, &names, &tenants, false).await.unwrap();
        println!("{run} run over {count} tenants: {} changes in {:?}", made.len(), started.elapsed());
    }
    let started = tokio::time::Instant::now();
    let removing = futures::stream::iter(&tenants).map(|tenant| remove(&admin, &names, tenant));
    let removed = removing.buffer_unordered(16).filter(|done| std::future::ready(done.is_ok())).count().await;
    println!("{removed} tenants removed in {:?}", started.elapsed());
    assert_eq!(removed, count);
}
