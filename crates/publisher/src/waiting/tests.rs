use super::*;
use bridge_protocol::{
    Completion, Defaults, ExecutionId, Hold, Lane, Mode, Route, RouteName, TenantId, WorkflowId,
};
use serde_json::{Value, json};
use uuid::Uuid;

fn at(second: u32) -> Time {
    format!("2026-01-31T09:00:{second:02}Z").parse().unwrap()
}

fn execution(state: State) -> Execution {
    let id = Uuid::parse_str("019c1304-0000-7000-8000-000000000001").unwrap();
    Execution {
        tenant: TenantId::parse("acme").unwrap(),
        id: ExecutionId::from_uuid(id).unwrap(),
        workflow: WorkflowId::parse("crm").unwrap(),
        lane: Lane::Long,
        mode: Mode::Pulsar,
        completion: Completion::Response,
        kind: None,
        state,
        evidence: None,
        attempt: 0,
        accepted_at: at(0),
        deliver_at: None,
        expires_at: None,
        due_at: Some(at(30)),
        published_at: None,
        claimed_at: None,
        lease_until: None,
        finished_at: None,
        parks: 0,
        decided_by: "default".into(),
        decided_because: String::new(),
        message_id: None,
        http_status: None,
        reason: None,
        error: None,
        n8n_execution_id: None,
        traceparent: None,
        metadata: None,
        replay_of: None,
        replayed_as: None,
        on_failure: None,
        caused_by: None,
        attempts: Vec::new(),
    }
}

fn consumer(detail: Value) -> MemberRow {
    MemberRow {
        id: Uuid::nil(),
        kind: "consumer".into(),
        version: "1".into(),
        host: "h".into(),
        started_at: at(0),
        seen_at: at(1),
        detail,
    }
}

struct Case {
    routes: RouteTable,
    members: Option<Vec<MemberRow>>,
    suspended: bool,
}

fn case() -> Case {
    let url = "http://n8n.example/webhook/{workflow_id}".to_owned();
    let routes = RouteTable::new(Defaults { default_url: url, ..Defaults::default() }).unwrap();
    Case { routes, members: Some(vec![consumer(json!({ "slots_free": 5 }))]), suspended: false }
}

fn kind(case: &Case, execution: &Execution) -> Option<&'static str> {
    why(case, execution).map(|why| why.kind)
}

fn why(case: &Case, execution: &Execution) -> Option<WaitingOn> {
    let known = Known {
        routes: &case.routes,
        members: case.members.as_deref(),
        suspended: case.suspended,
        topic: "persistent://acme/workflows/long",
        now: at(2),
    };
    waiting_on(execution, &known)
}

#[test]
fn the_row_alone_says_most() {
    let of = |change: &dyn Fn(&mut Execution)| {
        let mut execution = execution(State::Accepted);
        change(&mut execution);
        kind(&case(), &execution)
    };
    assert_eq!(of(&|_| {}), Some("pulsar"));
    assert_eq!(of(&|e| e.deliver_at = Some(at(40))), Some("delay"));
    assert_eq!(of(&|e| e.deliver_at = Some(at(1))), Some("pulsar"));
    assert_eq!(of(&|e| e.state = State::Retrying), Some("retry"));
    assert_eq!(of(&|e| (e.state, e.published_at) = (State::Retrying, Some(at(1)))), Some("pulsar"));
    assert_eq!(of(&|e| (e.state, e.parks) = (State::Retrying, 2)), Some("concurrency"));
    let full = "nothing was sent: the memory for large payloads stayed full";
    let unsent = Execution { parks: 1, error: Some(full.to_owned()), ..execution(State::Accepted) };
    assert_eq!(why(&case(), &unsent).unwrap().detail, format!("parked 1 times: {full}"));
    assert_eq!(of(&|e| e.state = State::Waiting), Some("callback"));
    assert_eq!(of(&|e| (e.state, e.lease_until) = (State::Running, Some(at(9)))), None);
    assert_eq!(of(&|e| (e.state, e.lease_until) = (State::Running, Some(at(1)))), Some("retry"));
    assert_eq!(of(&|e| e.state = State::Failed), None);
}

#[test]
fn holds_of_every_kind_are_told_with_their_reason() {
    let mut held = case();
    held.suspended = true;
    let execution = execution(State::Accepted);
    assert_eq!(kind(&held, &execution), Some("hold"));
    held = case();
    let hold = Hold {
        tenant: execution.tenant.clone(),
        id: "freeze".into(),
        workflow: None,
        lane: None,
        host: Some("n8n.example".into()),
        reason: "moving house".into(),
    };
    held.routes = held.routes.with(2, Vec::new(), vec![hold]);
    assert_eq!(why(&held, &execution).unwrap().detail, "hold freeze: moving house");
    held = case();
    let inactive = Route { is_active: false, ..Route::default() };
    let name = RouteName::Workflow(execution.workflow.clone());
    held.routes = held.routes.with(2, vec![(execution.tenant.clone(), name, Some(inactive))], Vec::new());
    assert_eq!(kind(&held, &execution), Some("hold"));
}

#[test]
fn the_consumers_say_the_rest() {
    let with = |members: Option<Vec<MemberRow>>| {
        let case = Case { members, ..case() };
        why(&case, &execution(State::Accepted)).unwrap()
    };
    assert_eq!(with(Some(Vec::new())).kind, "consumer_absent");
    assert_eq!(with(None).kind, "pulsar");
    let mut publisher = consumer(json!({}));
    publisher.kind = "publisher".into();
    assert_eq!(with(Some(vec![publisher])).kind, "consumer_absent");
    let lost = json!({ "topics_lost": ["persistent://acme/workflows/long"] });
    assert_eq!(with(Some(vec![consumer(lost.clone())])).kind, "consumer_absent");
    assert_eq!(with(Some(vec![consumer(lost), consumer(json!({}))])).kind, "pulsar");
    assert_eq!(with(Some(vec![consumer(json!({ "slots_free": 0 }))])).kind, "concurrency");
    let open = json!({ "breakers": [{ "endpoint": "http://n8n.example:80/webhook/crm", "until": "2026-01-31T09:00:05Z" }] });
    let open = with(Some(vec![consumer(open)]));
    assert_eq!((open.kind, open.until), ("breaker", Some(at(5))));
    let other = json!({ "breakers": [{ "endpoint": "http://n8n.example:80/webhook/other", "until": "2026-01-31T09:00:05Z" }] });
    assert_eq!(with(Some(vec![consumer(other)])).kind, "pulsar");
}

#[test]
fn a_broker_that_no_publisher_reaches_is_what_is_waited_for() {
    let publisher = |detail| MemberRow { kind: "publisher".into(), ..consumer(detail) };
    let lost = || consumer(json!({ "topics_lost": ["persistent://acme/workflows/long"], "slots_free": 0 }));
    let with = |publishers: Vec<MemberRow>| {
        let members = Some(publishers.into_iter().chain([lost()]).collect());
        why(&Case { members, ..case() }, &execution(State::Accepted)).unwrap()
    };
    let (up, down) = (json!({ "broker_up": true }), json!({ "broker_up": false }));
    let away = with(vec![publisher(down.clone()), publisher(down.clone()), publisher(json!({}))]);
    assert_eq!(away.kind, "pulsar");
    assert!(away.detail.contains("out of reach"), "{}", away.detail);
    assert_eq!(with(vec![publisher(down), publisher(up)]).kind, "consumer_absent");
    assert_eq!(with(vec![publisher(json!({}))]).kind, "consumer_absent");
}
