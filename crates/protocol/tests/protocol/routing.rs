use bridge_protocol::{
    Asked, Completion, Decision, Defaults, Lane, Mode, OnFailure, Route, RouteName, RouteTable, TenantId,
    WorkflowId,
};
use proptest::prelude::*;

const DEFAULT_URL: &str = "http://n8n:5678/webhook/{workflow_id}";

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn workflow(id: &str) -> WorkflowId {
    WorkflowId::parse(id).unwrap()
}

fn route(json: &str) -> Route {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn defaults() -> Defaults {
    Defaults { default_url: DEFAULT_URL.into(), ..Defaults::default() }
}

/// Keys: a workflow's id, `type <name>`, or `default`.
pub(crate) fn table(defaults: Defaults, routes: &[(&str, &str)]) -> RouteTable {
    let rows = routes.iter().map(|(name, json)| {
        let name = match name.strip_prefix("type ") {
            Some(name) => RouteName::of_type(name).unwrap(),
            None if *name == "default" => RouteName::Default,
            None => RouteName::Workflow(workflow(name)),
        };
        (tenant(), name, Some(route(json)))
    });
    RouteTable::new(defaults).unwrap().with(7, rows.collect(), Vec::new())
}

fn decide(table: &RouteTable, id: &str, ty: Option<&str>, asked: Asked) -> Decision {
    let decision = table.decide(&tenant(), &workflow(id), ty, asked).unwrap();
    assert!(!decision.reason.is_empty());
    decision
}

#[test]
fn the_longest_native_time_out_is_known() {
    let rows = [
        ("slow", r#"{"timeout_ms": 400000}"#),
        ("quick", r#"{"mode": "native", "timeout_ms": 5000}"#),
        ("type ui", r#"{"mode": "native", "lane": "short"}"#),
    ];
    let seconds = |defaults, rows| table(defaults, rows).longest_native().map(|longest| longest.as_secs());
    assert_eq!(seconds(defaults(), &rows[..1]), None);
    assert_eq!(seconds(defaults(), &rows[..2]), Some(5));
    assert_eq!(seconds(defaults(), &rows), Some(Lane::Short.webhook_timeout().as_secs()));
    let unqueued = || Defaults { queue_enabled: false, ..defaults() };
    assert_eq!(seconds(unqueued(), &rows), Some(400));
    assert_eq!(seconds(unqueued(), &[]), Some(Lane::Long.webhook_timeout().as_secs()), "what has no route");
}

#[test]
fn the_request_decides_before_the_workflow_the_type_the_tenant_and_the_default() {
    let table = table(
        defaults(),
        &[
            ("ai-job", r#"{"lane": "ai"}"#),
            ("plain", r#"{"max_concurrency": 3}"#),
            ("type nightly", r#"{"lane": "analytics"}"#),
            ("default", r#"{"lane": "short"}"#),
        ],
    );
    let lane = |id, ty, lane| {
        let decision = decide(&table, id, ty, Asked { lane, ..Asked::default() });
        (decision.lane, decision.decided_by)
    };
    assert_eq!(lane("ai-job", Some("nightly"), Some(Lane::Short)), (Lane::Short, "request"));
    assert_eq!(lane("ai-job", Some("nightly"), None), (Lane::Ai, "workflow"));
    assert_eq!(lane("plain", Some("nightly"), None), (Lane::Analytics, "type"));
    assert_eq!(lane("plain", Some("other"), None), (Lane::Short, "tenant"));
    assert_eq!(lane("unknown", None, None), (Lane::Short, "tenant"));
    let other = TenantId::parse("globex").unwrap();
    let theirs = table.decide(&other, &workflow("ai-job"), Some("nightly"), Asked::default()).unwrap();
    assert_eq!((theirs.lane, theirs.decided_by), (Lane::Long, "default"));
}

#[test]
fn types_decide_the_way() {
    let table = table(
        defaults(),
        &[
            ("slow", r#"{"mode": "pulsar"}"#),
            ("type ui_update", r#"{"mode": "pulsar"}"#),
            ("type webhook_reply", r#"{"lane": "short"}"#),
            ("type mine", r#"{"mode": "native"}"#),
        ],
    );
    let mode = |id, ty| {
        let decision = decide(&table, id, ty, Asked::default());
        (decision.mode, decision.decided_by)
    };
    assert_eq!(mode("w", Some("crm_sync")), (Mode::Native, "type"));
    assert_eq!(mode("w", Some("ai_enrichment")), (Mode::Pulsar, "type"));
    assert_eq!(mode("w", Some("mine")), (Mode::Native, "type"));
    // The tenant's rule replaces the built-in one, and what it leaves open is left to the default.
    assert_eq!(mode("w", Some("ui_update")), (Mode::Pulsar, "type"));
    assert_eq!(mode("w", Some("webhook_reply")), (Mode::Pulsar, "type"));
    assert_eq!(mode("w", Some("unheard-of")), (Mode::Pulsar, "default"));
    assert_eq!(mode("slow", Some("crm_sync")), (Mode::Pulsar, "workflow"));
}

#[test]
fn a_queue_that_is_switched_off_leaves_native() {
    let off = Defaults { queue_enabled: false, ..defaults() };
    let table = table(off, &[("queued", r#"{"mode": "pulsar"}"#)]);
    let fired = decide(&table, "w", None, Asked::default());
    assert_eq!((fired.mode, fired.decided_by), (Mode::Native, "default"));
    assert!(fired.reason.contains("queue is switched off"), "{}", fired.reason);
    assert_eq!(decide(&table, "queued", None, Asked::default()).mode, Mode::Pulsar);
    assert_eq!(decide(&table, "w", Some("batch"), Asked::default()).mode, Mode::Pulsar);
}

#[test]
fn what_cannot_be_native_says_why() {
    let table = table(defaults(), &[("late", r#"{"completion": "callback"}"#)]);
    for (id, asked, by, why) in [
        ("w", Asked { delayed: true, ..Asked::default() }, "request", "it is delayed"),
        ("w", Asked { batch: true, ..Asked::default() }, "request", "one of a batch"),
        ("w", Asked { lane: Some(Lane::Ai), ..Asked::default() }, "request", "names a lane"),
        ("w", Asked { completion: Some(Completion::Callback), ..Asked::default() }, "request", "by callback"),
        ("late", Asked::default(), "workflow", "by callback"),
    ] {
        let decision = decide(&table, id, Some("crm_sync"), asked);
        assert_eq!((decision.mode, decision.decided_by), (Mode::Pulsar, by), "{asked:?}");
        assert!(decision.reason.contains(why), "{}", decision.reason);
    }
    let asked = Asked { completion: Some(Completion::Response), ..Asked::default() };
    assert_eq!(decide(&table, "late", Some("crm_sync"), asked).mode, Mode::Native);
}

#[test]
fn completion_and_who_is_told_are_inherited_one_by_one() {
    let table = table(
        defaults(),
        &[
            ("own", r#"{"on_failure": {"workflow_id": "alarm"}}"#),
            ("type slow", r#"{"completion": "callback"}"#),
            ("default", r#"{"completion": "response", "on_failure": {"workflow_id": "ops"}}"#),
        ],
    );
    let end = |id, ty| {
        let decision = decide(&table, id, ty, Asked::default());
        (decision.completion, decision.on_failure.unwrap().as_str().to_owned())
    };
    assert_eq!(end("own", Some("slow")), (Completion::Callback, "alarm".to_owned()));
    assert_eq!(end("own", None), (Completion::Response, "alarm".to_owned()));
    assert_eq!(end("w", Some("slow")), (Completion::Callback, "ops".to_owned()));
}

#[test]
fn strict_routes_refuse_what_has_no_route() {
    let overrides = [("BY_NAME".to_owned(), "http://n8n/x".to_owned())].into();
    let strict = Defaults { strict: true, overrides, ..defaults() };
    let table = table(strict, &[("known", r#"{"lane": "short"}"#), ("default", "{}")]);
    let decide = |tenant: &TenantId, id| {
        table.decide(tenant, &workflow(id), None, Asked { lane: Some(Lane::Ai), ..Asked::default() })
    };
    assert!(decide(&tenant(), "known").is_ok() && decide(&tenant(), "by-name").is_ok());
    let other = TenantId::parse("globex").unwrap();
    for (tenant, id) in [(tenant(), "unknown"), (other, "known")] {
        let error = decide(&tenant, id).unwrap_err().to_string();
        assert!(
            error.contains(id) && error.contains(tenant.as_str()) && error.contains("add a route"),
            "{error}"
        );
    }
}

#[test]
fn two_workflows_of_one_override_are_refused() {
    let overrides = [("LEAD_A".to_owned(), "http://n8n/lead".to_owned())].into();
    let table = table(
        Defaults { overrides, ..defaults() },
        &[("lead-a", "{}"), ("lead.a", "{}"), ("Lead_A", r#"{"webhook_url": "http://own/"}"#), ("b", "{}")],
    );
    let decide = |table: &RouteTable, id| table.decide(&tenant(), &workflow(id), None, Asked::default());
    for id in ["lead-a", "lead.a"] {
        let error = decide(&table, id).unwrap_err().to_string();
        assert!(error.contains("webhook_url") && error.contains(id), "{error}");
    }
    assert!(decide(&table, "Lead_A").is_ok() && decide(&table, "b").is_ok());
    let gone = vec![(tenant(), RouteName::Workflow(workflow("lead.a")), None)];
    assert!(decide(&table.with(8, gone, Vec::new()), "lead-a").is_ok());
}

#[test]
fn a_newer_table_has_the_changes_and_the_old_one_does_not() {
    let old = table(defaults(), &[("a", r#"{"lane": "ai"}"#), ("b", r#"{"lane": "ai"}"#)]);
    let other = TenantId::parse("globex").unwrap();
    let named = |id| RouteName::Workflow(workflow(id));
    let short = route(r#"{"lane": "short"}"#);
    let changed = vec![
        (tenant(), named("a"), None),
        (tenant(), named("c"), Some(short.clone())),
        (other.clone(), RouteName::Default, Some(short)),
    ];
    let new = old.with(9, changed, Vec::new());
    let lane = |table: &RouteTable, tenant: &TenantId, id| {
        table.decide(tenant, &workflow(id), None, Asked::default()).unwrap().lane
    };
    let of = |table| ["a", "b", "c"].map(|id| lane(table, &tenant(), id));
    assert_eq!((of(&old), old.revision(), old.len()), ([Lane::Ai, Lane::Ai, Lane::Long], 7, 2));
    assert_eq!((of(&new), new.revision(), new.len()), ([Lane::Long, Lane::Ai, Lane::Short], 9, 3));
    assert_eq!((lane(&old, &other, "x"), lane(&new, &other, "x")), (Lane::Long, Lane::Short));
    assert!(new.route(&tenant(), &named("a")).is_none() && new.route(&tenant(), &named("b")).is_some());
    let empty = new.with(
        10,
        vec![(tenant(), named("b"), None), (tenant(), named("c"), None), (other, RouteName::Default, None)],
        Vec::new(),
    );
    assert!(empty.is_empty());
}

#[test]
fn every_fault_of_the_defaults_is_told_at_once() {
    let faults = |defaults| RouteTable::new(defaults).expect_err("must not be used").faults;
    let overrides = [("A".to_owned(), "nonsense".to_owned())].into();
    let bad = Defaults {
        default_url: "ftp://x".into(),
        n8n_base_url: Some("http://u:p@n8n".into()),
        overrides,
        ..Defaults::default()
    };
    let found = faults(bad);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[2].starts_with("the webhook URL of A "), "{found:#?}");
    assert_eq!(faults(Defaults::default()).len(), 1);
}

fn some<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = Option<T>> {
    prop::option::of(prop::sample::select(all))
}

fn any_route() -> impl Strategy<Value = Option<Route>> {
    let told = some(&["alarm", "ops"]).prop_map(|id| id.map(|id| OnFailure { workflow_id: workflow(id) }));
    let fields = (some(Lane::ALL), some(Mode::ALL), some(Completion::ALL), told);
    prop::option::of(fields.prop_map(|(lane, mode, completion, on_failure)| Route {
        lane,
        mode,
        completion,
        on_failure,
        ..Route::default()
    }))
}

prop_compose! {
    fn asked()(lane in some(Lane::ALL), completion in some(Completion::ALL), delayed: bool, batch: bool) -> Asked {
        Asked { lane, completion, delayed, batch }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Against the rules as the specification lists them, one by one.
    #[test]
    fn every_decision_follows_the_order(
        (own, of_type, default) in (any_route(), any_route(), any_route()),
        ty in prop::option::of(prop::sample::select(&["mine", "crm_sync", "batch", "other"][..])),
        (asked, queue_enabled) in (asked(), any::<bool>()),
    ) {
        let rows = [
            (RouteName::Workflow(workflow("w")), own.clone()),
            (RouteName::of_type("mine").unwrap(), of_type.clone()),
            (RouteName::of_type("crm_sync").unwrap(), of_type.clone()),
            (RouteName::Default, default.clone()),
        ];
        let rows = rows.into_iter().map(|(name, route)| (tenant(), name, route)).collect();
        let table = RouteTable::new(Defaults { queue_enabled, ..defaults() }).unwrap().with(1, rows, Vec::new());
        let decision = table.decide(&tenant(), &workflow("w"), ty, asked).unwrap();

        let rule = if matches!(ty, Some("mine" | "crm_sync")) { of_type.clone() } else { None };
        let order = [own, rule.clone(), default.clone()];
        let said = |place: usize| order[place].as_ref();
        let lane = asked.lane.or_else(|| (0..3).find_map(|place| said(place)?.lane)).unwrap_or(Lane::Long);
        let completion = asked
            .completion
            .or_else(|| (0..3).find_map(|place| said(place)?.completion))
            .unwrap_or(Completion::Response);
        let built_in = match ty {
            Some("crm_sync") if rule.is_none() => Some(Mode::Native),
            Some("batch") => Some(Mode::Pulsar),
            _ => None,
        };
        let wanted = said(0)
            .and_then(|route| route.mode)
            .or_else(|| said(1).and_then(|route| route.mode))
            .or(built_in)
            .or_else(|| said(2).and_then(|route| route.mode))
            .unwrap_or(if queue_enabled { Mode::Pulsar } else { Mode::Native });
        let queued = asked.delayed || asked.batch || asked.lane.is_some() || completion == Completion::Callback;
        let mode = if queued { Mode::Pulsar } else { wanted };
        let told = (0..3).find_map(|place| said(place)?.on_failure.clone()).map(|told| told.workflow_id);
        prop_assert_eq!((decision.lane, decision.mode, decision.completion), (lane, mode, completion));
        prop_assert_eq!(decision.on_failure, told);
        prop_assert!(decision.reason.contains(lane.as_str()), "{}", decision.reason);
        if asked.lane.is_some() {
            prop_assert_eq!(decision.decided_by, "request");
        }
    }
}
