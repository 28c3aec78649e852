#![allow(clippy::unwrap_used, reason = "tests")]

use bridge_protocol::WebhookSecret;
use bridge_service::OutgoingCredential;

use super::*;

fn id(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn snapshot(list: &[(&str, TenantState, &[&str])]) -> Snapshot {
    let tenant = |(name, state, credentials): &(&str, TenantState, &[&str])| {
        let mut tenant = Tenant::new(id(name), *state, Default::default());
        for name in *credentials {
            let token = OutgoingCredential::Bearer { token: "t".to_owned() };
            tenant.credentials.insert((*name).to_owned(), Arc::new(token));
        }
        (tenant.id.clone(), Arc::new(tenant))
    };
    Snapshot { tenants: list.iter().map(tenant).collect(), ..Snapshot::default() }
}

use TenantState::{Active, Deleting, Suspended};

#[test]
fn every_tenant_has_its_topics_whatever_its_state() {
    let snapshot = snapshot(&[("acme", Active, &[]), ("globex", Suspended, &[]), ("gone", Deleting, &[])]);
    let names = TopicNames::default();
    let mut topics: Vec<_> = topics(&snapshot, &names, 7).into_iter().collect();
    assert!(topics.iter().all(|plan| plan.permits == 7));
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    let mut expected: Vec<_> = ["acme", "globex", "gone"]
        .iter()
        .flat_map(|tenant| Lane::ALL.iter().map(|lane| names.topic(&id(tenant), *lane)))
        .collect();
    expected.sort();
    assert_eq!(topics.into_iter().map(|plan| plan.topic).collect::<Vec<_>>(), expected);
}

#[test]
fn topics_change_with_the_set_of_tenants_only() {
    let one = snapshot(&[("acme", Active, &[])]);
    assert!(same_tenants(&one, &snapshot(&[("acme", Suspended, &["login"])])));
    assert!(!same_tenants(&one, &snapshot(&[("globex", Active, &[])])));
    assert!(!same_tenants(&one, &snapshot(&[])));
}

#[test]
fn who_resumed_or_got_a_credential_is_let_go() {
    let freed = |before: &[(&str, TenantState, &[&str])], now: &[(&str, TenantState, &[&str])]| {
        let (before, now) = (snapshot(before), snapshot(now));
        freed(&before.tenants, &now.tenants).map(TenantId::to_string).collect::<Vec<_>>()
    };
    assert_eq!(freed(&[("a", Suspended, &[])], &[("a", Active, &[])]), ["a"]);
    assert_eq!(freed(&[("a", Suspended, &[])], &[("a", Deleting, &[])]), ["a"], "what it has is drained");
    assert_eq!(freed(&[("a", Active, &["x"])], &[("a", Active, &["x", "y"])]), ["a"]);
    let none: Vec<String> = Vec::new();
    assert_eq!(freed(&[("a", Active, &["x"])], &[("a", Suspended, &["x"])]), none);
    assert_eq!(freed(&[("a", Active, &["x"])], &[("a", Active, &[])]), none);
    assert_eq!(freed(&[], &[("a", Active, &["x"])]), none, "a new one has nothing parked");
}

#[test]
fn who_got_its_first_secret_is_let_go() {
    let with = |secrets: usize| {
        let mut tenant = Tenant::new(id("a"), Active, Default::default());
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
        tenant.webhook_secrets.extend((0..secrets).map(|_| WebhookSecret::parse(secret).unwrap()));
        HashMap::from([(tenant.id.clone(), Arc::new(tenant))])
    };
    assert_eq!(freed(&with(0), &with(1)).count(), 1);
    assert_eq!(freed(&with(1), &with(2)).count(), 0);
    assert_eq!(freed(&with(1), &with(0)).count(), 0);
}
