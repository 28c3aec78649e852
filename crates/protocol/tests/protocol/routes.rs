//! Single routes: their JSON, their names and their faults.

use bridge_protocol::{
    Defaults, Lane, Route, RouteName, RouteTable, TenantId, WorkflowId, check_webhook_url,
};
use proptest::prelude::*;
use url::Url;

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
fn a_workflows_name_stands_in_the_path_as_a_whole_segment() {
    for path in [
        "/webhook/.%2{workflow_id}",
        "/webhook/%{workflow_id}",
        "/webhook/.{workflow_id}",
        "/webhook/x{workflow_id}",
        "/webhook/{workflow_id}x",
        "/webhook/{workflow_id}%2f",
        "/webhook\\{workflow_id}",
        "/webhook/\t{workflow_id}",
        "/webhook/{workflow_id}/..",
        "/webhook/{workflow_id}/x/../../rest",
        "/webhook/{workflow_id}/%2E%2e/%2e./rest",
        "/webhook/{workflow_id}/{workflow_id}/../../../rest",
        "/a/{workflow_id}/.%2{workflow_id}",
    ] {
        let url = format!("http://n8n:5678{path}");
        assert!(check_webhook_url(&url).is_err(), "{path}");
    }
    for path in [
        "/webhook/{workflow_id}",
        "/{workflow_id}",
        "/x/../webhook/{workflow_id}",
        "/webhook/{workflow_id}/run?w=x-{workflow_id}",
        "/webhook/{workflow_id}?{workflow_id}",
        "/a//{workflow_id}/b/{workflow_id}#x",
    ] {
        let url = format!("http://n8n:5678{path}");
        assert_eq!(check_webhook_url(&url), Ok(()), "{path}");
    }
}

/// Pieces of which somebody would build a path that leads elsewhere.
fn templates() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "//",
        ".",
        "..",
        "/./",
        "/../",
        "%2",
        "%2e",
        "%2E",
        "%",
        "%2f",
        "\\",
        "\t",
        "\n",
        "a",
        "e",
        "rest",
        ":",
        "@",
        "?",
        "#",
        "{workflow_id}",
        "/{workflow_id}",
        "/{workflow_id}/",
    ]);
    prop::collection::vec(piece, 0..8)
        .prop_map(|pieces| format!("http://n8n:5678/webhook/{}", pieces.concat()))
}

/// Every id is made of the characters that ids may have; what is none is left out.
fn workflows() -> impl Strategy<Value = WorkflowId> {
    let piece = prop::sample::select(vec!["e", "2e", "a", "/", "rest", ".", "..", "~", ":", "-", "0"]);
    let text = prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat());
    text.prop_filter_map("no id", |text| WorkflowId::parse(&text).ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    /// Whatever a workflow is called, it is fired below the part of the path that the template says.
    #[test]
    fn no_workflow_climbs_out_of_the_templates_path(template in templates(), workflow in workflows()) {
        prop_assume!(check_webhook_url(&template).is_ok());
        let defaults = Defaults { default_url: template.clone(), ..Defaults::default() };
        let target =
            RouteTable::new(defaults).unwrap().target(&TenantId::parse("acme").unwrap(), &workflow, Lane::Long);
        let filled = Url::parse(&target.url).unwrap();
        prop_assert_eq!(filled.origin().ascii_serialization(), "http://n8n:5678");
        let path = template.split(['?', '#']).next().unwrap();
        if let Some((before, _)) = path.split_once("{workflow_id}") {
            let begin = format!("{}{workflow}", Url::parse(before).unwrap().path());
            prop_assert!(filled.path().starts_with(&begin), "{} does not begin with {begin}", filled.path());
        }
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
