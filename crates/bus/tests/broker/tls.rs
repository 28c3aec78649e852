//! Encrypted connections: the right authority, a wrong one, a wrong name.

use bridge_bus::{Admin, BusConfig, Producers, Tls};

use crate::setup::{Bench, PATIENCE, config, message, next, required, until};

fn encrypted(ca_file: Option<String>) -> BusConfig {
    BusConfig {
        service_url: required("BRIDGE_TEST_PULSAR_TLS_URL"),
        http_url: required("BRIDGE_TEST_PULSAR_HTTPS"),
        tls: Tls { ca_file: ca_file.map(Into::into) },
        ..config()
    }
}

fn own_ca() -> Option<String> {
    Some(required("BRIDGE_TEST_PULSAR_CA"))
}

/// A name that leads to the same broker and stands in no certificate.
fn misnamed(url: &str) -> String {
    assert!(url.contains("127.0.0.1"), "{url}");
    url.replace("127.0.0.1", "0.0.0.0")
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_brokers_authority_messages_flow_encrypted() {
    let mut bench = Bench::new().await;
    let topic = bench.topic("encrypted").await;
    bench.config = encrypted(own_ca());
    let (_subscriptions, mut deliveries) = bench.receive(&[&topic], 8);
    bench.producers().await.publish(&topic, message("hello")).await.unwrap();
    next(&mut deliveries).await.ack();
    let config = &bench.config;
    let admin = Admin::new(&config.http_url, config.auth.clone(), config.tls.clone(), PATIENCE).unwrap();
    assert!(admin.topics(&bench.namespace).await.unwrap().contains(&topic));
    until("the acknowledgement", || async {
        admin.backlog(&topic, "bridge-consumer").await.unwrap().count == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_or_another_name_is_refused_and_told() {
    let bench = Bench::new().await;
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.pem");
    std::fs::write(&wrong, include_str!("../keys/other-ca.pem")).unwrap();
    let wrong = Some(wrong.to_str().unwrap().to_owned());
    let right = encrypted(own_ca());
    let elsewhere = BusConfig { service_url: misnamed(&right.service_url), ..right.clone() };
    let no_tls = required("BRIDGE_TEST_PULSAR_URL").replace("pulsar://", "pulsar+ssl://");
    let cases = [
        (encrypted(wrong.clone()), "pulsar.tls_ca_file"),
        (encrypted(None), "pulsar.tls_ca_file"),
        (elsewhere, "use a name in pulsar.service_url"),
        (encrypted(Some("/nonexistent/ca.pem".into())), "/nonexistent/ca.pem"),
        (BusConfig { service_url: no_tls, ..right.clone() }, "no connection to the broker"),
    ];
    for (config, part) in cases {
        let producers = Producers::start(config, bench.stop.child_token());
        until("the fault to be told", || async { producers.fault().is_some() }).await;
        let fault = producers.fault().unwrap();
        assert!(fault.contains(part), "{part} in {fault}");
        assert!(!producers.is_up());
    }
    let asks =
        |url: String, tls: Tls| async move { Admin::new(&url, config().auth, tls, PATIENCE)?.ready().await };
    let told = asks(right.http_url.clone(), encrypted(wrong).tls).await.unwrap_err();
    assert!(told.to_string().contains("certificate is not trusted"), "{told:?}");
    let told = asks(misnamed(&right.http_url), right.tls.clone()).await.unwrap_err();
    assert!(told.to_string().contains("certificate is not trusted"), "{told:?}");
}
