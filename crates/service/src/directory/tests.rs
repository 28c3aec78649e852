use super::*;
use crate::clock::entropy;
use crate::payload_key::DataKey;
use crate::vault::Purpose;
use bridge_protocol::{Scope, Scopes, TenantId, Time};
use bridge_store::{
    CredentialKind, CredentialRecord, DirectoryRows, SealedDataKey, SealedIssuerKey, SealedRow,
    SealedWebhookCredential, StoreConfig, TenantLimits, TenantRecord, TenantState,
};
use uuid::Uuid;

const MASTER: &str = "a:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const LOST: &str = "lost:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn vault(text: &str) -> Vault {
    Vault::from_text(text).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn rows(revision: i64) -> DirectoryRows {
    let tenants = [("acme", TenantState::Active), ("beta", TenantState::Suspended)];
    let tenants = tenants.map(|(id, state)| TenantRecord {
        id: tenant(id),
        state,
        limits: TenantLimits::default(),
        created_at: at(-100),
        changed_at: at(-100),
    });
    DirectoryRows {
        revision,
        now: at(0),
        tenants: tenants.into(),
        credentials: Vec::new(),
        webhook_secrets: Vec::new(),
        data_keys: Vec::new(),
        webhook_credentials: Vec::new(),
        issuer_keys: Vec::new(),
    }
}

fn whsec(byte: u8) -> String {
    use base64::Engine;
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode([byte; 32]))
}

fn secret(of: &str, id: u128, seals: &Vault, text: &str, created: i64, ends: Option<i64>) -> SealedRow {
    let (tenant, id) = (tenant(of), Uuid::from_u128(id));
    let sealed = seals.seal(&Purpose::WebhookSecret(&tenant, id), text.as_bytes(), entropy());
    SealedRow { tenant, id, sealed, created_at: at(created), ends_at: ends.map(at) }
}

fn data_key(of: &str, id: u128, seals: Option<&Vault>, retired: bool) -> SealedDataKey {
    let (tenant, id) = (tenant(of), Uuid::from_u128(id));
    let sealed = seals.map(|vault| vault.seal(&Purpose::DataKey(&tenant, id), &[7; 32], entropy()));
    SealedDataKey { tenant, id, sealed, retired_at: retired.then(|| at(-1)) }
}

#[test]
fn secrets_are_opened_newest_first_and_ended_ones_are_left_out() {
    let vault = vault(MASTER);
    let mut rows = rows(1);
    rows.webhook_secrets = vec![
        secret("acme", 1, &vault, &whsec(1), -50, Some(30)),
        secret("acme", 2, &vault, &whsec(2), -10, None),
        secret("acme", 3, &vault, &whsec(3), -90, Some(-1)),
        secret("gone", 4, &vault, &whsec(4), -90, Some(99)),
    ];
    let built = build::snapshot(rows, &vault);
    let acme = &built.snapshot.tenants[&tenant("acme")];
    let signed = bridge_protocol::webhook_signature(&acme.webhook_secrets, "id", 1, b"body");
    let expected: Vec<_> =
        [2, 1].iter().map(|byte| bridge_protocol::WebhookSecret::parse(&whsec(*byte)).unwrap()).collect();
    assert_eq!(signed, bridge_protocol::webhook_signature(&expected, "id", 1, b"body"));
    assert_eq!(built.next_end, Some(Duration::from_secs(30)));
    assert!(built.snapshot.tenants[&tenant("beta")].webhook_secrets.is_empty());
}

#[test]
fn what_cannot_be_opened_is_counted_and_stops_nothing() {
    let (vault, lost) = (vault(MASTER), vault(LOST));
    let mut rows = rows(1);
    rows.webhook_secrets = vec![
        secret("acme", 1, &lost, &whsec(1), -50, None),
        secret("acme", 2, &vault, "no secret", -40, None),
        secret("acme", 3, &vault, &whsec(3), -30, None),
    ];
    rows.data_keys = vec![data_key("acme", 1, Some(&lost), false), data_key("beta", 2, Some(&vault), false)];
    let named = |name: &str, seals: &Vault| SealedWebhookCredential {
        tenant: tenant("acme"),
        name: name.into(),
        kind: "bearer".into(),
        sealed: seals.seal(
            &Purpose::WebhookCredential(&tenant("acme"), "crm"),
            br#"{"kind":"bearer","token":"t"}"#,
            entropy(),
        ),
        created_at: at(0),
        changed_at: at(0),
    };
    // The second was renamed in its row: it does not open under another name.
    rows.webhook_credentials = vec![named("crm", &vault), named("erp", &vault), named("crm", &lost)];
    let issuer = |kid: &str, from: i64, ends: Option<i64>, seals: &Vault| SealedIssuerKey {
        kid: kid.into(),
        sealed: seals.seal(&Purpose::IssuerKey(kid), b"pkcs8", entropy()),
        public_jwk: serde_json::json!({}),
        created_at: at(0),
        signs_from: at(from),
        retires_at: ends.map(at),
    };
    rows.issuer_keys = vec![
        issuer("old", -99, Some(60), &vault),
        issuer("x", -9, None, &lost),
        issuer("new", 10, None, &vault),
    ];
    let built = build::snapshot(rows, &vault);
    assert_eq!(
        built.unreadable,
        [("webhook_secret", 2), ("data_key", 1), ("webhook_credential", 2), ("issuer_key", 1)]
    );
    let acme = &built.snapshot.tenants[&tenant("acme")];
    assert_eq!((acme.webhook_secrets.len(), acme.credentials.len()), (1, 1));
    assert!(acme.sealing_key().is_none());
    let gone = acme.sealing_key_gone().unwrap().to_string();
    assert!(gone.contains("master key \"lost\", which is not loaded"), "{gone}");
    assert!(built.snapshot.tenants[&tenant("beta")].sealing_key().is_some());

    let kids: Vec<_> = built.snapshot.issuer_keys.iter().map(|key| key.kid.as_str()).collect();
    assert_eq!(kids, ["new", "old"]);
    assert!(!built.snapshot.issuer_keys[1].verifies(at(60)));
}

#[test]
fn data_keys_say_why_they_are_gone() {
    let vault = vault(MASTER);
    let mut rows = rows(1);
    rows.data_keys = vec![
        data_key("acme", 1, None, true),
        data_key("acme", 2, Some(&vault), true),
        data_key("acme", 3, Some(&vault), false),
        data_key("beta", 4, None, false),
    ];
    let built = build::snapshot(rows, &vault);
    let acme = &built.snapshot.tenants[&tenant("acme")];
    assert_eq!(acme.sealing_key().unwrap().id, Uuid::from_u128(3));
    assert!(acme.data_key(Uuid::from_u128(2)).is_ok(), "a retired key still opens");
    assert!(matches!(acme.data_key(Uuid::from_u128(1)), Err(KeyGone::Destroyed { .. })));
    assert!(matches!(acme.data_key(Uuid::from_u128(9)), Err(KeyGone::Unknown { .. })));
    let beta = &built.snapshot.tenants[&tenant("beta")];
    assert!(beta.sealing_key().is_none() && beta.sealing_key_gone().is_none());
    assert!(matches!(beta.data_key(Uuid::from_u128(4)), Err(KeyGone::Destroyed { .. })));
}

#[test]
fn a_credential_is_found_by_its_new_and_its_old_secret() {
    let mut scopes = Scopes::NONE;
    scopes.insert(Scope::Publish);
    let mut rows = rows(1);
    rows.credentials = vec![CredentialRecord {
        id: "svc_a".into(),
        kind: CredentialKind::ServiceAccount,
        name: "n8n".into(),
        tenants: vec![tenant("acme")],
        scopes,
        digest: [1; 32],
        old: Some(([2; 32], at(60))),
        expires_at: Some(at(100)),
        revoked_at: None,
        created_at: at(0),
    }];
    let snapshot = build::snapshot(rows, &vault(MASTER)).snapshot;
    assert_eq!(snapshot.by_digest[&[1; 32]].1, None);
    let (credential, until) = &snapshot.by_digest[&[2; 32]];
    assert_eq!(*until, Some(at(60)));
    assert!(Arc::ptr_eq(credential, &snapshot.by_id["svc_a"]));
    assert!(credential.is_live(at(99)) && !credential.is_live(at(100)));
}

/// A directory whose Postgres is not there.
fn alone() -> Directory {
    let config = StoreConfig::new("postgres://nobody@127.0.0.1:1/none".to_owned());
    Directory::new(Store::open(config).unwrap(), vault(MASTER))
}

#[tokio::test]
async fn an_older_load_never_replaces_a_newer_one_but_a_restored_database_does() {
    let directory = alone();
    let mut changes = directory.changes();
    assert!(!directory.is_loaded());
    let load = |before: u64, revision: i64| {
        directory.take(before, build::snapshot(rows(revision), directory.vault()))
    };
    assert!(load(0, 0), "the first revision may be 0");
    assert!(directory.is_loaded());
    assert!(load(1, 7));
    assert!(changes.has_changed().unwrap());
    assert_eq!(*changes.borrow_and_update(), 7);
    assert!(!load(1, 6), "it began before 7 was taken over");
    assert!(load(1, 8), "it began before 7 was taken over, but is newer");
    assert!(load(3, 5), "it began after 8 was taken over");
    assert_eq!(directory.snapshot().revision, 5);
    assert_eq!(directory.snapshot().tenants[&tenant("beta")].state, TenantState::Suspended);
}

#[tokio::test]
async fn without_postgres_the_old_snapshot_stays() {
    let directory = alone();
    directory.take(0, build::snapshot(rows(3), directory.vault()));
    directory.refresh().await.unwrap_err();
    assert_eq!(directory.snapshot().revision, 3);
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_fresh_for_a_while_after_a_look() {
    let directory = alone();
    assert!(!directory.is_fresh());
    let began = Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    directory.confirm(began);
    tokio::time::advance(STALE_AFTER - Duration::from_secs(1)).await;
    assert!(directory.is_fresh());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!directory.is_fresh(), "as of the look's beginning");
    directory.confirm(Instant::now());
    directory.confirm(began);
    assert!(directory.is_fresh(), "a slower answer takes nothing back");
    assert_eq!(directory.age(began), Duration::ZERO);
    let still = Directory::still(vault(MASTER), Snapshot::empty(1));
    tokio::time::advance(STALE_AFTER * 2).await;
    assert!(still.is_fresh() && !directory.is_fresh());
    assert!(STALE_AFTER < Duration::from_secs(5), "a revocation is in force everywhere within that");
}

#[test]
fn a_tenant_of_a_test_can_seal() {
    let tenant = Tenant::new(tenant("acme"), TenantState::Active, TenantLimits::default())
        .with_data_key(DataKey::new(Uuid::from_u128(1), &[1; 32]), true);
    assert!(tenant.sealing_key().is_some());
}
