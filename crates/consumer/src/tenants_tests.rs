#![allow(clippy::unwrap_used, reason = "tests")]

use bridge_service::OutgoingCredential;
use bridge_service::directory::Tenant;
use bridge_store::TenantState;

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
