use bridge_protocol::{Defaults, Hold, Lane, RouteTable, TenantId, WorkflowId};
use proptest::prelude::*;

fn hold(tenant: &str, workflow: Option<&str>, lane: Option<Lane>, host: Option<&str>) -> Hold {
    Hold {
        tenant: TenantId::parse(tenant).unwrap(),
        id: "nightly".to_owned(),
        workflow: workflow.map(|id| WorkflowId::parse(id).unwrap()),
        lane,
        host: host.map(str::to_owned),
        reason: "the CRM is down".to_owned(),
    }
}

#[test]
fn a_host_is_held_on_all_its_ports_or_on_one() {
    let fits = |held: &str, host: Option<&str>| {
        hold("acme", None, None, Some(held)).fits(&WorkflowId::parse("w").unwrap(), Lane::Long, host)
    };
    for (held, host) in [
        ("n8n.example", "n8n.example:443"),
        ("N8N.example", "n8n.example"),
        ("n8n.example:443", "N8N.example:443"),
        ("[::1]", "[::1]:5678"),
        ("[::1]:5678", "[::1]:5678"),
        ("10.0.0.1", "10.0.0.1:80"),
    ] {
        assert!(fits(held, Some(host)), "{held} holds {host}");
    }
    for (held, host) in [
        ("n8n.example:443", "n8n.example:80"),
        ("n8n.example:443", "n8n.example"),
        ("example", "n8n.example:443"),
        ("[::1]", "[::2]:5678"),
        ("[:", "[::1]"),
    ] {
        assert!(!fits(held, Some(host)), "{held} does not hold {host}");
    }
    assert!(!fits("n8n.example", None));
}

#[test]
fn faults_of_a_hold() {
    assert!(hold("acme", None, None, Some("n8n.example:443")).faults().is_empty());
    assert!(hold("acme", None, None, Some("[::1]")).faults().is_empty());
    for host in ["http://x", "a/b", "", "*.x", "x:0", "x:99999", "u@x", "x:y"] {
        let faults = hold("acme", None, None, Some(host)).faults();
        assert_eq!(faults.iter().map(|(field, _)| &**field).collect::<Vec<_>>(), ["host"], "{host}");
    }
    for (id, reason) in [("", "r"), ("a b", "r"), ("a", " "), ("a", "two\nlines"), ("a", &*"x".repeat(501))] {
        let bad = Hold { id: id.to_owned(), reason: reason.to_owned(), ..hold("acme", None, None, None) };
        assert_eq!(bad.faults().len(), 1, "{id:?} {reason:?}");
    }
}

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(of))
}

const TENANTS: [&str; 2] = ["acme", "globex"];
const WORKFLOWS: &[&str] = &["a", "b"];
const HOSTS: &[&str] = &["x:1", "y:1"];

proptest! {
    #[test]
    fn work_is_held_when_one_hold_of_its_tenant_fits_in_every_field(
        holds in prop::collection::vec(
            (prop::sample::select(&TENANTS[..]), some(WORKFLOWS), prop::option::of(prop::sample::select(Lane::ALL)), some(HOSTS)),
            0..4,
        ),
        tenant in prop::sample::select(&TENANTS[..]),
        workflow in prop::sample::select(WORKFLOWS),
        lane in prop::sample::select(Lane::ALL),
        host in some(HOSTS),
    ) {
        let wanted = holds.iter().any(|(whose, which, on, at)| {
            *whose == tenant
                && (which.is_none() || *which == Some(workflow))
                && (on.is_none() || *on == Some(lane))
                && (at.is_none() || *at == host)
        });
        let table = RouteTable::new(Defaults { default_url: "http://n8n/".into(), ..Defaults::default() }).unwrap();
        let holds = holds.into_iter().map(|(tenant, workflow, lane, host)| hold(tenant, workflow, lane, host));
        let table = table.with(1, Vec::new(), holds.collect());
        let tenant = TenantId::parse(tenant).unwrap();
        let workflow = WorkflowId::parse(workflow).unwrap();
        prop_assert_eq!(table.hold(&tenant, &workflow, lane, host).is_some(), wanted);
        // Holds are whole in every load.
        prop_assert!(table.with(2, Vec::new(), Vec::new()).hold(&tenant, &workflow, lane, host).is_none());
    }
}
