#![allow(clippy::unwrap_used, reason = "tests")]

use bridge_protocol::{Defaults, Hold, Route, WebhookSecret};
use bridge_service::OutgoingCredential;
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
fn who_resumed_or_got_a_credential_is_let_go() {
    let freed = |before: &[(&str, TenantState, &[&str])], now: &[(&str, TenantState, &[&str])]| {
        let (before, now) = (snapshot(before), snapshot(now));
        equipped(&before.tenants, &now.tenants).map(TenantId::to_string).collect::<Vec<_>>()
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
    assert_eq!(equipped(&with(0), &with(1)).count(), 1);
    assert_eq!(equipped(&with(1), &with(2)).count(), 0);
    assert_eq!(equipped(&with(1), &with(0)).count(), 0);
}

fn workflow(name: &str) -> WorkflowId {
    WorkflowId::parse(name).unwrap()
}

/// Of tenant `a`, at a revision: routes by workflow, and holds.
fn table(routes: &[(&str, Route)], holds: Vec<Hold>) -> RouteTable {
    let defaults = Defaults { default_url: "http://n8n.test/w".to_owned(), ..Defaults::default() };
    let route = |(name, route): &(&str, Route)| {
        let name = if name.is_empty() { RouteName::Default } else { RouteName::Workflow(workflow(name)) };
        (id("a"), name, Some(route.clone()))
    };
    RouteTable::new(defaults).unwrap().with(1, routes.iter().map(route).collect(), holds)
}

fn of(workflow_id: &str) -> Freed {
    Freed { workflow: Some(workflow(workflow_id)), ..Freed::all(&id("a")) }
}

#[test]
fn a_lifted_hold_lets_go_what_it_held() {
    let hold = |lane| Hold {
        tenant: id("a"),
        id: "h".to_owned(),
        workflow: Some(workflow("w")),
        lane,
        host: None,
        reason: "r".to_owned(),
    };
    let held = table(&[], vec![hold(Some(Lane::Ai))]);
    assert_eq!(rerouted(&held, &table(&[], vec![])), [Freed { lane: Some(Lane::Ai), ..of("w") }]);
    assert_eq!(rerouted(&held, &table(&[], vec![hold(None)])).len(), 1, "a hold that became another");
    assert_eq!(rerouted(&table(&[], vec![]), &held), []);
}

#[test]
fn another_route_lets_its_workflow_go_if_that_may_help() {
    let (plain, inactive) = (Route::default(), Route { is_active: false, ..Route::default() });
    let with = |route: &Route| table(&[("w", route.clone())], vec![]);
    assert_eq!(rerouted(&with(&inactive), &with(&plain)), [of("w")]);
    assert_eq!(rerouted(&with(&plain), &with(&inactive)), []);
    let login = Route { credential: Some("n8n".to_owned()), ..Route::default() };
    assert_eq!(rerouted(&with(&login), &with(&plain)), [of("w")]);
    let patient = Route { timeout_ms: Some(1), ..Route::default() };
    assert_eq!(rerouted(&with(&plain), &with(&patient)), []);
    assert_eq!(rerouted(&with(&inactive), &table(&[], vec![])), [of("w")], "deleted: the default's");
    let default = table(&[("", plain)], vec![]);
    assert_eq!(rerouted(&table(&[("", inactive)], vec![]), &default), [Freed::all(&id("a"))]);
}

#[test]
fn many_of_one_tenant_are_let_go_together() {
    let many = |count: usize| (0..count).map(|n| of(&format!("w{n}"))).collect::<BTreeSet<_>>();
    assert_eq!(together(many(AT_ONCE)).len(), AT_ONCE);
    assert_eq!(together(many(AT_ONCE + 1)), BTreeSet::from([Freed::all(&id("a"))]));
    let mut one = many(2);
    one.insert(Freed::all(&id("a")));
    assert_eq!(together(one), BTreeSet::from([Freed::all(&id("a"))]));
}
