//! Single routes: their JSON, their names and their faults.

use bridge_protocol::{Route, RouteName, WorkflowId, check_webhook_url};

fn route(json: &str) -> Route {
    serde_json::from_str(json).unwrap()
}

fn fields(faults: Vec<(String, String)>) -> Vec<String> {
    assert!(faults.iter().all(|(_, what)| !what.is_empty()));
    faults.into_iter().map(|(field, _)| field).collect()
}

#[test]
fn unknown_fields_of_a_route_are_refused() {
    for json in [
        r#"{"webhookurl": "http://x"}"#,
        r#"{"retry": {"tries": 3}}"#,
        r#"{"lane": "fast"}"#,
        r#"{"on_failure": {"workflow": "x"}}"#,
        r#"{"on_failure": {"workflow_id": "../x"}}"#,
        r#"{"body": "raw"}"#,
    ] {
        assert!(serde_json::from_str::<Route>(json).is_err(), "{json}");
    }
}

#[test]
fn a_route_is_written_as_it_is_read_and_has_no_other_fields() {
    let whole = route(
        r#"{"lane": "ai", "mode": "pulsar", "completion": "callback", "webhook_url": "http://x/", "timeout_ms": 1,
            "callback_timeout_s": 604800, "success": {"json_field": {"pointer": "/ok", "equals": true}},
            "on_failure": {"workflow_id": "alarm"}, "max_concurrency": 1, "credential": "c", "body": "payload",
            "priority": 0, "is_active": false, "on_unknown": "retry", "retry": {"factor": 1.5}}"#,
    );
    let json = serde_json::to_value(&whole).unwrap();
    assert_eq!(serde_json::from_value::<Route>(json.clone()).unwrap(), whole);
    let mut named: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    let mut known = Route::FIELDS.to_vec();
    named.sort();
    known.sort_unstable();
    assert_eq!(named, known);
    assert!(whole.faults().is_empty());
    assert_eq!(
        serde_json::from_str::<Route>(&serde_json::to_string(&Route::default()).unwrap()).unwrap(),
        Route::default()
    );
}

#[test]
fn every_fault_names_its_field() {
    let bad = route(
        r#"{"webhook_url": "nonsense", "timeout_ms": 3600001, "callback_timeout_s": 0, "max_concurrency": 0,
            "priority": 10, "credential": "No Name", "mode": "native", "completion": "callback",
            "retry": {"max_attempts": 0, "base_ms": 90000000, "factor": 0.5, "max_ms": 86400001},
            "success": {"json_field": {"pointer": "ok", "equals": true}}}"#,
    );
    assert_eq!(
        fields(bad.faults()),
        [
            "retry.max_attempts",
            "retry.factor",
            "retry.max_ms",
            "retry.base_ms",
            "webhook_url",
            "timeout_ms",
            "callback_timeout_s",
            "max_concurrency",
            "priority",
            "credential",
            "success.json_field.pointer",
            "mode",
        ]
    );
}

#[test]
fn a_success_rule_that_can_never_match_is_a_fault() {
    let faults = |pointer: &str| {
        let rule = serde_json::json!({"success": {"json_field": {"pointer": pointer, "equals": 1}}});
        serde_json::from_value::<Route>(rule).unwrap().faults().len()
    };
    for good in ["", "/", "/a/0", "/a~0b/c~1d", "/ä"] {
        assert_eq!(faults(good), 0, "{good}");
    }
    for bad in ["a", "$.ok", "/a~2", "/a~", &format!("/{}", "x".repeat(500))] {
        assert_eq!(faults(bad), 1, "{bad}");
    }
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
        &format!("http://n8n/{}", "x".repeat(2000)),
    ] {
        assert!(check_webhook_url(url).is_err(), "{url}");
    }
    for url in ["http://n8n", "https://n8n:8443/a/{workflow_id}?w={workflow_id}", "http://[::1]:5678/x"] {
        assert!(check_webhook_url(url).is_ok(), "{url}");
    }
}

#[test]
fn names_are_stored_and_read_again() {
    let workflow = RouteName::Workflow(WorkflowId::parse("a/b").unwrap());
    for name in [workflow, RouteName::of_type("crm sync ä").unwrap(), RouteName::Default] {
        assert_eq!(RouteName::from_parts(name.kind(), name.name()), Some(name.clone()));
    }
    for (kind, name) in [(0, ""), (0, "../x"), (1, ""), (1, "a\nb"), (2, "x"), (3, "x"), (-1, "")] {
        assert_eq!(RouteName::from_parts(kind, name), None, "{kind} {name:?}");
    }
    assert!(RouteName::of_type(&"x".repeat(100)).is_ok() && RouteName::of_type(&"x".repeat(101)).is_err());
}

#[test]
fn a_rule_for_a_type_says_only_what_it_can() {
    let name = RouteName::of_type("crm_sync").unwrap();
    let good = route(
        r#"{"lane": "ai", "mode": "pulsar", "completion": "callback", "on_failure": {"workflow_id": "x"}}"#,
    );
    assert!(name.faults(&good).is_empty());
    let bad = route(r#"{"lane": "ai", "timeout_ms": 5, "is_active": false, "webhook_url": "http://x/"}"#);
    assert_eq!(fields(name.faults(&bad)), ["webhook_url", "timeout_ms", "is_active"]);
    assert!(RouteName::Default.faults(&bad).is_empty());
}

#[test]
fn a_workflow_does_not_tell_itself_of_its_failure() {
    let name = RouteName::Workflow(WorkflowId::parse("alarm").unwrap());
    let alarm = route(r#"{"on_failure": {"workflow_id": "alarm"}}"#);
    assert_eq!(fields(name.faults(&alarm)), ["on_failure.workflow_id"]);
    assert!(RouteName::Default.faults(&alarm).is_empty());
}
