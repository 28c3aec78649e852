use super::*;

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

#[test]
fn the_last_lines_count_and_name() {
    let mut report = Report::default();
    let done = |created, changes: &[&str]| {
        let changes = changes.iter().map(|change| (*change).to_owned()).collect();
        Ok(Done { created, changes, notes: Vec::new() })
    };
    report.add(&tenant("a"), done(false, &[]));
    assert_eq!(report.text(false, 0.31), "nothing to change for 1 tenants (0.3 s)");
    report.add(&tenant("b"), done(true, &["create the record of tenant b"]));
    report.add(&tenant("d"), Err(Failure::new(Exit::Unavailable, "the bridge did not answer")));
    report.add(&tenant("c"), Err(Failure::new(Exit::Failed, "limits.burst: needs requests_per_second")));
    report.sort();
    insta::assert_snapshot!(report.text(false, 41.26), @"done in 41.3 s: 1 created, 0 changed, 1 unchanged, 2 failed");
    insta::assert_snapshot!(report.failures(Path::new("tenants.yml")), @"
    2 of 4 tenants failed; run it again for them: bridgectl tenant apply -f tenants.yml
      c: limits.burst: needs requests_per_second
      d: the bridge did not answer
    ");
    assert_eq!(report.exit(), Exit::Failed);
}

#[tokio::test]
async fn a_secret_that_nobody_kept_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::at("http://127.0.0.1:8000");
    let record = serde_json::from_str(r#"{"tenant_id":"acme","state":"active"}"#).unwrap();
    let present = Present {
        tenants: [("acme".to_owned(), record)].into(),
        clients: [(("acme".to_owned(), "n8n".to_owned()), "svc_abcdefghij12".to_owned())].into(),
    };
    let work = Work { api: &api, broker: None, present, out: Some(dir.path()), dry_run: false };
    let client = WantedClient { name: "n8n".to_owned(), kind: "service_account", scopes: Vec::new() };
    let wanted = Wanted { id: tenant("acme"), state: None, limits: None, clients: vec![client] };
    let mut report = Report::default();
    report.add(&wanted.id, work.tenant(&wanted).await);
    let text = report.text(false, 0.31).replace(dir.path().to_str().unwrap(), "out");
    insta::assert_snapshot!(text, @"
    acme: its webhook secret is not in out/acme.webhook-secret; bridgectl key rotate webhook --tenant acme --out out/acme.webhook-secret makes a new one
    acme: client svc_abcdefghij12 (n8n) is there, out/acme.n8n.n8n.json is not; bridgectl client rotate svc_abcdefghij12 --out out/acme.n8n.n8n.json makes a new secret
    nothing to change for 1 tenants (0.3 s); 2 notes stand above
    ");
    for name in ["acme.webhook-secret", "acme.n8n.n8n.json"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    assert!(work.tenant(&wanted).await.unwrap().notes.is_empty());
}

#[test]
fn one_cause_for_all_has_its_own_exit_code() {
    let mut report = Report::default();
    report.add(&tenant("a"), Err(Failure::new(Exit::Unavailable, "x")));
    assert_eq!(report.exit(), Exit::Unavailable);
}
