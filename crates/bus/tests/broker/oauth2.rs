//! Log-in at the broker with tokens of an OAuth2 issuer that it trusts beside its own.

use bridge_bus::topics::apply;
use bridge_bus::{BrokerAuth, BusConfig, Producers, TopicsFile};
use bridge_protocol::{Lane, TenantId, TopicNames};

use crate::setup::{Bench, admin, admin_as, message, next, required, until};

fn client(id: &str) -> BrokerAuth {
    BrokerAuth::OAuth2 {
        issuer_url: required("BRIDGE_TEST_OIDC_ISSUER"),
        audience: Some(required("BRIDGE_TEST_OIDC_PULSAR_AUDIENCE")),
        scope: Some("pulsar".into()),
        client_id: required(id),
        client_secret_file: required("BRIDGE_TEST_OIDC_CLIENT_SECRET_FILE").into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_daemons_log_in_by_client_credentials() {
    if std::env::var_os("BRIDGE_TEST_OIDC_ISSUER").is_none() {
        println!("no issuer: BRIDGE_TEST_OIDC_ISSUER is not set");
        return;
    }
    let mut bench = Bench::new().await;
    let (names, tenant) = (TopicNames::default(), TenantId::parse(&bench.tenant).unwrap());
    let file = TopicsFile::parse(include_str!("../../../../pulsar/topics.yml")).unwrap();
    apply(&admin(), &file, &names, std::slice::from_ref(&tenant), false).await.unwrap();
    let lane = names.topic(&tenant, Lane::Long);

    bench.config.auth = client("BRIDGE_TEST_OIDC_PULSAR_CONSUMER_CLIENT_ID");
    let (_subscriptions, mut deliveries) = bench.receive(&[&lane], 8);
    bench.config.auth = client("BRIDGE_TEST_OIDC_PULSAR_PUBLISHER_CLIENT_ID");
    bench.producers().await.publish(&lane, message("hello")).await.unwrap();
    next(&mut deliveries).await.ack();
    admin_as(client("BRIDGE_TEST_OIDC_PULSAR_CONSUMER_CLIENT_ID")).ready().await.unwrap();

    // A token for somebody else is the broker's to refuse, a wrong secret the issuer's.
    let BrokerAuth::OAuth2 { issuer_url, scope, client_id, client_secret_file, .. } =
        bench.config.auth.clone()
    else {
        unreachable!()
    };
    let told = async |audience: &str, secret: std::path::PathBuf| {
        let auth = BrokerAuth::OAuth2 {
            issuer_url: issuer_url.clone(),
            audience: Some(audience.to_owned()),
            scope: scope.clone(),
            client_id: client_id.clone(),
            client_secret_file: secret,
        };
        let config = BusConfig { auth, ..bench.config.clone() };
        let producers = Producers::start(config, bench.stop.child_token());
        until("the fault to be told", || async { producers.fault().is_some() }).await;
        producers.fault().unwrap()
    };
    let fault = told("urn:somebody-else", client_secret_file.clone()).await;
    assert!(fault.contains("expects this audience"), "{fault}");
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "wrong").unwrap();
    let fault = told("urn:pulsar", wrong.path().to_owned()).await;
    assert!(fault.contains("gives client bridge-publisher no token"), "{fault}");
}
