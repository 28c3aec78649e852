use std::time::Duration;

use bridge_protocol::{Lane, Mode, OnUnknown, RouteEntry, RouteTable, TenantId, WorkflowId};

const DEFAULT_URL: &str = "http://n8n:5678/webhook/{workflow_id}";

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn workflow(id: &str) -> WorkflowId {
    WorkflowId::parse(id).unwrap()
}

fn entry(id: &str, rest: &str) -> RouteEntry {
    toml::from_str(&format!("tenant = \"acme\"\nworkflow = \"{id}\"\n{rest}")).unwrap()
}

fn table(routes: Vec<RouteEntry>) -> RouteTable {
    RouteTable::new(DEFAULT_URL.into(), routes, true, false).unwrap()
}

fn faults(url: &str, routes: Vec<RouteEntry>) -> Vec<String> {
    RouteTable::new(url.into(), routes, true, false).expect_err("must not load").faults
}

#[test]
fn the_request_decides_before_the_workflow_before_the_default() {
    let table = table(vec![entry("ai-job", "lane = \"ai\""), entry("plain", "max_concurrency = 3")]);
    let decide = |id, lane| {
        let decision = table.decide(&tenant(), &workflow(id), Some("batch"), lane).unwrap();
        assert_eq!(decision.mode, Mode::Pulsar);
        assert!(!decision.reason.is_empty());
        (decision.lane, decision.decided_by)
    };
    assert_eq!(decide("ai-job", Some(Lane::Short)), (Lane::Short, "request"));
    assert_eq!(decide("ai-job", None), (Lane::Ai, "workflow"));
    assert_eq!(decide("plain", None), (Lane::Long, "default"));
    assert_eq!(decide("unknown", None), (Lane::Long, "default"));
}

#[test]
fn strict_routes_refuse_what_has_no_route() {
    let table =
        RouteTable::new(DEFAULT_URL.into(), vec![entry("known", "lane = \"short\"")], true, true).unwrap();
    assert!(table.decide(&tenant(), &workflow("known"), None, None).is_ok());
    let other = TenantId::parse("globex").unwrap();
    for (tenant, id) in [(tenant(), "unknown"), (other, "known")] {
        let error = table.decide(&tenant, &workflow(id), None, Some(Lane::Ai)).unwrap_err().to_string();
        assert!(
            error.contains(id) && error.contains(tenant.as_str()) && error.contains("add a route"),
            "{error}"
        );
    }
}

#[test]
fn a_queue_that_is_switched_off_is_said_in_the_reason() {
    let table = RouteTable::new(DEFAULT_URL.into(), vec![], false, false).unwrap();
    let decision = table.decide(&tenant(), &workflow("w"), None, None).unwrap();
    assert!(decision.reason.contains("not available yet"), "{}", decision.reason);
}

#[test]
fn targets() {
    let table = table(vec![
        entry(
            "own",
            r#"
            webhook_url = "https://hooks.example.com/{workflow_id}"
            timeout_ms = 1500
            on_unknown = "dead_letter"
            max_concurrency = 1
            is_active = false
            credential = "n8n-login"
            retry = { max_attempts = 3 }
            "#,
        ),
        entry("plain", ""),
    ]);
    let own = table.target(&tenant(), &workflow("own"), Lane::Ai);
    assert_eq!(own.url, "https://hooks.example.com/own");
    assert_eq!(own.timeout, Duration::from_millis(1500));
    assert_eq!((own.on_unknown, own.max_concurrency), (OnUnknown::DeadLetter, Some(1)));
    assert_eq!((own.retry.max_attempts, own.retry.base_ms), (3, 1000));
    assert!(!own.trusted_host && !own.is_active);
    assert_eq!(own.credential.as_deref(), Some("n8n-login"));

    for id in ["plain", "orders/new"] {
        let target = table.target(&tenant(), &workflow(id), Lane::Ai);
        assert_eq!(target.url, format!("http://n8n:5678/webhook/{id}"));
        assert_eq!(target.timeout, Duration::from_secs(120));
        assert!(target.trusted_host && target.is_active);
    }
}

#[test]
fn unknown_fields_of_a_route_are_refused() {
    for rest in ["webhookurl = \"http://x\"", "retry = { tries = 3 }", "lane = \"fast\""] {
        let text = format!("tenant = \"acme\"\nworkflow = \"w\"\n{rest}");
        assert!(toml::from_str::<RouteEntry>(&text).is_err(), "{rest}");
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let found = faults(
        "ftp://x",
        vec![
            entry("a", "webhook_url = \"nonsense\"\nmax_concurrency = 0\ntimeout_ms = 0"),
            entry("c", "credential = \"No Name\""),
            entry("b", "mode = \"native\"\nretry = { max_attempts = 0 }"),
            entry("b", "success = { json_field = { pointer = \"ok\", equals = true } }"),
        ],
    );
    assert_eq!(found.len(), 9, "{found:#?}");
    assert!(found[1].starts_with("route of workflow a, tenant acme: "), "{found:#?}");
}

#[test]
fn a_workflow_may_not_choose_the_host() {
    for url in [
        "http://{workflow_id}/x",
        "http://n8n{workflow_id}.example.com/",
        "{workflow_id}://n8n/",
        "http://user:pass@n8n/",
        "http://",
        "",
    ] {
        assert_eq!(faults(url, vec![]).len(), 1, "{url}");
    }
    for url in ["http://n8n", "https://n8n:8443/a/{workflow_id}?w={workflow_id}", "http://[::1]:5678/x"] {
        assert!(RouteTable::new(url.into(), vec![], true, false).is_ok(), "{url}");
    }
}
